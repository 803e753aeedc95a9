"""Examples that show the same picture: found by the cache's hashes, and kept on one side of a split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xlite.data.table import Table

RANK = {"train": 0, "val": 1, "test": 2}
"""Rank of the official parts: of a picture in several, the copy in the highest is kept."""

ALIKE = 0.95
"""Least correlation of the cached inputs of nearly identical pictures; see benchmarks/twins.py."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """What N examples show.

    Attributes:
        number: (N,) int64; examples with the same number show the same picture. Each constant one has its own.
        perceptual: (N,) uint64 perceptual hashes, 0 for none.
        constant: (N,) bool, all values of the picture are equal.
    """

    number: np.ndarray
    perceptual: np.ndarray
    constant: np.ndarray

    @property
    def repeated(self) -> np.ndarray:
        """(N,) bool: another example shows the same picture."""
        return np.bincount(self.number)[self.number] > 1

    def with_other_targets(self, targets: np.ndarray) -> np.ndarray:
        """(N,) bool: the examples of this picture do not all have the same `targets` (N, ...)."""
        out = self.repeated
        rows = np.flatnonzero(out)
        if len(rows):
            values = np.nan_to_num(targets[rows].reshape(len(rows), -1), nan=-1)
            out[rows] = _disagree(self.number[rows], np.unique(values, axis=0, return_inverse=True)[1].ravel())
        return out

    def in_several_parts(self, part: np.ndarray) -> np.ndarray:
        """(N,) bool: the picture is in several parts; `part` (N,) are their numbers, below 0 for examples in none."""
        rows = np.flatnonzero(part >= 0)
        out = np.zeros(len(part), dtype=bool)
        out[rows] = _disagree(self.number[rows], part[rows])
        return out

    def in_higher_part(self, official: np.ndarray) -> np.ndarray:
        """(N,) bool: the picture is also in an official part of higher rank; `official` (N,) are the parts' names."""
        rank = np.array([RANK[part] for part in official.tolist()])
        return rank < _highest(self.number, rank)


def pictures_of(hashes: np.ndarray) -> Pictures:
    """The pictures of N >= 1 examples with these `hashes` (N, 2), see `PixelCache.hashes`."""
    constant = hashes[:, 0] == 0
    number = np.unique(hashes[:, 0], return_inverse=True)[1].astype(np.int64)
    number[constant] = number.max() + 1 + np.arange(constant.sum())
    return Pictures(number, hashes[:, 1], constant)


def with_united_groups(table: Table, number: np.ndarray) -> Table:
    """`table` with groups that have a picture in common made one, named after the first of them.

    Args:
        number: (N,) of each row's picture.
    """
    # Half a second, which only a split of repeated pictures needs.
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    names, group = np.unique(table.groups, return_inverse=True)
    num_nodes = len(names) + int(number.max()) + 1
    edges = coo_matrix((np.ones(len(group)), (group, len(names) + number)), (num_nodes, num_nodes))
    component = connected_components(edges, directed=False)[1][: len(names)]
    _, first, of_name = np.unique(component, return_index=True, return_inverse=True)
    return replace(table, groups=names[first][of_name][group])


def united(number: np.ndarray, sets: Sequence[np.ndarray]) -> np.ndarray:
    """The numbers (N,) of pictures, with those of each set of rows made one; no picture is in two sets."""
    new = np.arange(number.max() + 1)
    for rows in sets:
        new[number[rows]] = number[rows[0]]
    return new[number]


def nearly_identical(pictures: Pictures, part: np.ndarray, pixels: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Sets of examples that look alike, are not all identical, and are in several parts (or of several groups).

    They have the same perceptual hash, and their cached inputs correlate with the first one's.

    Args:
        part: (N,) number of the part or group, below 0 for examples in none.
        pixels: the cached inputs; `rows` (N,) are the examples' places there.

    Returns:
        Row numbers in order, two at least in each set.
    """
    found = []
    for same in _repeated_values(np.where(part >= 0, pictures.perceptual, 0)):
        if _differ(part[same]) and _differ(pictures.number[same]):
            first = pixels[rows[same[0]]]
            alike = same[[correlation(first, pixels[row]) >= ALIKE for row in rows[same].tolist()]]
            if _differ(part[alike]) and _differ(pictures.number[alike]):
                found.append(alike)
    return found


def _highest(number: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) the highest of the `values` (n,) of each row's picture."""
    highest = np.full(number.max() + 1, values.min())
    np.maximum.at(highest, number, values)
    return highest[number]


def _disagree(number: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) bool: the rows of the same picture do not all have the same of `values` (n,)."""
    return _highest(number, values) != -_highest(number, -values)


def _repeated_values(values: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers of each value but 0 that occurs more than once."""
    order = np.argsort(values, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(values[order])) + 1):
        if len(rows) > 1 and values[rows[0]] != 0:
            yield rows


def _differ(values: np.ndarray) -> bool:
    return bool((values != values[0]).any())


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, of two cached inputs of one shape; 0 where one is constant."""
    a, b = (values.astype(np.float32).ravel() - values.mean() for values in (one, other))
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-12))

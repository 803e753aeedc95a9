"""The table: one row per example, whatever the raw format was."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Item:
    """The source of one example's input.

    Attributes:
        paths: the raw files; if any changes, the pixel cache is built again.
        detail: what else decides the input, as text (e.g. JSON of a crop), or "".
    """

    paths: tuple[Path, ...]
    detail: str = ""

    @property
    def path(self) -> Path:
        """The first file, for messages."""
        return self.paths[0]


@dataclass(frozen=True)
class Table:
    """One row per example.

    Attributes:
        ids: (N,) unicode, unique.
        items: N raw inputs, in row order.
        groups: (N,) unicode; rows of one group (a patient) never cross a split.
        targets: (N, L) float32, NaN unknown; (N, H, L) where an example has H parts, e.g. scan lines. Labels are 0 or
            1; one class of several is a row with a single 1, or all NaN.
        labels: the L label names.
        official: (N,) unicode of "train", "val" or "test" where the data set came with its own lists, else None.
        auxiliary: (N, E) int64 that the model takes beside the input, e.g. a level's number, or None.
    """

    ids: np.ndarray
    items: tuple[Item, ...]
    groups: np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]
    official: np.ndarray | None = None
    auxiliary: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        assert len(self.items) == n and self.groups.shape == (n,), (n, len(self.items), self.groups.shape)
        shape = self.targets.shape
        assert len(shape) >= 2 and (shape[0], shape[-1]) == (n, len(self.labels)), (shape, n, len(self.labels))
        assert self.official is None or self.official.shape == (n,)
        assert self.auxiliary is None or (self.auxiliary.ndim == 2 and len(self.auxiliary) == n)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray | Sequence[int]) -> "Table":
        """The same table with only `rows` (integer positions), in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            ids=self.ids[index],
            items=tuple(self.items[i] for i in index),
            groups=self.groups[index],
            targets=self.targets[index],
            official=None if self.official is None else self.official[index],
            auxiliary=None if self.auxiliary is None else self.auxiliary[index],
        )

    def content_hash(self) -> str:
        """16 hex digits over ids, groups, targets, labels and official parts; not over paths."""
        digest = hashlib.sha256()
        for strings in (self.ids, self.groups, np.asarray(self.labels)):
            digest.update("\0".join(strings.tolist()).encode())
            digest.update(b"\1")
        digest.update(np.ascontiguousarray(self.targets, dtype="<f4").tobytes())
        if self.auxiliary is not None:
            digest.update(np.ascontiguousarray(self.auxiliary, dtype="<i8").tobytes())
        if self.official is not None:
            digest.update("\0".join(self.official.tolist()).encode())
        return digest.hexdigest()[:16]

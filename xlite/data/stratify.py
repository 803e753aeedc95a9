"""Stratified splits of rows, or of whole groups of rows: every label keeps its prevalence in every part."""

import numpy as np

_SIZE_WEIGHT = 4.0  # of the number of rows, relative to one label
_ABSENCE_COST = 1e3  # exceeds any deviation: a label absent from a part cannot be measured there
_TOLERANCE = 1e-6  # smallest improvement that a group is moved for
_NUM_DRAWS = 8


def stratified_group_split(
    targets: np.ndarray, groups: np.ndarray | None, fractions: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """Assign each row to a part. Rows of one group stay together; without groups the part sizes are exact.

    Groups are sorted by their label counts, rarest label first, in random order among equals, and assigned to the parts
    in turn. Then, as long as the cost falls, the group whose move lowers it most is moved to another part. The cost is
    the sum over parts and columns of ((count - share) / share)^2; a column is a label's positives, the rows without
    positives, the rows with a known label, or all rows. A large cost is added for every part without a positive, or
    without a negative, group of a label; a label with fewer groups than parts should be in the first parts. If such an
    absence remains, up to 8 draws are made and the best is returned.

    Args:
        targets: (N, L) of 0, 1 or NaN.
        groups: (N,) of any sortable type, or None: each row is its own group.
        fractions: of the rows for each part, summing to 1; no more parts than groups.
        rng: advanced by each draw.

    Returns:
        (N,) int64 part numbers; no part is empty.
    """
    if groups is None:
        num_groups, group_of_row = len(targets), np.arange(len(targets))
    else:
        names, group_of_row = np.unique(groups, return_inverse=True)
        num_groups = len(names)
    assert num_groups >= len(fractions), (num_groups, fractions)
    balanced = _group_sums(_balanced_columns(targets), group_of_row, num_groups)
    first, pattern = _patterns(balanced)
    present = _group_sums(_presence_columns(targets), group_of_row, num_groups)[first] > 0
    repair = _Repair(balanced[first], present, np.bincount(pattern), fractions)
    draws = []
    for _ in range(_NUM_DRAWS):
        part = _assign_in_turn(pattern, fractions, rng)
        cost, num_absent = repair.run(pattern, part, _sizes(num_groups, fractions) if groups is None else None)
        draws.append((num_absent, cost, part))
        if num_absent == 0:
            break
    return min(draws, key=lambda draw: draw[:2])[2][group_of_row]


def row_targets(targets: np.ndarray) -> np.ndarray:
    """(N, L) of 0, 1 or NaN: (N, L) targets as they are; of (N, H, L), whether an example has more than its share.

    The share is the label's among all known parts; NaN where none of an example's parts is known.
    """
    if targets.ndim == 2:
        return targets
    parts = targets.reshape(len(targets), -1, targets.shape[-1])
    known = np.isfinite(parts)
    count = known.sum(axis=1)
    positives = np.where(known, parts, 0).sum(axis=1)
    overall = positives.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
    return np.where(count > 0, positives > overall * count, np.nan).astype(np.float32)


def _balanced_columns(targets: np.ndarray) -> np.ndarray:
    """(N, C) int64: each label's positives, rarest first; no positive; known, for partly known labels; ones."""
    positive = targets == 1
    positive = positive[:, np.argsort(positive.sum(axis=0), kind="stable")]
    known = ~np.isnan(targets)
    known = known[:, ~known.all(axis=0)]
    ones = np.ones((len(targets), 1), dtype=bool)
    return np.hstack([positive, ~positive.any(axis=1, keepdims=True), known, ones]).astype(np.int64)


def _presence_columns(targets: np.ndarray) -> np.ndarray:
    """(N, 2L) bool: each label's positives, then each label's negatives; every part should have some of each."""
    return np.hstack([targets == 1, targets == 0])


def _group_sums(columns: np.ndarray, group_of_row: np.ndarray, num_groups: int) -> np.ndarray:
    """(G, C) int64: sums of `columns` (N, C) over each group's rows."""
    sums = [np.bincount(group_of_row, weights=column, minlength=num_groups) for column in columns.T]
    return np.stack(sums, axis=1).astype(np.int64)


def _patterns(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct rows of `columns` (G, C), in lexicographic order with the first column as the main key.

    Returns:
        One group of each pattern, (P,), and each group's pattern, (G,).
    """
    order = np.lexsort(columns.T[::-1])
    new = np.ones(len(order), dtype=bool)
    new[1:] = (columns[order[1:]] != columns[order[:-1]]).any(axis=1)
    pattern = np.empty(len(order), dtype=np.int64)
    pattern[order] = np.cumsum(new) - 1
    return order[new], pattern


def _sizes(n: int, fractions: tuple[float, ...]) -> np.ndarray:
    """(K,) items of n for each part: rounded, at least one; the largest part absorbs the rounding error."""
    sizes = np.maximum(1, np.round(n * np.array(fractions))).astype(np.int64)
    sizes[np.argmax(sizes)] += n - sizes.sum()
    return sizes


def _assign_in_turn(pattern: np.ndarray, fractions: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """(G,) part of each group: sorted by `pattern`, in random order among equals, groups go to the parts in turn.

    The k-th of a part's m turns is at a random position within the k-th of m equal sections of the order, and the order
    starts at a random turn.
    """
    n = len(pattern)
    sizes = _sizes(n, fractions)
    turns = np.concatenate([(np.arange(size) + rng.random(size)) / size for size in sizes])
    parts = np.repeat(np.arange(len(sizes)), sizes)[np.argsort(turns)]
    part = np.empty(n, dtype=np.int64)
    part[np.lexsort((rng.permutation(n), pattern))] = np.roll(parts, int(rng.integers(n)))
    return part


class _Repair:
    """Steepest descent over moves of single groups, for P patterns of groups, K parts, C columns, S presence columns.

    Args:
        columns: (P, C) counts of a group of each pattern.
        present: (P, S) bool, whether such a group has any of a presence column.
        num_groups: (P,) groups of each pattern.
        fractions: (K,).
    """

    def __init__(
        self, columns: np.ndarray, present: np.ndarray, num_groups: np.ndarray, fractions: tuple[float, ...]
    ) -> None:
        total = num_groups @ columns
        self.columns = columns[:, total > 0].astype(np.float64)
        self.share = np.outer(fractions, total[total > 0])
        self.weight = 1 / self.share**2
        self.weight[:, -1] *= _SIZE_WEIGHT
        self.curvature = self.columns**2 @ self.weight.T
        self.present = present.astype(np.float64)
        self.required = np.arange(len(fractions))[:, None] < num_groups @ present

    def run(self, pattern: np.ndarray, part: np.ndarray, sizes: np.ndarray | None) -> tuple[float, int]:
        """Improve `part` (G,) in place; if `sizes` (K,) is given, part k gets sizes[k] groups in the end.

        Returns:
            The cost, and the number of required presences that are still absent.
        """
        in_part = np.zeros((len(self.columns), len(self.share)), dtype=np.int64)  # (P, K) groups
        np.add.at(in_part, (pattern, part), 1)
        to_another = ~np.eye(len(self.share), dtype=bool)
        for _ in part:  # more moves than groups would be cycles due to rounding
            if not self._move(in_part, pattern, part, to_another, below=-_TOLERANCE):
                break
        while sizes is not None and (excess := in_part.sum(axis=0) - sizes).any():
            self._move(in_part, pattern, part, np.outer(excess > 0, excess < 0), below=np.inf)
        count, groups_with = in_part.T @ self.columns, in_part.T @ self.present
        return float((self.weight * (count - self.share) ** 2).sum()), int((self.required & (groups_with == 0)).sum())

    def _move(
        self, in_part: np.ndarray, pattern: np.ndarray, part: np.ndarray, allowed: np.ndarray, *, below: float
    ) -> bool:
        """Make the best of the `allowed` moves (K, K: from, to) if it changes the cost by less than `below`."""
        change = self._change(in_part)
        change[:, ~allowed] = np.inf
        moved, source, target = np.unravel_index(int(np.argmin(change)), change.shape)
        if change[moved, source, target] >= below:
            return False
        part[np.flatnonzero((pattern == moved) & (part == source))[0]] = target
        in_part[moved, source] -= 1
        in_part[moved, target] += 1
        return True

    def _change(self, in_part: np.ndarray) -> np.ndarray:
        """(P, K, K) change of the cost if a group of a pattern moves from part i to part j; inf if impossible."""
        count, groups_with = in_part.T @ self.columns, in_part.T @ self.present
        slope = 2 * self.columns @ (self.weight * (count - self.share)).T
        leave, enter = self.curvature - slope, self.curvature + slope
        last, absent = self.required & (groups_with == 1), self.required & (groups_with == 0)
        if last.any():
            leave += _ABSENCE_COST * (self.present @ last.T)
        if absent.any():
            enter -= _ABSENCE_COST * (self.present @ absent.T)
        leave[in_part == 0] = np.inf
        leave[:, in_part.sum(axis=0) == 1] = np.inf  # no part becomes empty
        change = leave[:, :, None] + enter[:, None, :]
        return change.round(9)  # ties must not depend on the order of summation, which differs between machines

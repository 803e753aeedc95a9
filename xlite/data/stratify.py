"""Dealing rows, or whole groups of rows, into parts so that every label keeps its prevalence in every part."""

import numpy as np

_SIZE_WEIGHT = 4.0  # the number of rows counts as much as four labels
_ABSENCE = 1e3  # outweighs any deviation: a label absent from a part cannot be measured there
_TOLERANCE = 1e-6  # a squared relative deviation too small to move a group for
_NUM_DRAWS = 8


def stratified_group_split(
    targets: np.ndarray, groups: np.ndarray | None, fractions: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """The part of each row. Rows of one group stay together; without groups the sizes of the parts are exact.

    Groups are put in order of their label counts, rarest label first, shuffled among equals and dealt out in turn.
    Then, while it helps, the one group whose move lowers the cost most changes its part. The cost is the sum over parts
    and columns of ((count - share) / share)^2; a column is a label's positives, the rows without any positive, the rows
    whose label is known, or the rows themselves. Above that, each label gets a positive and a negative group into as
    many parts as it has groups for, the first parts first; up to 8 draws are made where one does not manage that.

    Args:
        targets: (N, L) of 0, 1 or NaN.
        groups: (N,) of anything comparable, or None: each row by itself.
        fractions: share of the rows for each part, summing to 1; at most as many as there are groups.

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
        part = _dealt(pattern, fractions, rng)
        cost, num_absent = repair.run(pattern, part, _sizes(num_groups, fractions) if groups is None else None)
        draws.append((num_absent, cost, part))
        if num_absent == 0:
            break
    return min(draws, key=lambda draw: draw[:2])[2][group_of_row]


def _balanced_columns(targets: np.ndarray) -> np.ndarray:
    """(N, C) int64: each label's positives, rarest first; no positive at all; labels known, where some are not; 1."""
    positive = targets == 1
    positive = positive[:, np.argsort(positive.sum(axis=0), kind="stable")]
    known = ~np.isnan(targets)
    known = known[:, ~known.all(axis=0)]
    ones = np.ones((len(targets), 1), dtype=bool)
    return np.hstack([positive, ~positive.any(axis=1, keepdims=True), known, ones]).astype(np.int64)


def _presence_columns(targets: np.ndarray) -> np.ndarray:
    """(N, 2L) bool of what each part should hold some: each label's positives, its negatives."""
    return np.hstack([targets == 1, targets == 0])


def _group_sums(columns: np.ndarray, group_of_row: np.ndarray, num_groups: int) -> np.ndarray:
    """(G, C) int64 sums of (N, C) over each group's rows."""
    sums = [np.bincount(group_of_row, weights=column, minlength=num_groups) for column in columns.T]
    return np.stack(sums, axis=1).astype(np.int64)


def _patterns(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Groups with equal (G, C) counts share a pattern, numbered in order of the columns, the first counting most.

    Returns one group of each pattern, (P,), and each group's pattern, (G,).
    """
    order = np.lexsort(columns.T[::-1])
    new = np.ones(len(order), dtype=bool)
    new[1:] = (columns[order[1:]] != columns[order[:-1]]).any(axis=1)
    pattern = np.empty(len(order), dtype=np.int64)
    pattern[order] = np.cumsum(new) - 1
    return order[new], pattern


def _sizes(n: int, fractions: tuple[float, ...]) -> np.ndarray:
    """(K,) how many of n items each part gets: rounded, at least one; the largest takes what rounding left over."""
    sizes = np.maximum(1, np.round(n * np.array(fractions))).astype(np.int64)
    sizes[np.argmax(sizes)] += n - sizes.sum()
    return sizes


def _dealt(pattern: np.ndarray, fractions: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Part of each item: in order of `pattern`, shuffled among equals, items take parts by turns.

    The k-th of a part's m turns comes at a random place of the k-th m-th of the order, which begins anywhere.
    """
    n = len(pattern)
    sizes = _sizes(n, fractions)
    turns = np.concatenate([(np.arange(size) + rng.random(size)) / size for size in sizes])
    parts = np.repeat(np.arange(len(sizes)), sizes)[np.argsort(turns)]
    part = np.empty(n, dtype=np.int64)
    part[np.lexsort((rng.permutation(n), pattern))] = np.roll(parts, int(rng.integers(n)))
    return part


class _Repair:
    """Steepest descent over moves of single groups, for P patterns of groups, K parts, C columns, S presences."""

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
        self.wanted = np.arange(len(fractions))[:, None] < num_groups @ present

    def run(self, pattern: np.ndarray, part: np.ndarray, sizes: np.ndarray | None) -> tuple[float, int]:
        """Change `part` (G,) in place, at last to `sizes` (K,) groups a part where given.

        Returns the cost reached, and how many wanted presences are still absent.
        """
        held = np.zeros((len(self.columns), len(self.share)), dtype=np.int64)
        np.add.at(held, (pattern, part), 1)
        to_another = ~np.eye(len(self.share), dtype=bool)
        for _ in part:  # more moves than groups would be rounding errors going in circles
            if not self._move(held, pattern, part, to_another, below=-_TOLERANCE):
                break
        while sizes is not None and (excess := held.sum(axis=0) - sizes).any():
            self._move(held, pattern, part, np.outer(excess > 0, excess < 0), below=np.inf)
        count, groups_with = held.T @ self.columns, held.T @ self.present
        return float((self.weight * (count - self.share) ** 2).sum()), int((self.wanted & (groups_with == 0)).sum())

    def _move(
        self, held: np.ndarray, pattern: np.ndarray, part: np.ndarray, allowed: np.ndarray, *, below: float
    ) -> bool:
        """Make the best of the `allowed` (K, K: from, to) moves if it changes the cost by less than `below`."""
        change = self._change(held)
        change[:, ~allowed] = np.inf
        moved, source, target = np.unravel_index(int(np.argmin(change)), change.shape)
        if change[moved, source, target] >= below:
            return False
        part[np.flatnonzero((pattern == moved) & (part == source))[0]] = target
        held[moved, source] -= 1
        held[moved, target] += 1
        return True

    def _change(self, held: np.ndarray) -> np.ndarray:
        """(P, K, K) change of the cost when a group of a pattern moves from part i to part j; inf where none can."""
        count, groups_with = held.T @ self.columns, held.T @ self.present
        slope = 2 * self.columns @ (self.weight * (count - self.share)).T
        leave, enter = self.curvature - slope, self.curvature + slope
        last, absent = self.wanted & (groups_with == 1), self.wanted & (groups_with == 0)
        if last.any():
            leave += _ABSENCE * (self.present @ last.T)
        if absent.any():
            enter -= _ABSENCE * (self.present @ absent.T)
        leave[held == 0] = np.inf
        leave[:, held.sum(axis=0) == 1] = np.inf  # no part is emptied
        change = leave[:, :, None] + enter[:, None, :]
        return change.round(9)  # the order of sums, which differs between machines, must not decide between equals

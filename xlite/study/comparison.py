"""Students on the same patients: scores, paired differences, Holm's correction, and whether training cost as much.

Knows nothing of studies and files: a side is its answers for the rows that all sides are judged on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from xlite.metrics.differences import Difference, holm, paired_difference
from xlite.metrics.resampling import Weighted, resampled
from xlite.metrics.weighted import weighted_macro_auc
from xlite.tasks.target_spec import TargetSpec

MIN_CASES = 10
"""Groups with and without a label, from which its differences are tested."""
ALPHA = 0.05
SAME_COMPUTE = 1.1
"""Largest ratio of two budgets that still count as the same."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What all sides are judged on: targets (N, ..., L) of L labels, groups (N,)."""

    targets: np.ndarray
    groups: np.ndarray
    labels: tuple[str, ...]
    target_spec: TargetSpec


@dataclass(frozen=True, eq=False)
class Side:
    """One configuration: the answers (N, ..., L) of each of its seeds."""

    name: str
    answers: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Score:
    """A side's mean score over its seeds, with its 95% interval over patients."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """Two sides: the first's score minus the second's.

    Attributes:
        p: adjusted for the number of pairs, or of labels; difference.p is not.
        label: of a single one; "" for the score of all.
    """

    first: str
    second: str
    difference: Difference
    p: float
    label: str = ""

    @property
    def verdict(self) -> str:
        """Which is better, where p says so; else "tied"."""
        if self.p >= ALPHA:
            return "tied"
        return f"{self.first if self.difference.mean > 0 else self.second} is better"


def score_of(side: Side, rows: Rows, *, seed: int = 0) -> Score:
    """The mean score of a side's seeds."""
    scores = _scores(side, rows)

    def mean(weights: np.ndarray) -> np.ndarray:
        return np.mean([score(weights) for score in scores], axis=0)

    values = resampled(mean, rows.groups, seed=seed)
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Score(float(mean(np.ones(len(rows.groups)))), float(low), float(high))


def pairs_of(sides: Sequence[Side], rows: Rows, *, seed: int = 0) -> list[Pair]:
    """Every two sides, p adjusted for the number of pairs; p = 1 and no interval where rows are not `enough`."""
    scores = {side.name: _scores(side, rows) for side in sides}
    both = list(combinations(scores, 2))
    differences = [paired_difference(scores[one], scores[other], rows.groups, seed=seed) for one, other in both]
    if not enough(rows):
        differences = [replace(found, low=np.nan, high=np.nan, p=1.0) for found in differences]
    adjusted = holm([difference.p for difference in differences])
    return [Pair(*names, found, p) for names, found, p in zip(both, differences, adjusted, strict=True)]


def is_defined(rows: Rows) -> bool:
    """Whether the score of perfect answers is a number: targets of one class alone leave none."""
    score = rows.target_spec.resampled_score(np.nan_to_num(rows.targets), rows.targets)
    return not np.isnan(score(np.ones(len(rows.groups))))


def enough(rows: Rows) -> bool:
    """Whether some label has groups with and without it to test the score on; of other targets, as many groups."""
    if rows.target_spec.answers_are is None:
        return len(np.unique(rows.groups)) >= 2 * MIN_CASES
    return len(untested(rows)) < len(rows.labels)


def label_pairs(first: Side, second: Side, rows: Rows, *, seed: int = 0) -> list[Pair]:
    """AUC of each label that can be tested, one against the rest; p adjusted for the number of these labels."""
    tested = [place for place in range(len(rows.labels)) if _cases(rows, place) >= MIN_CASES]
    differences = [
        paired_difference(
            [_label_auc(answers, rows.targets, place) for answers in first.answers],
            [_label_auc(answers, rows.targets, place) for answers in second.answers],
            rows.groups,
            seed=seed,
        )
        for place in tested
    ]
    adjusted = holm([difference.p for difference in differences])
    return [
        Pair(first.name, second.name, found, p, rows.labels[place])
        for place, found, p in zip(tested, differences, adjusted, strict=True)
    ]


def untested(rows: Rows) -> list[str]:
    """The labels that too few groups have, or too few lack."""
    return [label for place, label in enumerate(rows.labels) if _cases(rows, place) < MIN_CASES]


def budget_line(what: str, spent: Mapping[str, float | None]) -> str | None:
    """Whether all spent about as much of `what`, e.g. "epochs", by name; None where that is known of fewer than two."""
    known = {name: value for name, value in spent.items() if value}
    if len(known) < 2:
        return None
    least, most = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    unknown = "" if len(known) == len(spent) else f" (not known of {', '.join(spent.keys() - known.keys())})"
    if known[most] <= SAME_COMPUTE * known[least]:
        return f"Same {what} within 10%{unknown}"
    return f"Not the same {what}: {least} {known[least]:,.4g}, {most} {known[most]:,.4g}{unknown}"


def _scores(side: Side, rows: Rows) -> list[Weighted]:
    return [rows.target_spec.resampled_score(answers, rows.targets) for answers in side.answers]


def _label_auc(answers: np.ndarray, targets: np.ndarray, place: int) -> Weighted:
    """AUC of one label as a function of row weights; an example's parts have its weight."""
    num_parts = int(np.prod(targets.shape[1:-1], dtype=np.int64))
    auc = weighted_macro_auc(answers[..., place].reshape(-1, 1), targets[..., place].reshape(-1, 1))
    return lambda weights: auc(np.repeat(weights, num_parts, axis=-1))


def _cases(rows: Rows, place: int) -> int:
    """Groups with a positive, or with a negative of the label, whichever are fewer."""
    target = rows.targets[..., place].reshape(len(rows.targets), -1)
    return min(len(np.unique(rows.groups[(target == sign).any(axis=1)])) for sign in (0, 1))

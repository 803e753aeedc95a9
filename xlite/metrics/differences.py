"""Paired differences of resampled metrics, over seeds and patients, and Holm's correction for several of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from xlite.errors import InputError
from xlite.metrics.resampling import LEVEL, NUM_RESAMPLES, Weighted, resampled


@dataclass(frozen=True)
class Difference:
    """A mean difference with its 95% interval, and p, two-sided, of the same distribution: p < 0.05 if 0 is outside."""

    mean: float
    low: float
    high: float
    p: float


def paired_difference(
    first: Sequence[Weighted],
    second: Sequence[Weighted],
    groups: np.ndarray | Sequence[np.ndarray],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int,
) -> Difference:
    """Mean score of `first` minus that of `second`, both with other seeds and other patients in mind.

    The variance is that over patients, drawn for all models together (bootstrap), plus that over each side's seeds.
    Interval and p are Student's t, its degrees of freedom by Welch and Satterthwaite from these parts. A side of one
    seed says nothing of other seeds.

    Args:
        first, second: scores as functions of row weights (`TargetSpec.resampled_score`), one for each seed or fold.
        groups: (N,) the patient of each row, if all scores are of the same rows. A list, one for each pair of a first
            and a second score, if each pair has rows of its own (folds): then the differences of the pairs vary by both
            seeds and patients, nothing is resampled, and this is the paired t-test.

    Raises:
        InputError: all rows are of one patient, or a score is undefined on all of them.
    """
    if not isinstance(groups, np.ndarray):
        wholes = [np.ones(len(each)) for each in groups]
        pairs = [one(whole) - two(whole) for one, two, whole in zip(first, second, wholes, strict=True)]
        return _student(float(np.mean(pairs)), [_over_seeds(pairs)])

    def difference(weights: np.ndarray) -> np.ndarray:
        return np.mean([one(weights) for one in first], axis=0) - np.mean([two(weights) for two in second], axis=0)

    whole, num_groups = np.ones(len(groups)), len(np.unique(groups))
    if num_groups < 2:
        raise InputError("all rows are of one patient, which says nothing of others; compare on more patients")
    mean = float(difference(whole))
    if np.isnan(mean):
        raise InputError("a score is undefined on the rows compared (a label with one class); compare on more rows")
    values = resampled(difference, groups, num_resamples=num_resamples, seed=seed)
    parts = [_over_seeds([score(whole) for score in side]) for side in (first, second) if len(side) > 1]
    parts.append((float(np.nanvar(values)), num_groups - 1))
    return _student(mean, parts)


def _over_seeds(values: Sequence[np.ndarray]) -> tuple[float, int]:
    """Variance of the mean of values, and its degrees of freedom."""
    assert len(values) > 1, "one value has no variance"
    return float(np.var(values, ddof=1)) / len(values), len(values) - 1


def _student(mean: float, parts: Sequence[tuple[float, int]]) -> Difference:
    """By Student's t, for a variance that is the sum of independent parts, each with its degrees of freedom."""
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Difference(mean, mean, mean, p=float(mean == 0))
    freedom = variance**2 / sum(part**2 / num for part, num in parts)
    error = variance**0.5
    reach = -float(stdtrit(freedom, (1 - LEVEL) / 2)) * error
    return Difference(mean, mean - reach, mean + reach, p=2 * float(stdtr(freedom, -abs(mean) / error)))


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for their number by Holm's step-down method, in the order given."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    steps = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()

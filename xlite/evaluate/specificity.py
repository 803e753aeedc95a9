"""Specificity of decisions, as a function of row weights: what share of a label's negatives is decided negative."""

from collections.abc import Sequence

import numpy as np

from xlite.metrics.intervals import MetricIntervals, metric_intervals
from xlite.metrics.weighted import Values, WeightedMetrics


def specificity(
    decisions: np.ndarray, targets: np.ndarray, labels: Sequence[str], groups: np.ndarray, *, seed: int
) -> tuple[dict[str, float], dict[str, float], MetricIntervals]:
    """The macro average {"specificity_macro"}, each label's, and their patient-clustered 95% intervals.

    As of the other metrics, the average is over the labels with both classes; a label without a negative has none.

    Args:
        decisions: (N, ..., L) bool.
        targets: of the same shape, 0, 1 or NaN (unknown).
        groups: (N,) the patient of each row.
    """
    negative, positive = targets == 0, targets == 1
    parts = tuple(range(1, targets.ndim - 1))
    negatives, positives, right = (mask.sum(axis=parts) for mask in (negative, positive, negative & ~decisions))
    both = negatives.any(axis=0) & positives.any(axis=0)

    def values(weights: np.ndarray) -> tuple[Values, Values]:
        num = weights @ negatives.astype(float)
        shares = np.where(num > 0, weights @ right.astype(float) / np.where(num > 0, num, 1), np.nan)
        there = both & (num > 0)
        macro = np.where(there, shares, 0).sum(axis=-1) / np.where(there.any(axis=-1), there.sum(axis=-1), np.nan)
        return {"specificity_macro": macro}, {"specificity": shares}

    sizes = {"specificity": negatives.sum(axis=0).astype(float)}
    means = {"specificity_macro": "specificity"}
    metrics = WeightedMetrics(labels, values, positives, negatives, sizes, means)
    (macro, by_label), found = values(np.ones(len(targets))), metric_intervals(metrics, groups, seed=seed)
    named = zip(labels, by_label["specificity"].tolist(), strict=True)
    scalars = {name: float(value) for name, value in macro.items() if np.isfinite(value)}
    return scalars, {label: value for label, value in named if np.isfinite(value)}, found

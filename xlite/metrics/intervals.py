"""95% intervals of every metric, averages and labels, from one patient-clustered bootstrap."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from xlite.metrics.resampling import LEVEL, NUM_RESAMPLES, Interval, Weighted, patient_weights, resampled
from xlite.metrics.weighted import Values, WeightedMetrics

LEAST_ROWS, LEAST_GROUPS = 10, 5
"""Positives, and negatives, of a label below which no interval is claimed for it; patients that they must be of."""
LEAST_POSITIVES = {"pr_auc": 50}
"""Metrics that need more positives: with fewer, the PR-AUC itself is too high on average (benchmarks/trust.py)."""


@dataclass(frozen=True)
class MetricIntervals:
    """Averages' intervals by name; labels' by label and name. Metrics that are undefined have none."""

    scalars: Mapping[str, Interval]
    per_label: Mapping[str, Mapping[str, Interval]]

    def to_json(self) -> dict[str, Any]:
        """{"scalars": {name: {"low", "high", "note"}}, "per_label": {label: the same}}; null ends: none is claimed."""
        return asdict(self)


def metric_intervals(
    metrics: WeightedMetrics, groups: np.ndarray, *, num_resamples: int = NUM_RESAMPLES, seed: int
) -> MetricIntervals:
    """The interval of every metric when groups (patients) are drawn with replacement, with all their rows.

    A share (AUC, F1, precision, recall, accuracy of n observations) gets Wilson's score interval, n lowered to what the
    bootstrap variance amounts to; so it stays honest where few observations show less variance than there is, e.g. none
    at an AUC of 1. What is no share gets the percentiles of its resamples. See docs/concepts.md for what they cover.

    Args:
        groups: (N,) the patient of each row.
    """
    return intervals_of(metrics, groups, drawn_values(metrics, groups, num_resamples=num_resamples, seed=seed))


def drawn_values(
    metrics: WeightedMetrics, groups: np.ndarray, *, num_resamples: int, seed: int
) -> tuple[Values, Values]:
    """All resamples: averages by name, each (R,), and labels' metrics by name, each (R, L)."""
    chunks = [metrics.values(weights) for weights in patient_weights(groups, num_resamples=num_resamples, seed=seed)]
    averages, labels = ([chunk[i] for chunk in chunks] for i in (0, 1))
    return _joined(averages), _joined(labels)


def intervals_of(metrics: WeightedMetrics, groups: np.ndarray, drawn: tuple[Values, Values]) -> MetricIntervals:
    """`metric_intervals` of resamples that are there."""
    whole = metrics.values(np.ones(len(groups)))
    too_few = {name: _too_few(metrics, groups, LEAST_POSITIVES.get(name, LEAST_ROWS)) for name in whole[1]}
    per_label = {
        label: {
            name: Interval(None, None, note)
            if (note := too_few[name][i])
            else _of_label(metrics, name, i, whole[1], drawn[1])
            for name, values in whole[1].items()
            if np.isfinite(values[i])
        }
        for i, label in enumerate(metrics.labels)
    }
    few = _too_few_groups(groups)
    scalars = {
        name: Interval(None, None, few) if few else _of_average(metrics, name, whole, drawn, too_few)
        for name, value in whole[0].items()
        if np.isfinite(value)
    }
    return MetricIntervals(scalars, per_label)


def score_interval(score: Weighted, groups: np.ndarray, *, num_resamples: int, seed: int) -> Interval:
    """The percentiles of one resampled metric, of which no more is known."""
    if few := _too_few_groups(groups):
        return Interval(None, None, few)
    return _percentiles(resampled(score, groups, num_resamples=num_resamples, seed=seed))


def _too_few_groups(groups: np.ndarray) -> str:
    """Why no interval is claimed, or ""."""
    num = len(np.unique(groups))
    return f"too few: {_counted(num, 'patient')}" if num < LEAST_GROUPS else ""


def _counted(num: int, word: str) -> str:
    return f"{num} {word}{'' if num == 1 else 's'}"


def _joined(parts: Sequence[Values]) -> Values:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _too_few(metrics: WeightedMetrics, groups: np.ndarray, least_positives: int) -> list[str]:
    """Of each label: why no interval is claimed, or ""."""
    notes = [""] * len(metrics.labels)
    kinds = (("negative", metrics.negative, LEAST_ROWS), ("positive", metrics.positive, least_positives))
    for word, counts, least in kinds:
        for i, count in enumerate(counts.T):
            num, num_groups = int(count.sum()), len(np.unique(groups[count > 0]))
            if num < least or num_groups < LEAST_GROUPS:
                of = f" of {_counted(num_groups, 'patient')}" if num >= least else ""
                notes[i] = f"too few: {_counted(num, word)}{of}"
    return notes


def _of_label(metrics: WeightedMetrics, name: str, label: int, whole: Values, drawn: Values) -> Interval:
    size = float(np.asarray(metrics.sizes[name])[label])
    return _of_share(float(whole[name][label]), float(np.nanvar(drawn[name][:, label])), size)


def _of_average(
    metrics: WeightedMetrics,
    name: str,
    whole: tuple[Values, Values],
    drawn: tuple[Values, Values],
    too_few: Mapping[str, Sequence[str]],
) -> Interval:
    value, values = float(whole[0][name]), drawn[0][name]
    if name in metrics.means:
        of = metrics.means[name]
        there = np.asarray(metrics.positive.any(axis=0) & metrics.negative.any(axis=0))
        rare = sum(bool(note) for note, averaged in zip(too_few[of], there, strict=True) if averaged)
        few = f"{rare} of {len(there[there])} labels have too few for one of their own"
        if rare and of in LEAST_POSITIVES:
            return Interval(None, None, few)
        shares, sizes = whole[1][of][there], np.maximum(np.asarray(metrics.sizes[of])[there], 1)
        seen = np.nanvar(drawn[1][of][:, there], axis=0)
        least = shares * (1 - shares) / sizes
        # what the labels' own variances are too small by, the mean's is too
        grown = np.maximum(seen, least).sum() / seen.sum() if seen.any() else 1.0
        found = _of_share(value, float(np.nanvar(values)) * float(grown), float(len(sizes) ** 2 / (1 / sizes).sum()))
        return replace(found, note=few) if rare else found
    if name in metrics.sizes:
        return _of_share(value, float(np.nanvar(values)), float(metrics.sizes[name]))
    return _percentiles(values)


def _percentiles(values: np.ndarray) -> Interval:
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _of_share(value: float, variance: float, size: float) -> Interval:
    """Wilson's score interval of a share of at most `size` observations, of fewer if its variance says so."""
    if size == 0:  # of precision alone; the other shares are undefined then
        return Interval(None, None, "nothing is predicted positive")
    spread = max(0.0, value * (1 - value))
    if variance > 0 < spread:
        size = min(size, spread / variance)
    z2 = NormalDist().inv_cdf((1 + LEVEL) / 2) ** 2
    middle, reach = value + z2 / (2 * size), (z2 * spread / size + (z2 / (2 * size)) ** 2) ** 0.5
    low, high = (middle - reach) / (1 + z2 / size), (middle + reach) / (1 + z2 / size)
    return Interval(max(0.0, min(low, value)), min(1.0, max(high, value)))  # whatever the rounding at 0 and 1

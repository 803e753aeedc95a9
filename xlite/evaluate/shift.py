"""Shift of scores: how far a label's probabilities on other data lie from those on the study's test part.

Of the study there are bins of equal mass and their counts (reliability.json), so nothing else has to be stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

LARGE_PSI = 0.25
"""From here on a population stability index is called large (Siddiqi 2006)."""
_SURE = 0.01


@dataclass(frozen=True)
class Shift:
    """One label's probabilities, here and on the study's test part.

    Attributes:
        mean, study_mean: of the probabilities.
        psi: population stability index over the study's bins, half a count added to each.
        psi_by_chance: what it is on average where nothing has shifted, (bins - 1) (1/n + 1/m).
        p: of a psi at least so large where nothing has shifted, images taken as independent.
        ks: largest distance of the two cumulative distributions at the bins' edges; Kolmogorov-Smirnov is no less.
    """

    mean: float
    study_mean: float
    psi: float
    psi_by_chance: float
    p: float
    ks: float

    @property
    def is_large(self) -> bool:
        """Whether psi is above LARGE_PSI, and not by chance (p < 0.01)."""
        return self.psi > LARGE_PSI and self.p < _SURE

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "is_large": self.is_large}


def shift_of(
    answers: np.ndarray, labels: Sequence[str], study: Mapping[str, Sequence[Mapping[str, float]]]
) -> dict[str, Shift]:
    """The shift of each label whose curve the study has.

    Args:
        answers: (N, L) probabilities; NaN is left out. Each label has one at least.
        study: label -> rows of `reliability_curve` in bins of equal mass.
    """
    return {
        label: _shift(column[~np.isnan(column)], study[label])
        for label, column in zip(labels, answers.T, strict=True)
        if len(study.get(label, ())) > 1
    }


def _shift(probs: np.ndarray, curve: Sequence[Mapping[str, float]]) -> Shift:
    edges = np.array([row["high"] for row in curve[:-1]])
    there = np.array([row["count"] for row in curve], dtype=float)
    here = np.bincount(np.searchsorted(edges, probs), minlength=len(curve)).astype(float)
    n, m, num_bins = here.sum(), there.sum(), len(curve)
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * num_bins) for counts in (here, there))
    psi = float(((p - q) * np.log(p / q)).sum())
    scale = 1 / n + 1 / m
    ks = float(np.abs(np.cumsum(here) / n - np.cumsum(there) / m).max())
    study_mean = float(sum(row["count"] * row["mean_predicted"] for row in curve) / m)
    by_chance = float((num_bins - 1) * scale)
    return Shift(float(probs.mean()), study_mean, psi, by_chance, float(chi2.sf(psi / scale, num_bins - 1)), ks)

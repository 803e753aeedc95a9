"""Weights against label imbalance: per label for the loss, per row for the weighted sampler."""

from typing import Literal

import numpy as np

NO_FINDING_WEIGHT = 0.01
"""Sampler weight of a row without positive labels; label weights have a maximum of 1."""


def positive_counts(targets: np.ndarray) -> np.ndarray:
    """(L,) int64: known positives of each label.

    Args:
        targets: (N, L) of 0, 1 or NaN (unknown).
    """
    return np.asarray(targets == 1).sum(axis=0, dtype=np.int64)


def negatives_positives(targets: np.ndarray) -> np.ndarray:
    """(L,) float64: known negatives over known positives, the `pos_weight` of weighted BCE.

    A label without positives or without negatives gets 1.

    Args:
        targets: (N, L) of 0, 1 or NaN (unknown, not counted).
    """
    positives = positive_counts(targets).astype(np.float64)
    negatives = np.asarray(targets == 0).sum(axis=0, dtype=np.float64)
    balance = np.ones_like(positives)
    np.divide(negatives, positives, out=balance, where=(positives > 0) & (negatives > 0))
    return balance


def negative_shares(targets: np.ndarray) -> np.ndarray:
    """(L,) float64 in [0, 1]: known negatives over known rows; 0.5 for a label without known rows.

    Args:
        targets: (N, L) of 0, 1 or NaN (unknown).
    """
    known = np.isfinite(targets).sum(axis=0, dtype=np.float64)
    negatives = np.asarray(targets == 0).sum(axis=0, dtype=np.float64)
    shares = np.full(len(known), 0.5)
    np.divide(negatives, known, out=shares, where=known > 0)
    return shares


def inverse_frequency(counts: np.ndarray, *, smoothing: float = 1.0, power: float = 0.5) -> np.ndarray:
    """(L,) float64: 1 / (count + smoothing)^power, scaled to mean 1.

    A label without positives gets 1, the mean, and is left out of the scaling, which it would dominate. Meant to
    multiply a label's positive and negative terms alike, not as a `pos_weight`: one below 1 suppresses positives.

    Args:
        counts: (L,) positives per label.
    """
    present = counts > 0
    return _scaled_to_mean_one((counts[present] + smoothing) ** -float(power), present)


def effective_number(counts: np.ndarray, *, beta: float) -> np.ndarray:
    """(L,) float64: (1 - beta) / (1 - beta^count), scaled to mean 1 (Cui et al., arXiv 1901.05555, eq. 2).

    beta 0 weighs all labels equally, beta near 1 by inverse frequency. Labels without positives: as in
    `inverse_frequency`.

    Args:
        counts: (L,) positives per label.
        beta: in [0, 1).
    """
    present = counts > 0
    return _scaled_to_mean_one((1 - beta) / (1 - beta ** counts[present].astype(np.float64)), present)


def sample_weights(targets: np.ndarray, *, how: Literal["mean", "max", "unscaled"]) -> np.ndarray:
    """(N,) float64: unnormalised probability of drawing each row.

    A label has weight 1 / (count + 1); a row has the mean or the maximum over its positive labels, or 0.01 without a
    positive. For "mean" and "max" the label weights are first scaled to a maximum of 1. "unscaled" is "max" without
    that scaling: 0.01 then exceeds every label weight, and nearly all rows drawn have no finding.

    Args:
        targets: (N, L) of 0, 1 or NaN; unknown counts as negative.
    """
    positive = np.asarray(targets == 1)
    counts = positive.sum(axis=0)
    label_weights = np.where(counts > 0, 1 / (counts + 1), 0.0)
    if how != "unscaled" and counts.any():
        label_weights /= label_weights.max()
    per_row = positive * label_weights
    num_findings = positive.sum(axis=1)
    weights = per_row.sum(axis=1) / np.maximum(num_findings, 1) if how == "mean" else per_row.max(axis=1, initial=0.0)
    return np.where(num_findings > 0, weights, NO_FINDING_WEIGHT)


def expected_label_shares(targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(L,) float64, sum 1: each label's expected share of all positives among rows drawn with `weights`.

    Args:
        targets: (N, L) of 0, 1 or NaN, with at least one positive in a row of positive weight.
        weights: (N,) from `sample_weights`, or ones for uniform draws.
    """
    drawn = weights @ np.asarray(targets == 1, dtype=np.float64)
    return drawn / drawn.sum()


def expected_no_finding_share(targets: np.ndarray, weights: np.ndarray) -> float:
    """Expected share, in [0, 1], of rows without positive labels among rows drawn with `weights`."""
    empty = ~np.asarray(targets == 1).any(axis=1)
    return float(weights[empty].sum() / weights.sum())


def _scaled_to_mean_one(raw: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(L,): `raw`, one weight per label in `present`, scaled to mean 1; 1 for the other labels."""
    weights = np.ones(len(present))
    if len(raw):
        weights[present] = raw / raw.mean()
    return weights

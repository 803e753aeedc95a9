"""Weights against label imbalance: per label for the loss, per row for the sampler."""

from typing import Literal

import numpy as np

NO_FINDING_WEIGHT = 0.01
"""Sampler weight of a row without any positive label, beside label weights whose maximum is 1."""


def positive_counts(targets: np.ndarray) -> np.ndarray:
    """(L,) int64: how many rows are known to be positive.

    Args:
        targets: (N, L) of 0, 1 or NaN (unknown).
    """
    return np.asarray(targets == 1).sum(axis=0, dtype=np.int64)


def negatives_positives(targets: np.ndarray) -> np.ndarray:
    """(L,) float64: known negatives over known positives, the `pos_weight` of weighted BCE.

    A label without positives, or without negatives, gets 1: there is no balance to strike.

    Args:
        targets: (N, L) of 0, 1 or NaN (unknown, counted nowhere).
    """
    positives = positive_counts(targets).astype(np.float64)
    negatives = np.asarray(targets == 0).sum(axis=0, dtype=np.float64)
    balance = np.ones_like(positives)
    np.divide(negatives, positives, out=balance, where=(positives > 0) & (negatives > 0))
    return balance


def negative_shares(targets: np.ndarray) -> np.ndarray:
    """(L,) float64 in [0, 1]: known negatives over known rows; 0.5 for a label that is known nowhere.

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

    A label without positives gets 1, the mean, and takes no part in the scaling: it would else dwarf all others.
    For multiplying a label's positive and negative terms alike. Not a `pos_weight`: below 1 that erases positives.

    Args:
        counts: (L,) positives per label.
    """
    present = counts > 0
    return _scaled_to_mean_one((counts[present] + smoothing) ** -float(power), present)


def effective_number(counts: np.ndarray, *, beta: float) -> np.ndarray:
    """(L,) float64: (1 - beta) / (1 - beta^count), scaled to mean 1 (Cui et al., arXiv 1901.05555, eq. 2).

    beta 0 weighs all labels alike, beta near 1 by inverse frequency. A label without positives as in
    `inverse_frequency`.

    Args:
        counts: (L,) positives per label.
        beta: in [0, 1).
    """
    present = counts > 0
    return _scaled_to_mean_one((1 - beta) / (1 - beta ** counts[present].astype(np.float64)), present)


def sample_weights(targets: np.ndarray, *, how: Literal["mean", "max", "unscaled"]) -> np.ndarray:
    """(N,) float64: how likely each row is drawn, up to a common factor.

    A label weighs 1 / (count + 1); a row weighs the mean or the maximum over its positive labels; a row without a
    positive weighs 0.01. For "mean" and "max" the label weights are scaled to a maximum of 1 first. "unscaled" is
    "max" without that: 0.01 then dwarfs every label, and nearly all draws are rows without a finding.

    Args:
        targets: (N, L) of 0, 1 or NaN; unknown counts as no finding.
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
    """(L,) float64, sum 1: each label's expected share of all positive labels in rows drawn by `weights`.

    Args:
        targets: (N, L) of 0, 1 or NaN; at least one positive in a row of positive weight.
        weights: (N,) from `sample_weights`, or ones for plain shuffling.
    """
    drawn = weights @ np.asarray(targets == 1, dtype=np.float64)
    return drawn / drawn.sum()


def expected_no_finding_share(targets: np.ndarray, weights: np.ndarray) -> float:
    """Expected share, in [0, 1], of rows without any positive label among rows drawn by `weights`."""
    empty = ~np.asarray(targets == 1).any(axis=1)
    return float(weights[empty].sum() / weights.sum())


def _scaled_to_mean_one(raw: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(L,): `raw`, the weights of the labels present, scaled to mean 1 among themselves; 1 for the others."""
    weights = np.ones(len(present))
    if len(raw):
        weights[present] = raw / raw.mean()
    return weights

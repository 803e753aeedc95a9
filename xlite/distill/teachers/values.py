"""A teacher's answers as numbers: probabilities as logits, and whether answers depend on the image."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Answers = Literal["logits", "probabilities"]
ANSWERS: tuple[Answers, ...] = ("logits", "probabilities")
LEAST_PROBABILITY = 1e-6
"""Probabilities are clipped to [LEAST_PROBABILITY, 1 - LEAST_PROBABILITY]: logits from -13.8 to 13.8."""
LEAST_SPREAD = 0.05
"""A label whose logits spread less over dozens of images says nothing about them. A model made for pixels from -1024 to
1024 that is given 0 to 1 sees a thousandth of the contrast, and its logits still differ a little."""


def as_logits(values: np.ndarray, answers: Answers, *, exclusive: bool) -> np.ndarray:
    """(..., L) logits float32 of finite answers.

    Args:
        values: logits, or probabilities in [0, 1].
        exclusive: whether L are classes, whose logits are log p, or labels, with log p/(1 - p).
    """
    if answers == "logits":
        return values.astype(np.float32)
    p = np.clip(values.astype(np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return (np.log(p) if exclusive else np.log(p) - np.log1p(-p)).astype(np.float32)


def constant_labels(
    logits: np.ndarray, labels: Sequence[str], *, exclusive: bool, least_spread: float = LEAST_SPREAD
) -> list[str]:
    """The labels that get one answer whatever the image; of classes all or none, since some may never occur.

    Args:
        logits: (N, ..., L), NaN where there is no answer; a label with fewer than two answers is not judged.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    known = ~np.isnan(rows)
    high, low = np.where(known, rows, -np.inf).max(axis=0), np.where(known, rows, np.inf).min(axis=0)
    flat = (known.sum(axis=0) > 1) & (high - low < least_spread)
    if exclusive and not flat.all():
        return []
    return [label for label, is_flat in zip(labels, flat, strict=True) if is_flat]

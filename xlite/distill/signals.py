"""What a teacher says of a batch of views."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Signals:
    """A teacher's signals for B views.

    Attributes:
        logits: (B, ..., L) float32, NaN where the teacher says nothing.
        features: (B, F) float32, pooled; None if no member gives any.
    """

    logits: np.ndarray
    features: np.ndarray | None = None

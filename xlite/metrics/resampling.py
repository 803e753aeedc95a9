"""The patient-clustered bootstrap: weights of rows, and what a metric becomes under them.

A resampled metric is a function of row weights: (N,) -> float and (R, N) -> (R,). A weight is how often the row's
patient was drawn; a row of weight 0 is not there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 1000
LEVEL = 0.95
_CHUNK_CELLS = 2**21  # 16 MiB of float64: what a label reorders at a time stays near the caches
Weighted = Callable[[np.ndarray], np.ndarray]
"""A metric as a function of row weights >= 0: (N,) -> float, (R, N) -> (R,); NaN where it is undefined."""


@dataclass(frozen=True)
class Interval:
    """A 95% interval; both ends are None where none is claimed. `note` says why, or what else is to be known of it."""

    low: float | None
    high: float | None
    note: str = ""

    def __str__(self) -> str:
        return self.note if self.low is None or self.high is None else f"{self.low:.3f} to {self.high:.3f}"


def patient_weights(groups: np.ndarray, *, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row's group (patient) was drawn: chunks (C, N) float64 of in all `num_resamples` resamples.

    As many groups are drawn as there are, with replacement, each with all its rows.

    Args:
        groups: (N,) the group of each row.
    """
    names, group_of_row = np.unique(groups, return_inverse=True)
    num, rng = len(names), np.random.default_rng(seed)
    size = max(1, _CHUNK_CELLS // len(group_of_row))
    for start in range(0, num_resamples, size):
        num_here = min(size, num_resamples - start)
        drawn = rng.integers(num, size=(num_here, num)) + num * np.arange(num_here)[:, None]
        times = np.bincount(drawn.ravel(), minlength=num_here * num).reshape(num_here, num)
        # rows first in memory: a metric reorders and sums whole runs of resamples
        yield np.ascontiguousarray(times.T, dtype=np.float64)[group_of_row].T


def resampled(metric: Weighted, groups: np.ndarray, *, num_resamples: int = NUM_RESAMPLES, seed: int) -> np.ndarray:
    """(R,) values of a metric when groups (N,) are drawn with replacement; NaN where a resample leaves it undefined."""
    chunks = patient_weights(groups, num_resamples=num_resamples, seed=seed)
    return np.concatenate([metric(weights) for weights in chunks])

"""Batches of views: which rows in which order, and which view of each; a pure function of (seed, epoch)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xlite.config import Augmentation
from xlite.data.views import Augment, augment


@dataclass(frozen=True)
class Draw:
    """One batch: positions within the training rows and the view number of each, both (B,) int64."""

    positions: np.ndarray
    views: np.ndarray


def draws(
    num_rows: int, *, epoch: int, batch_size: int, num_views: int, seed: int, weights: np.ndarray | None = None
) -> Iterator[Draw]:
    """The batches of one epoch.

    A last batch smaller than `batch_size` is dropped unless it is the only one, because batch normalisation over a few
    images would disturb the running statistics.

    Args:
        num_rows: R training rows.
        epoch: 0-based.
        weights: None draws every row once, in random order. (R,) draws R rows with replacement, with these unnormalised
            probabilities; the k-th draw of a row takes view (epoch + k) mod num_views, so that a row drawn often is
            shown in several views.
    """
    generator = np.random.default_rng([seed, epoch, 0xBA7C])
    if weights is None:
        order = generator.permutation(num_rows)
        repeats = np.zeros(num_rows, dtype=np.int64)
    else:
        order = generator.choice(num_rows, size=num_rows, p=weights / weights.sum())
        repeats = _occurrence(order)
    views = (epoch + repeats) % num_views
    full = num_rows - num_rows % batch_size or num_rows
    for start in range(0, full, batch_size):
        chosen = slice(start, min(start + batch_size, num_rows))
        yield Draw(order[chosen], views[chosen])


def _occurrence(order: np.ndarray) -> np.ndarray:
    """(R,): for each element, the number of equal elements before it."""
    by_value = np.argsort(order, kind="stable")
    ordered = order[by_value]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    counts = np.arange(len(ordered)) - np.repeat(starts, lengths)
    out = np.empty_like(counts)
    out[by_value] = counts
    return out


@dataclass(frozen=True)
class ViewReader:
    """Reads views of the training rows, augmented on access.

    Attributes:
        pixels: the memory-mapped pixel file.
        rows: (R,) pixel-file row of each training position.
        augmentation, seed: decide a view together with its row and view number.
        augment: the task's augmentation; see `views.Augment`.
        auxiliary: (R, E) integers that models take beside the training rows, or None.
    """

    pixels: np.ndarray
    rows: np.ndarray
    augmentation: Augmentation
    seed: int
    augment: Augment = augment
    auxiliary: np.ndarray | None = None

    def read(self, positions: np.ndarray, views: np.ndarray) -> np.ndarray:
        """(B, *shape) views of the rows at `positions` (B,), with view numbers `views` (B,)."""
        rows = self.rows[positions]
        return self.augment(self.pixels[rows], rows, views, preset=self.augmentation, seed=self.seed)

    def auxiliary_of(self, positions: np.ndarray) -> np.ndarray | None:
        """(B, E) auxiliary integers of the rows at `positions`, or None."""
        return None if self.auxiliary is None else self.auxiliary[positions]

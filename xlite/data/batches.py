"""Batches of views: which rows, which view of each, in what order; all a function of (seed, epoch)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xlite.config import Augmentation
from xlite.data.views import Augment, augment


@dataclass(frozen=True)
class Draw:
    """One batch's choice: positions within the training part and the view number of each, both (B,) int64."""

    positions: np.ndarray
    views: np.ndarray


def draws(
    num_rows: int, *, epoch: int, batch_size: int, num_views: int, seed: int, weights: np.ndarray | None = None
) -> Iterator[Draw]:
    """The batches of one epoch (0-based).

    Without weights every row comes once, in a fresh order. With weights (R,), rows are drawn in proportion, with
    replacement, as many as there are rows; the k-th draw of a row takes view (epoch + k) mod num_views, so a row drawn
    often is not shown one view over and over. A last batch below batch_size is dropped, unless it is the only one:
    batch normalisation over a handful of images would disturb the running statistics.
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
    """For each element, how many times its value came before it."""
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
    """Views of the training part, augmented when asked for.

    Attributes:
        pixels: the mapped pixel file.
        rows: (R,) pixel-file row of each training position.
        augmentation, seed: what the views are a function of, beside row and view.
        augment: the task's; see `views.Augment`.
    """

    pixels: np.ndarray
    rows: np.ndarray
    augmentation: Augmentation
    seed: int
    augment: Augment = augment

    def read(self, positions: np.ndarray, views: np.ndarray) -> np.ndarray:
        """(B, *shape) of the pixel file."""
        rows = self.rows[positions]
        return self.augment(self.pixels[rows], rows, views, preset=self.augmentation, seed=self.seed)

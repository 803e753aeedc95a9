"""Seeded views: augmentation as a pure function of (seed, row, view number)."""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np

from xlite.config import Augmentation

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the package index at import

VIEWS_VERSION = 1
"""Raised when the same (preset, seed, row, view) would give other pixels; part of every key made from views."""


class Augment(Protocol):
    """Gives views: a pure function of (seed, row, view), whatever else is in the batch."""

    def __call__(
        self, pixels: np.ndarray, rows: np.ndarray, views: np.ndarray, *, preset: Augmentation, seed: int
    ) -> np.ndarray:
        """(B, *shape) of the pixel file -> the same shape and type."""


def view_seeds(seed: int, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
    """(B,) uint32 seeds, one per (row, view): the splitmix64 finaliser over the three numbers.

    Hashing a batch at once costs microseconds; a NumPy SeedSequence per image would cost more than the augmentation.
    """
    with np.errstate(over="ignore"):
        mixed: np.ndarray = np.full(len(rows), seed, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for part in (rows, views):
            mixed = _finalise(mixed + np.asarray(part, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    return (mixed >> np.uint64(32)).astype(np.uint32)


def augment(pixels: np.ndarray, rows: np.ndarray, views: np.ndarray, *, preset: Augmentation, seed: int) -> np.ndarray:
    """The asked-for views of some rows.

    Args:
        pixels: (B, H, W) or (B, H, W, C) uint8, the rows' cached images.
        rows: (B,) row numbers, the identity of each image.
        views: (B,) view numbers.
        preset: "none" returns the pixels unchanged.
        seed: the study's augmentation seed.

    Returns:
        An array of the same shape and type.
    """
    if preset == "none":
        return np.array(pixels)
    pipeline = _pipeline(preset)
    out = np.empty_like(pixels)
    for i, view_seed in enumerate(view_seeds(seed, rows, views).tolist()):
        pipeline.set_random_seed(view_seed)
        out[i] = pipeline(image=np.ascontiguousarray(pixels[i]))["image"]
    return out


def _finalise(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=8)
def _pipeline(preset: Augmentation) -> Any:
    import albumentations as A

    cv2.setNumThreads(1)  # a 64 px warp is too small to share out, and trials share the cores
    return A.Compose(_transforms(A, preset))


def _transforms(A: Any, preset: Augmentation) -> Sequence[Any]:
    edge = {"border_mode": cv2.BORDER_CONSTANT}
    brightness = A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5)
    if preset == "light":
        return [A.Rotate(limit=5, p=0.5, **edge), brightness]
    if preset == "medium":  # the logs' own: horizontal flip, rotation to 15 degrees, brightness and contrast
        return [A.HorizontalFlip(p=0.5), A.Rotate(limit=15, p=0.7, **edge), brightness]
    assert preset == "strong", preset
    return [
        A.HorizontalFlip(p=0.5),
        A.Affine(scale=(0.85, 1.15), translate_percent=(-0.08, 0.08), rotate=(-20, 20), p=0.8, **edge),
        A.RandomBrightnessContrast(brightness_limit=0.3, contrast_limit=0.3, p=0.7),
        A.GaussNoise(std_range=(0.01, 0.05), p=0.3),
        A.CoarseDropout(num_holes_range=(1, 3), hole_height_range=(0.05, 0.15), hole_width_range=(0.05, 0.15), p=0.3),
    ]

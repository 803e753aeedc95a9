"""Seeded views of images: augmentation as a pure function of (seed, row, view number)."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

if TYPE_CHECKING:  # a stand-alone package does without pydantic
    from xlite.config import Augmentation

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would query the package index at import

VIEWS_VERSION = 2
"""Incremented when the same (preset, seed, row, view) gives different pixels; part of a teacher bank's key."""


class Augment(Protocol):
    """Augments a batch; each view is a pure function of (seed, row, view), whatever else is in the batch."""

    def __call__(
        self, pixels: np.ndarray, rows: np.ndarray, views: np.ndarray, *, preset: "Augmentation", seed: int
    ) -> np.ndarray:
        """The requested views of a batch, of the same shape and type.

        Args:
            pixels: (B, *shape), the rows' cached inputs.
            rows: (B,) row numbers, the identity of each input.
            views: (B,) view numbers.
            preset: "none" returns the pixels unchanged.
            seed: the study's augmentation seed.
        """


def view_seeds(seed: int, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
    """(B,) uint32 seeds, one per (row, view): the splitmix64 finaliser over seed, row and view.

    Hashing a batch at once costs microseconds; a NumPy SeedSequence per image would cost more than the augmentation.
    """
    with np.errstate(over="ignore"):
        mixed: np.ndarray = np.full(len(rows), seed, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for numbers in (rows, views):
            mixed = _finalise(mixed + np.asarray(numbers, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    return (mixed >> np.uint64(32)).astype(np.uint32)


def augment(
    pixels: np.ndarray, rows: np.ndarray, views: np.ndarray, *, preset: "Augmentation", seed: int
) -> np.ndarray:
    """The requested views of a batch of images.

    Args:
        pixels: (B, H, W) or (B, H, W, C) uint8; the rest as in `Augment`.
    """
    if preset == "none":
        return np.array(pixels)
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)  # a 64 px warp is too small to parallelise, and trials share the cores
    seeds = view_seeds(seed, rows, views)
    return _strong(pixels, seeds) if preset == "strong" else _light_or_medium(pixels, seeds, _RANGES[preset])


def uniforms(seeds: np.ndarray, count: int) -> np.ndarray:
    """(B, count) numbers in [0, 1): one splitmix64 stream for each of the (B,) seeds."""
    with np.errstate(over="ignore"):
        starts = _finalise(seeds.astype(np.uint64))[:, None]
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        bits = _finalise(starts + steps)
    return (bits >> np.uint64(11)) * 2.0**-53


@dataclass(frozen=True)
class _Range:
    """Largest change and probability of each transform."""

    flip_p: float
    rotate_deg: float
    rotate_p: float
    grey: float  # brightness (share of 255) and contrast
    grey_p: float = 0.5


_RANGES = {
    "light": _Range(flip_p=0.0, rotate_deg=5, rotate_p=0.5, grey=0.2),
    "medium": _Range(flip_p=0.5, rotate_deg=15, rotate_p=0.7, grey=0.2),
}


def _light_or_medium(pixels: np.ndarray, seeds: np.ndarray, limits: _Range) -> np.ndarray:
    """Flip, rotation, brightness and contrast, drawn independently for each image.

    Equals albumentations' HorizontalFlip, Rotate and RandomBrightnessContrast (`tests/data/test_views.py`), in one warp
    and one lookup table, without the cost of seeding its generators for each image.
    """
    out = np.empty_like(pixels)
    flip, rotate, degrees, change, brightness, contrast = uniforms(seeds, 6).T
    flips = flip < limits.flip_p
    angles = np.where(rotate < limits.rotate_p, (2 * degrees - 1) * limits.rotate_deg, 0.0)
    changes = change < limits.grey_p
    height, width = pixels.shape[1:3]
    middle = ((width - 1) / 2, (height - 1) / 2)
    for i, source in enumerate(pixels):
        image = source
        if angles[i]:
            matrix = cv2.getRotationMatrix2D(middle, angles[i], 1.0)
            if flips[i]:  # flip before rotating, x -> width - 1 - x: multiplied from the right
                matrix[:, 2] += matrix[:, 0] * (width - 1)
                matrix[:, 0] *= -1
            image = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_CONSTANT)
        elif flips[i]:
            image = image[:, ::-1]
        if changes[i]:
            image = cv2.LUT(image, _grey_table(2 * brightness[i] - 1, 2 * contrast[i] - 1, limits.grey))
        out[i] = image.reshape(source.shape)
    return out


def _grey_table(brightness: float, contrast: float, limit: float) -> np.ndarray:
    """(256,) uint8 lookup table of the grey levels; `brightness` and `contrast` in [-1, 1]."""
    levels = np.arange(256) * (1 + contrast * limit) + 255 * brightness * limit
    return np.rint(levels.clip(0, 255)).astype(np.uint8)


def _strong(pixels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The strong preset by albumentations, with one random stream per image.

    `Compose.set_random_seed` would give each transform its own stream from the same seed, so that all decide alike.
    """
    pipeline, bits, generator = _strong_pipeline()
    out = np.empty_like(pixels)
    for i, seed in enumerate(seeds.tolist()):
        generator.seed(seed)
        bits.state = {**bits.state, "state": {"state": generator.getrandbits(128), "inc": 1}, "has_uint32": 0}
        out[i] = pipeline(image=np.ascontiguousarray(pixels[i]))["image"]
    return out


def _finalise(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele et al. 2014), on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=1)
def _strong_pipeline() -> tuple[Callable[..., dict[str, np.ndarray]], np.random.PCG64, random.Random]:
    """The albumentations pipeline, and the two generators it draws from."""
    import albumentations as A

    edge = {"border_mode": cv2.BORDER_CONSTANT}
    hole = {"hole_height_range": (0.05, 0.15), "hole_width_range": (0.05, 0.15)}
    pipeline = A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(scale=(0.85, 1.15), translate_percent=(-0.08, 0.08), rotate=(-20, 20), p=0.8, **edge),
            A.RandomBrightnessContrast(brightness_limit=0.3, contrast_limit=0.3, p=0.7),
            A.GaussNoise(std_range=(0.01, 0.05), p=0.3),
            A.CoarseDropout(num_holes_range=(1, 3), p=0.3, **hole),
        ]
    )
    bits, generator = np.random.PCG64(), random.Random()
    pipeline.set_random_state(np.random.Generator(bits), generator)
    return pipeline, bits, generator

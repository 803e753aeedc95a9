"""Stacks of MR slices around a level: three windows as channels, CLAHE, square crop; and their augmented views."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from xlite.data.dicom import read_dicom
from xlite.data.input_spec import InputSpec
from xlite.data.preprocess import ModelInput, Preprocess, RawSource
from xlite.data.table import Item
from xlite.data.unreadable import UnreadableImage
from xlite.data.views import view_seeds
from xlite.errors import InputError

if TYPE_CHECKING:  # a stand-alone package does without pydantic
    from xlite.config import Augmentation

WINDOWS = ((0.5, 99.5), (20.0, 98.0), (0.0, 100.0))
"""The channels' windows in percentiles of the whole stack: wide, narrow, full range. MR signal has no unit like CT's
Hounsfield unit, so fixed windows would mean something different on every scanner."""

_MAX_SAMPLES = 100_000  # more pixels change the percentiles little and take longer


@dataclass(frozen=True)
class SlicePreprocess(Preprocess):
    """The preprocessing of a stack of DICOM slices, done once before any augmentation.

    An item's paths are the stack's slices in order; its detail is JSON {"x", "y", "radius"}: the centre and half the
    side of the square crop, in pixels of the slices.

    Attributes:
        image_size: side S of the result, pixels, at least 1.
        num_slices: T of the stack, at least 1.
        clahe_clip: CLAHE's clip limit, above 0.
        clahe_tiles: CLAHE's tiles along each axis of a whole slice, at least 1.
        version: incremented when `read` gives different pixels, so that old caches are not used.

    Raises:
        InputError: a value is out of range.
    """

    image_size: int
    num_slices: int = 7
    clahe_clip: float = 2.0
    clahe_tiles: int = 8
    version: int = 1

    def __post_init__(self) -> None:
        self.require("image_size", self.image_size >= 1, "at least 1")
        self.require("num_slices", self.num_slices >= 1, "at least 1")
        self.require("clahe_clip", 0 < self.clahe_clip < math.inf, "a finite number above 0")
        self.require("clahe_tiles", self.clahe_tiles >= 1, "at least 1")

    @property
    def input_spec(self) -> InputSpec:
        """(T, S, S, 3) uint8: slices, rows, columns, windows; with the number of the level."""
        shape = (self.num_slices, self.image_size, self.image_size, len(WINDOWS))
        return InputSpec("slices", shape, auxiliary=("level",))

    def inputs(self, source: RawSource, auxiliary: tuple[int, ...] = ()) -> list[ModelInput]:
        """One stack; a path alone is an error, since a file does not say where the level is."""
        if isinstance(source, Path):
            raise InputError(
                f"{source}: one slice is not an example; give an Item with the stack's {self.num_slices} slices "
                'and the detail {"x", "y", "radius"}'
            )
        if isinstance(source, Item) and len(source.paths) != self.num_slices:
            raise InputError(f"{source.path}: a stack of {len(source.paths)} slices; give {self.num_slices}")
        return super().inputs(source, auxiliary)

    def read(self, item: Item) -> np.ndarray:
        """(T, S, S, 3) uint8; a crop that extends past the slice repeats its edge.

        Raises:
            UnreadableImage: a slice cannot be decoded, the slices differ in size, or (x, y) lies outside them.
            OSError: a file cannot be opened or read.
        """
        assert len(item.paths) == self.num_slices, (len(item.paths), self.num_slices)
        crop = json.loads(item.detail)
        slices = {path: read_dicom(path) for path in dict.fromkeys(item.paths)}
        first = slices[item.path].shape
        for path, pixels in slices.items():
            if pixels.shape != first:
                sizes = f"{pixels.shape[1]}x{pixels.shape[0]}, {item.path.name} {first[1]}x{first[0]} px"
                raise UnreadableImage(path, f"slices of different sizes in one series: {sizes}")
        height, width = first
        x, y = float(crop["x"]), float(crop["y"])
        if not (0 <= x < width and 0 <= y < height):
            raise UnreadableImage(item.path, f"the point ({x:g}, {y:g}) lies outside the {width}x{height} px image")
        columns, rows = _square(x, y, float(crop["radius"]), height, width)
        windows = _windows(np.stack(list(slices.values())))
        # By path: a slice that also replaces a missing neighbour is processed once.
        crops = {path: self._crop(pixels, windows, rows, columns) for path, pixels in slices.items()}
        return np.stack([crops[path] for path in item.paths])

    def _crop(
        self, pixels: np.ndarray, windows: list[tuple[float, float]], rows: np.ndarray, columns: np.ndarray
    ) -> np.ndarray:
        # Created per call, which costs microseconds: the object must not be shared between threads.
        clahe = cv2.createCLAHE(self.clahe_clip, (self.clahe_tiles, self.clahe_tiles))
        square = np.stack([clahe.apply(_to_8_bits(pixels, *w))[np.ix_(rows, columns)] for w in windows], axis=-1)
        interpolation = cv2.INTER_AREA if len(rows) > self.image_size else cv2.INTER_LINEAR
        return cv2.resize(square, (self.image_size, self.image_size), interpolation=interpolation)


def _square(x: float, y: float, radius: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Column and row indices of the crop, each (side,), clipped to the image."""
    radius = min(max(radius, 1.0), float(max(height, width)))
    side = round(2 * radius)
    left, top = round(x - radius), round(y - radius)
    return np.arange(left, left + side).clip(0, width - 1), np.arange(top, top + side).clip(0, height - 1)


def _windows(stack: np.ndarray) -> list[tuple[float, float]]:
    """(low, high) of each of WINDOWS over `stack` (T, H, W)."""
    step = math.ceil(math.sqrt(stack.size / _MAX_SAMPLES))
    levels = np.percentile(stack[:, ::step, ::step], [level for window in WINDOWS[:2] for level in window])
    return [(levels[0], levels[1]), (levels[2], levels[3]), (float(stack.min()), float(stack.max()))]


def _to_8_bits(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    scale = 255 / (high - low) if high > low else 0.0
    return np.rint(((pixels - np.float32(low)) * np.float32(scale)).clip(0, 255)).astype(np.uint8)


@dataclass(frozen=True)
class _Range:
    """Largest changes: degrees, shares of the side, shares of the grey range; probability of reversing the order."""

    rotate_deg: float
    scale: float
    shift: float
    brightness: float
    contrast: float
    reverse: float


_PRESETS = {
    "light": _Range(rotate_deg=5, scale=0.0, shift=0.0, brightness=0.1, contrast=0.1, reverse=0.0),
    "medium": _Range(rotate_deg=10, scale=0.08, shift=0.05, brightness=0.2, contrast=0.2, reverse=0.5),
    "strong": _Range(rotate_deg=20, scale=0.15, shift=0.08, brightness=0.3, contrast=0.3, reverse=0.5),
}


def augment_slices(
    pixels: np.ndarray, rows: np.ndarray, views: np.ndarray, *, preset: "Augmentation", seed: int
) -> np.ndarray:
    """The requested views of a batch of stacks, with one transform for all slices and channels of a stack.

    "medium" and "strong" also reverse the order of slices, which mirrors a sagittal stack left to right. The slices
    themselves are never flipped: that would swap front and back.

    Args:
        pixels: (B, T, S, S, C) uint8, at most 4 channels; the rest as in `Augment`.
    """
    if preset == "none":
        return np.array(pixels)
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)  # a slice is too small to parallelise, and trials share the cores
    out = np.empty_like(pixels)
    for i, view_seed in enumerate(view_seeds(seed, rows, views).tolist()):
        _draw_view(pixels[i], out[i], _PRESETS[preset], np.random.default_rng(view_seed))
    return out


def _draw_view(stack: np.ndarray, out: np.ndarray, limits: _Range, rng: np.random.Generator) -> None:
    """Write one view of `stack` (T, S, S, C) into `out`."""
    rotation, scale, shift_x, shift_y, brightness, contrast = rng.uniform(-1, 1, 6)
    reverse = rng.random() < limits.reverse
    size = stack.shape[1]
    middle = ((size - 1) / 2, (size - 1) / 2)
    matrix = cv2.getRotationMatrix2D(middle, rotation * limits.rotate_deg, 1 + scale * limits.scale)
    matrix[:, 2] += np.array([shift_x, shift_y]) * limits.shift * size
    grey = (np.arange(256) - 127.5) * (1 + contrast * limits.contrast) + 127.5 + 255 * brightness * limits.brightness
    table = np.rint(grey.clip(0, 255)).astype(np.uint8)
    for source, target in zip(stack[::-1] if reverse else stack, out, strict=True):
        warped = cv2.warpAffine(source, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
        target[...] = cv2.LUT(warped, table).reshape(target.shape)

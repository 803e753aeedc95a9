"""Tells inputs that are unlike the training images: size, grey levels, hardly any contrast. They are flagged only."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xlite.data.dicom import read_size
from xlite.data.glance import glance
from xlite.data.image_formats import DICOM_SUFFIXES, HEAD_BYTES, PNG_START, is_dicom
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError

SIZE, GREY, CONSTANT = "size", "grey levels", "near-constant"
FLAGS = (SIZE, GREY, CONSTANT)
_MARGIN = 0.5
"""How far outside the range of the training images is far: this share of the range's width, on either side."""
_LEAST_MARGIN = 0.01
"""Of the upper end, added where the training images hardly differ."""
_SIZE_FACTOR = 2.0
_CONSTANT_SHARE = 0.25
_TAIL = 0.005
"""Share of the training images beyond either end of a range: a few odd ones must not widen it."""

Range = tuple[float, float]


@dataclass(frozen=True)
class TrainingInputs:
    """Ranges of the training inputs, each from the 0.5% to the 99.5% quantile.

    Attributes:
        means: of an input's mean, a range for each channel; inputs are as preprocessing gives them.
        spreads: of its standard deviation, likewise.
        sides: of the raw picture's shorter side, pixels; None if not known.
    """

    means: tuple[Range, ...]
    spreads: tuple[Range, ...]
    sides: Range | None = None

    @classmethod
    def measured(cls, pixels: np.ndarray, sides: Sequence[int] = (), *, channels: int = 1) -> "TrainingInputs":
        """The ranges of inputs (N, *shape), N >= 1; a sample of some hundreds is enough.

        Args:
            sides: of `raw_side`, in any order; none if not known.
            channels: the input spec's; above 1 the last axis is that of the channels.
        """
        means, spreads = np.stack([_levels(one, channels) for one in pixels], axis=1)
        return cls(_ranges(means), _ranges(spreads), _ranges(np.array(sides)[:, None])[0] if len(sides) else None)

    def flags(self, pixels: np.ndarray, side: int | None = None) -> tuple[str, ...]:
        """Of `FLAGS` those that apply to one input (*shape) whose raw picture's shorter side is `side`."""
        mean, spread = _levels(pixels, len(self.means))
        lowest_spread = np.array([low for low, _ in self.spreads])
        found = {
            SIZE: side is not None and self.sides is not None and _is_far(side, self.sides),
            CONSTANT: bool((spread <= _CONSTANT_SHARE * lowest_spread).all()),
            GREY: _are_beyond(mean, self.means) or _are_beyond(spread, self.spreads),
        }
        if found[CONSTANT]:
            found[GREY] = False  # one line says it
        return tuple(flag for flag in FLAGS if found[flag])

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainingInputs | None":
        """The inverse of `to_json`, also through JSON; None of {}, where nothing is known."""
        if not values:
            return None
        means, spreads = (tuple((low, high) for low, high in values[name]) for name in ("means", "spreads"))
        return cls(means, spreads, None if values["sides"] is None else (values["sides"][0], values["sides"][1]))


def raw_side(path: Path) -> int | None:
    """The shorter side of a picture, pixels, from its header; None if that cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if head.startswith(PNG_START):  # a tenth of the time that Pillow takes
            return min(struct.unpack_from(">II", head, len(PNG_START) + 8))
        if path.suffix.lower() in DICOM_SUFFIXES or is_dicom(head):
            return min(read_size(path))
        return min(glance(path, pixels=False).size)
    except (UnreadableImage, InputError, OSError, struct.error):
        return None


def _levels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """(2, channels) mean and standard deviation of one input; padded lines of a scan, all 0, count as they are."""
    values = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    # OpenCV takes a fiftieth of NumPy's time.
    return np.array(cv2.meanStdDev(values.reshape(len(values), -1, channels)))[..., 0]


def _ranges(values: np.ndarray) -> tuple[Range, ...]:
    """Of (N, C) values a range for each column."""
    low, high = np.quantile(values.astype(np.float64), (_TAIL, 1 - _TAIL), axis=0).round(4)
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def _are_beyond(values: np.ndarray, ranges: Sequence[Range]) -> bool:
    low, high = np.array(ranges).T
    margin = _MARGIN * (high - low) + _LEAST_MARGIN * np.abs(high)
    return bool(((values < low - margin) | (values > high + margin)).any())


def _is_far(side: int, known: Range) -> bool:
    return not known[0] / _SIZE_FACTOR <= side <= known[1] * _SIZE_FACTOR

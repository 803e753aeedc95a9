"""Turns the stored values of a grey DICOM image into the 8 bits that a viewer shows: lookup tables, window, padding.

The order is the standard's (PS3.3 C.11): padding is set apart, stored values go through the modality's table or
slope and intercept, then through the table or window of interest; MONOCHROME1 is inverted at the end. pydicom's own
functions for the tables fail for entries of 10 to 15 bits and for signed pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset

_PERCENTILES = (0.5, 99.5)
"""The range without a window: hot pixels and burnt-in text are few and must not stretch it; as in the lumbar task."""
_MAX_SAMPLES = 100_000  # more pixels change the percentiles little and take longer
_MIN_INSIDE = 0.01  # a window with less of the image inside it is one for other units
_FILL_SHARE, _FILL_GAP, _MIN_LEVELS = 0.01, 0.25, 16


@dataclass(frozen=True)
class Window:
    """The values that become black and white, and what lies between: a straight line or an S."""

    low: float
    high: float
    shape: Literal["line", "sigmoid"] = "line"


@dataclass(frozen=True)
class DisplayValues:
    """What `to_8_bits` works on.

    Attributes:
        values: (H, W) float32, after the lookup tables.
        padding: (H, W) bool, pixels outside the acquired image; None if the file declares none.
        window: None where the file has none.
        inverted: whether small values are bright (MONOCHROME1).
    """

    values: np.ndarray
    padding: np.ndarray | None
    window: Window | None
    inverted: bool


def display_values(stored: np.ndarray, dataset: "Dataset") -> DisplayValues:
    """Apply the header's lookup tables to `stored` (H, W), signed or unsigned integers.

    Raises:
        Exception: the header is damaged; of whatever type pydicom raises.
    """
    if tables := dataset.get("ModalityLUTSequence"):
        values, _ = _looked_up(stored, tables[0], dataset)
    else:
        values = rescaled(stored.astype(np.float32), dataset)
    window: Window | None
    if tables := dataset.get("VOILUTSequence"):
        values, window = _looked_up(np.rint(np.nan_to_num(values)), tables[0], dataset)
    else:
        window = _window(dataset)
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    return DisplayValues(values, _padding(stored, dataset), window, inverted)


def rescaled(values: np.ndarray, dataset: "Dataset") -> np.ndarray:
    """float32 `values` times the header's slope plus its intercept; 1 and 0 where it has none."""
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    with np.errstate(all="ignore"):  # e.g. a slope of 1e300; the caller checks the result
        return values * np.float32(slope) + np.float32(intercept)


def to_8_bits(display: DisplayValues) -> np.ndarray:
    """(H, W) uint8: black to white over the window, else over the 0.5th to 99.5th percentile; padding is black.

    A window that leaves less than 1% of the pixels inside is ignored: it is meant for other units.
    """
    step = math.ceil(math.sqrt(display.values.size / _MAX_SAMPLES))
    sample = display.values[::step, ::step]
    if display.padding is not None:
        sample = sample[~display.padding[::step, ::step]]
    if not sample.size:
        return np.zeros(display.values.shape, np.uint8)
    window = display.window
    if window is None or np.mean((sample > window.low) & (sample < window.high)) < _MIN_INSIDE:
        low, high = np.percentile(_without_fill(sample.ravel()), _PERCENTILES)
        window = Window(float(low), float(high))
    width = window.high - window.low
    share = (display.values - np.float32(window.low)) * np.float32(1 / width if width > 0 else 0)
    if window.shape == "sigmoid":
        share = 1 / (1 + np.exp(np.clip(2 - 4 * share, -30, 30)))
    grey = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
    if display.inverted and width > 0:
        grey = 255 - grey
    if display.padding is not None:
        grey[display.padding] = 0
    return grey


def _looked_up(values: np.ndarray, table: "Dataset", dataset: "Dataset") -> tuple[np.ndarray, Window]:
    """(H, W) float32 of a lookup table's entries, and the window that holds all of them."""
    _, first, _ = table.LUTDescriptor
    entries = table.LUTData
    if isinstance(entries, bytes):
        little = dataset.original_encoding[1] is not False
        entries = np.frombuffer(entries, "<u2" if little else ">u2")
    entries = np.asarray(entries, np.float32)
    places = (values.astype(np.int64) - int(first)).clip(0, len(entries) - 1)
    return entries[places], Window(float(entries.min()), float(entries.max()))


def _window(dataset: "Dataset") -> Window | None:
    """The first of the header's windows; None without a valid one."""
    try:
        centre, width = (_first_number(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    except ValueError:  # no number: the image is good all the same
        return None
    if centre is None or width is None or width <= 0:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function == "LINEAR" and width > 1:  # PS3.3 C.11.2.1.2.1: centre and width count pixel values
        return Window(centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)
    return Window(centre - width / 2, centre + width / 2, "sigmoid" if function == "SIGMOID" else "line")


def _first_number(value: object) -> float | None:
    """`value`, or the first of several; None for an empty element. ValueError if it is no number."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    return None if value in (None, "") else float(value)  # type: ignore[arg-type]


def _padding(stored: np.ndarray, dataset: "Dataset") -> np.ndarray | None:
    """Where `stored` holds the declared padding value or range, None if nowhere or everywhere."""
    if (value := dataset.get("PixelPaddingValue")) is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    # Some writers give a signed value as an unsigned one; the conversion makes them the same again.
    ends = np.array([value, value if limit is None else limit], np.int64).astype(stored.dtype)
    padding = (stored >= ends.min()) & (stored <= ends.max())
    return padding if padding.any() and not padding.all() else None


def _without_fill(sample: np.ndarray) -> np.ndarray:
    """`sample` without an undeclared fill value at either end, e.g. -2000 around a CT image's circle.

    A fill value is one value that takes 1% of the pixels or more and stands apart from all others by a quarter of
    their range. Few levels in all are a drawing, which has no fill value.
    """
    for end in (np.min, np.max):
        rest = sample[sample != end(sample)]
        if sample.size - rest.size < _FILL_SHARE * sample.size or np.unique(rest).size < _MIN_LEVELS:
            continue
        if np.abs(end(sample) - end(rest)) > _FILL_GAP * np.ptp(rest):
            sample = rest
    return sample

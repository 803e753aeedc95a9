"""One DICOM image file to one picture, grey in its own units or in colour; the header values that order a series."""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from xlite.data.decode import MAX_PIXELS, UnreadableImage
from xlite.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

# Packages that decode a family of compressed transfer syntaxes, by the end of the UID 1.2.840.10008.1.2.
_PLUGINS = {
    "4.50": "pylibjpeg pylibjpeg-libjpeg",
    "4.51": "pylibjpeg pylibjpeg-libjpeg",
    "4.57": "pylibjpeg pylibjpeg-libjpeg",
    "4.70": "pylibjpeg pylibjpeg-libjpeg",
    "4.80": "pylibjpeg pylibjpeg-libjpeg",
    "4.81": "pylibjpeg pylibjpeg-libjpeg",
    "4.90": "pylibjpeg pylibjpeg-openjpeg",
    "4.91": "pylibjpeg pylibjpeg-openjpeg",
    "4.201": "pylibjpeg pylibjpeg-openjpeg",
    "4.202": "pylibjpeg pylibjpeg-openjpeg",
    "4.203": "pylibjpeg pylibjpeg-openjpeg",
}
_ANY_PLUGIN = "python-gdcm"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_CHANGES_COLOURS = ("YBR_RCT", "YBR_ICT")  # of JPEG 2000, whose decoders undo them
_HEADER_TAGS = ["InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient"]
# warnings.catch_warnings changes the whole process: two threads inside it could leave the wrong filters behind.
_SILENCE = threading.Lock()

Value = TypeVar("Value")


@dataclass(frozen=True)
class DicomHeader:
    """Where a slice stands in its series; None where the file does not say.

    Attributes:
        instance_number: the slice's number.
        position_mm: patient coordinates of the first pixel's centre.
        orientation: direction cosines of a row, then of a column.
    """

    instance_number: int | None
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None


def read_dicom(path: Path) -> np.ndarray:
    """The picture of a single-frame grey DICOM file; what needs units or grey levels asks for this.

    Stored values of any width and sign are rescaled by slope and intercept; MONOCHROME1 is inverted within its stored
    range first, so that larger always means brighter.

    Returns:
        (H, W) float32, finite.

    Raises:
        UnreadableImage: no DICOM, cut short, damaged, without a picture, in colour, or of several frames.
        InputError: compressed in a way that no installed package decodes; it would not be the file's fault.
        OSError: the file cannot be read at all.
    """
    with _silent():
        dataset = _parsed(path, path.read_bytes())
        description = _describe(path, dataset)
        if not description.is_grey:
            raise UnreadableImage(path, f"not a grey picture ({description.colours or 'no PhotometricInterpretation'})")
        return _grey(path, dataset, description)


def read_colour_or_grey(path: Path) -> np.ndarray:
    """The picture of a single-frame DICOM file: grey as `read_dicom`, colour as red, green, blue.

    RGB, YBR_FULL, YBR_FULL_422 and PALETTE COLOR are colour. Colours of more than 8 bits are scaled by the range that
    the file states for them, not by their own minimum and maximum: a colour is a colour.

    Returns:
        (H, W) float32, finite; or (H, W, 3) uint8.

    Raises:
        UnreadableImage, InputError, OSError: as `read_dicom`, colour apart.
    """
    with _silent():
        dataset = _parsed(path, path.read_bytes())
        description = _describe(path, dataset)
        if description.is_grey:
            return _grey(path, dataset, description)
        return _coloured(path, dataset, description)


def read_header(path: Path) -> DicomHeader:
    """The header values that order a series; the pixels are not read.

    Raises:
        UnreadableImage: no DICOM, or its header is damaged.
        OSError: the file cannot be read at all.
    """
    import pydicom

    with path.open("rb") as file, _silent():
        dataset = _attempt(path, lambda: pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*_HEADER_TAGS]))
        number = _attempt(path, lambda: dataset.get("InstanceNumber"))
        position = _attempt(path, lambda: _floats(dataset.get("ImagePositionPatient"), 3))
        orientation = _attempt(path, lambda: _floats(dataset.get("ImageOrientationPatient"), 6))
    return DicomHeader(None if number is None else int(number), position, orientation)


@contextmanager
def _silent() -> Iterator[None]:
    """pydicom warns of much that does not matter here; what does matter is raised."""
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _attempt(path: Path, step: Callable[[], Value]) -> Value:
    """`step()`; whatever pydicom raises becomes an UnreadableImage."""
    from pydicom.errors import InvalidDicomError

    try:
        return step()
    except InvalidDicomError:
        raise UnreadableImage(path, "not a DICOM file (no DICM prefix)") from None
    except (MemoryError, UnreadableImage, InputError):
        raise
    except Exception as error:  # its parser and decoders raise whatever they meet in damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(path, f"damaged DICOM ({reason})") from None


def _parsed(path: Path, data: bytes) -> "Dataset":
    import pydicom

    if not data:
        raise UnreadableImage(path, "the file is empty")
    return _attempt(path, lambda: pydicom.dcmread(io.BytesIO(data)))


@dataclass(frozen=True)
class _Description:
    """What a file says of its one picture: photometric interpretation, samples of a pixel, bits of a sample."""

    colours: str
    samples: int
    bits: int

    @property
    def is_grey(self) -> bool:
        return self.colours in _GREY and self.samples == 1


def _describe(path: Path, dataset: "Dataset") -> _Description:
    """Called inside `_silent`: values are converted, and complained of, when they are first asked for."""
    if "PixelData" not in dataset:
        raise UnreadableImage(path, "no pixel data: cut short, or not an image")
    colours, frames, samples, bits, rows, columns = _attempt(
        path,
        lambda: (
            str(dataset.get("PhotometricInterpretation", "")),
            int(dataset.get("NumberOfFrames") or 1),
            int(dataset.get("SamplesPerPixel") or 1),
            int(dataset.BitsStored),
            int(dataset.Rows),
            int(dataset.Columns),
        ),
    )
    if frames > 1:
        raise UnreadableImage(path, f"{frames} frames in one file; export each slice as a file of its own")
    if rows * columns > MAX_PIXELS:
        raise UnreadableImage(path, f"{columns} x {rows} px, more than {MAX_PIXELS:,} in all")
    return _Description(colours, samples, bits)


def _grey(path: Path, dataset: "Dataset", description: _Description) -> np.ndarray:
    """(H, W) float32. Called inside `_silent`."""
    _check_decoder(path, dataset)
    stored = _attempt(path, lambda: dataset.pixel_array)
    slope = _attempt(path, lambda: float(dataset.get("RescaleSlope") or 1))
    intercept = _attempt(path, lambda: float(dataset.get("RescaleIntercept") or 0))
    values = stored.astype(np.float32)
    if description.colours == "MONOCHROME1":
        values = np.float32(-1 if dataset.PixelRepresentation else 2**description.bits - 1) - values
    with np.errstate(all="ignore"):  # a slope of 1e300: what comes of it is judged below
        values = values * np.float32(slope) + np.float32(intercept)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise UnreadableImage(path, f"no finite picture of two axes (shape {values.shape})")
    return values


def _coloured(path: Path, dataset: "Dataset", description: _Description) -> np.ndarray:
    """(H, W, 3) uint8. Called inside `_silent`."""
    from pydicom.pixels import apply_color_lut, pixel_array

    colours, wanted = description.colours, 1 if description.colours == _PALETTE else 3
    if colours not in (*_COLOURS, _PALETTE) or description.samples != wanted:
        said = f"{colours or 'no PhotometricInterpretation'}, {description.samples} samples"
        raise UnreadableImage(path, f"neither grey nor a colour that is known ({said})")
    _check_decoder(path, dataset)
    if colours == _PALETTE:
        values = _attempt(path, lambda: apply_color_lut(dataset.pixel_array, dataset))
        bits = 8 * values.dtype.itemsize if values.max(initial=0) > 255 else 8  # 8 bits in entries of 16 are usual
    else:
        values = _attempt(path, lambda: pixel_array(dataset, raw=colours in _CHANGES_COLOURS))  # YBR becomes RGB
        bits = description.bits
    if values.dtype.kind != "u" or values.ndim != 3 or values.shape[2] != 3:
        raise UnreadableImage(path, f"no picture of three colours (shape {values.shape}, {values.dtype})")
    return (values >> max(bits - 8, 0)).astype(np.uint8)


def _check_decoder(path: Path, dataset: "Dataset") -> None:
    from pydicom.pixels import get_decoder

    meta = getattr(dataset, "file_meta", None)
    syntax = None if meta is None else meta.get("TransferSyntaxUID")
    if syntax is None:
        raise UnreadableImage(path, "damaged DICOM (no transfer syntax)")
    if not syntax.is_transfer_syntax or not syntax.is_compressed or syntax.is_deflated:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        package = _PLUGINS.get(str(syntax).removeprefix("1.2.840.10008.1.2."), _ANY_PLUGIN)
        raise InputError(f"{path}: compressed as {syntax.name} ({syntax}); pip install {package} to read it")


def _floats(value: object, count: int) -> tuple[float, ...] | None:
    """`count` numbers, or None where there are not that many."""
    numbers = tuple(float(number) for number in value) if isinstance(value, list | tuple) or value else ()  # type: ignore[attr-defined]
    return numbers if len(numbers) == count else None

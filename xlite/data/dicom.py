"""Reads one DICOM file: the image, grey in its own units or as a viewer shows it, its size, its number in a series.

pydicom is imported inside the functions: it takes 0.3 s, which only data sets with DICOM files should pay.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from xlite.data.dicom_display import DisplayValues, display_values, rescaled, to_8_bits
from xlite.data.image_bytes import too_many_pixels
from xlite.data.quiet import without_warnings
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_DECODED_AS_RGB = ("YBR_RCT", "YBR_ICT")  # of JPEG 2000, whose decoders return RGB
_DECODERS = "python-gdcm pylibjpeg pylibjpeg-openjpeg"  # the extra `dicom` of pyproject.toml
# What these decode, if Pillow does not: 1.2.840.10008.1.2 and one of
_JPEGS = (".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91", ".4.201", ".4.202", ".4.203")

Value = TypeVar("Value")


def read_dicom(path: Path) -> np.ndarray:
    """Read a single-frame grey DICOM file in its own units.

    Stored values of any width and sign are rescaled by slope and intercept; MONOCHROME1 is inverted within its stored
    range first, so that larger always means brighter.

    Returns:
        (H, W) float32, finite.

    Raises:
        UnreadableImage: not DICOM, truncated, damaged, without pixels, too large, in colour, or with several frames.
        InputError: a compression that no installed package decodes.
        OSError: the file cannot be opened or read.
    """
    with without_warnings():
        dataset = _parse(path, path.read_bytes())
        description = _describe(path, dataset)
        if not description.is_grey:
            raise UnreadableImage(path, f"not a grey image ({description.colours or 'no PhotometricInterpretation'})")
        return _grey(path, dataset, description)


def read_colour_or_grey(path: Path) -> np.ndarray:
    """Read a single-frame DICOM file as a viewer shows it: grey, or red, green, blue.

    Grey values go through the file's lookup tables and window, as `dicom_display` says. RGB, YBR_FULL, YBR_FULL_422 and
    PALETTE COLOR are colour. Colours of more than 8 bits are scaled by the number of bits in the header, not by their
    own minimum and maximum, which would change the hue.

    Returns:
        (H, W) or (H, W, 3) uint8.

    Raises:
        UnreadableImage, InputError, OSError: as `read_dicom`, except that colour is supported.
    """
    with without_warnings():
        dataset = _parse(path, path.read_bytes())
        description = _describe(path, dataset)
        if not description.is_grey:
            return _coloured(path, dataset, description)
        display = _display(path, dataset)
    return to_8_bits(display)


def read_instance_number(path: Path) -> int | None:
    """The number of a slice in its series, from its header; None where that has none.

    Raises:
        UnreadableImage: not DICOM, or the header is damaged.
        OSError: the file cannot be opened or read.
    """
    import pydicom

    def number() -> int | None:
        found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["InstanceNumber"]).get("InstanceNumber")
        return None if found is None else int(found)

    with path.open("rb") as file, without_warnings():
        return _attempt(path, number)


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) of a DICOM image, px, from its header.

    Raises:
        UnreadableImage, OSError: as `read_instance_number`.
    """
    import pydicom

    with path.open("rb") as file, without_warnings():
        dataset = _attempt(
            path, lambda: pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        )
        return _attempt(path, lambda: (int(dataset.Columns), int(dataset.Rows)))


def _attempt(path: Path, step: Callable[[], Value]) -> Value:
    """Return `step()`; an error inside pydicom becomes an UnreadableImage."""
    from pydicom.errors import InvalidDicomError

    try:
        return step()
    except InvalidDicomError:
        raise UnreadableImage(path, "not a DICOM file (no DICM prefix)") from None
    except (MemoryError, UnreadableImage, InputError):
        raise
    except Exception as error:  # damaged bytes make its parser and decoders raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(path, f"damaged DICOM ({reason})") from None


def _parse(path: Path, data: bytes) -> "Dataset":
    import pydicom

    if not data:
        raise UnreadableImage(path, "the file is empty")
    return _attempt(path, lambda: pydicom.dcmread(io.BytesIO(data)))


@dataclass(frozen=True)
class _Description:
    """Photometric interpretation, samples per pixel and bits per sample of the file's one image."""

    colours: str
    samples: int
    bits: int

    @property
    def is_grey(self) -> bool:
        return self.colours in _GREY and self.samples == 1


def _describe(path: Path, dataset: "Dataset") -> _Description:
    """Called inside `without_warnings`: pydicom converts values, and warns about them, on first access."""
    if "PixelData" not in dataset:
        raise UnreadableImage(path, "no pixel data: truncated, or not an image")
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
        raise UnreadableImage(path, f"{frames} frames in one file; export each slice to its own file")
    if problem := too_many_pixels(columns, rows):
        raise UnreadableImage(path, problem)
    return _Description(colours, samples, bits)


def _grey(path: Path, dataset: "Dataset", description: _Description) -> np.ndarray:
    """(H, W) float32. Called inside `without_warnings`."""
    _check_decoder(path, dataset)
    values = _attempt(path, lambda: dataset.pixel_array).astype(np.float32)
    if description.colours == "MONOCHROME1":
        values = np.float32(-1 if dataset.PixelRepresentation else 2**description.bits - 1) - values
    values = _attempt(path, lambda: rescaled(values, dataset))
    _check_finite(path, values)
    return values


def _display(path: Path, dataset: "Dataset") -> DisplayValues:
    """Called inside `without_warnings`."""
    _check_decoder(path, dataset)
    stored = _attempt(path, lambda: dataset.pixel_array)
    display = _attempt(path, lambda: display_values(stored, dataset))
    _check_finite(path, display.values)
    return display


def _check_finite(path: Path, values: np.ndarray) -> None:
    if values.ndim != 2 or not np.isfinite(values).all():
        raise UnreadableImage(path, f"pixels are not finite or not two-dimensional (shape {values.shape})")


def _coloured(path: Path, dataset: "Dataset", description: _Description) -> np.ndarray:
    """(H, W, 3) uint8. Called inside `without_warnings`."""
    from pydicom.pixels import apply_color_lut, pixel_array

    colours, num_samples = description.colours, 1 if description.colours == _PALETTE else 3
    if colours not in (*_COLOURS, _PALETTE) or description.samples != num_samples:
        found = f"{colours or 'no PhotometricInterpretation'}, {description.samples} samples"
        raise UnreadableImage(path, f"neither grey nor a supported colour space ({found})")
    _check_decoder(path, dataset)
    if colours == _PALETTE:
        values = _attempt(path, lambda: apply_color_lut(dataset.pixel_array, dataset))
        bits = 8 * values.dtype.itemsize if values.max(initial=0) > 255 else 8  # often 8-bit values in 16-bit entries
    else:
        values = _attempt(path, lambda: pixel_array(dataset, raw=colours in _DECODED_AS_RGB))  # converts YBR to RGB
        bits = description.bits
    if values.dtype.kind != "u" or values.ndim != 3 or values.shape[2] != 3:
        raise UnreadableImage(path, f"pixels have no three colour channels (shape {values.shape}, {values.dtype})")
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
        known = str(syntax).removeprefix("1.2.840.10008.1.2") in _JPEGS
        fix = f"pip install {_DECODERS} to read it" if known else "decompress it, e.g. with gdcmconv --raw"
        raise InputError(f"{path}: compressed as {syntax.name} ({syntax}); {fix}")

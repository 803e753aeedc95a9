"""Looks at a picture file: its size, whether it holds several frames, and how much of it is in colour."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from xlite.data.decode import read_picture
from xlite.data.dicom import read_colour_or_grey
from xlite.data.image_formats import DICOM_SUFFIXES, HEAD_BYTES, PILLOW_BY_SUFFIX, PILLOW_FORMATS, is_dicom
from xlite.data.quiet import without_warnings

_GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_COLOUR_DIFFERENCE = 16  # JPEG's chroma rounding makes the channels of a grey image differ by less
_DRAFT_PX = 256
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", *PILLOW_FORMATS)
_PAGED = ("GIF", "TIFF", "WEBP", "PNG", "AVIF")  # in a JPEG further frames are previews of the same picture


@dataclass(frozen=True)
class Glance:
    """What a file's header and, if looked at, its pixels show.

    Attributes:
        size: (width, height), px.
        has_several: whether it holds more than one frame or page.
        may_be_colour: whether its format can hold colour as it is stored.
        colour_share: share of the pixels that are in colour; None if they were not looked at.
    """

    size: tuple[int, int]
    has_several: bool
    may_be_colour: bool
    colour_share: float | None


def starts_as_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(HEAD_BYTES))
    except OSError:
        return False


def glance(path: Path, *, pixels: bool) -> Glance:
    """Read a picture's header and, with `pixels`, the colours if it may have any. DICOM is always decoded.

    Raises:
        UnreadableImage, InputError, OSError: as `read_picture`. Of a file whose header is good, the pixels may still
            turn out damaged later.
    """
    if path.suffix.lower() in DICOM_SUFFIXES or starts_as_dicom(path):
        return _of_array(read_colour_or_grey(path))
    try:
        return _of_file(path, pixels)
    except Exception:  # Pillow has not all TIFFs that OpenCV has; what both lack is raised with its reason
        return _of_array(read_picture(path, channels=3))


def _of_file(path: Path, pixels: bool) -> Glance:
    own = PILLOW_BY_SUFFIX.get(path.suffix.lower())
    with without_warnings(), Image.open(path, formats=_FORMATS if own is None else (own,)) as image:
        size, may_be_colour = image.size, image.mode not in _GREY_MODES
        has_several = image.format in _PAGED and getattr(image, "is_animated", False)
        share = None
        if may_be_colour and pixels:
            image.draft("RGB", (_DRAFT_PX, _DRAFT_PX))  # JPEG only: decodes at a reduced size
            share = _colour_share(np.asarray(image.convert("RGB")))
    return Glance(size, has_several, may_be_colour, share)


def _of_array(picture: np.ndarray) -> Glance:
    in_colour = picture.ndim == 3
    share = _colour_share(picture) if in_colour else None
    return Glance((picture.shape[1], picture.shape[0]), False, in_colour, share)


def _colour_share(picture: np.ndarray) -> float:
    return float(np.mean(np.ptp(picture.astype(np.int16), axis=2) > _COLOUR_DIFFERENCE))

"""One raw image file to one small image, grey or colour: checked bytes, CLAHE at full resolution, resize."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xlite.data.dicom import read_colour_or_grey
from xlite.data.image_bytes import find_damage, too_many_pixels, without_ancillary_chunks
from xlite.data.image_formats import (
    BMP_START,
    DICOM_SUFFIXES,
    JPEG_START,
    PILLOW_BY_SUFFIX,
    PILLOW_FORMATS,
    PNG_START,
    TIFF_STARTS,
    is_dicom,
)
from xlite.data.input_spec import InputSpec
from xlite.data.picture_hash import PictureHashes, hashes_of
from xlite.data.preprocess import Preprocess
from xlite.data.quiet import silence_opencv, without_warnings
from xlite.data.table import Item
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError


@dataclass(frozen=True)
class ImagePreprocess(Preprocess):
    """The preprocessing of an image, done once before any augmentation; every field is in the pixel cache's key.

    Attributes:
        image_size: side of the square result, pixels, at least 1.
        clahe_clip: CLAHE's clip limit; 0 turns CLAHE off.
        clahe_tiles: CLAHE's tiles along each axis, at least 1.
        channels: of the result: 1 (grey) or 3 (red, green, blue).
        version: incremented when `decode` gives different pixels, so that old caches are not used.

    Raises:
        InputError: a value is out of range.
    """

    image_size: int
    clahe_clip: float = 2.0
    clahe_tiles: int = 8
    channels: int = 1
    version: int = 1

    def __post_init__(self) -> None:
        self.require("image_size", self.image_size >= 1, "at least 1")
        self.require("clahe_clip", 0 <= self.clahe_clip < math.inf, "a finite number of at least 0 (0: no CLAHE)")
        self.require("clahe_tiles", self.clahe_tiles >= 1, "at least 1")
        self.require("channels", self.channels in (1, 3), "1 (grey) or 3 (colour)")

    @property
    def input_spec(self) -> InputSpec:
        """(S, S) uint8, or (S, S, 3) in colour."""
        return InputSpec("image", (self.image_size, self.image_size) + ((3,) if self.channels == 3 else ()))

    def read(self, item: Item) -> np.ndarray:
        """`decode` of the item's file."""
        return decode(item.path, self)

    def read_hashed(self, item: Item) -> tuple[np.ndarray, PictureHashes]:
        """`read`, and hashes of the decoded picture, which do not depend on the preprocessing."""
        picture = read_picture(item.path, channels=self.channels)
        return _equalised_and_resized(picture, self), hashes_of(picture)

    def from_array(self, array: np.ndarray) -> np.ndarray:
        """The input from a picture as `read_picture` gives it, of any size.

        Args:
            array: (H, W) grey or (H, W, 3) red, green, blue. Types other than uint8 are scaled to 0-255 by their own
                minimum and maximum, and channels are converted, as for a file; but converting a colour file to grey
                in its decoder can round differently by 1.

        Raises:
            InputError: not a picture, or its values are not finite.
        """
        is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
        if not is_picture or not array.size or array.dtype.kind not in "uif":
            raise InputError(
                f"an array of shape {array.shape} and type {array.dtype}: give (H, W) or (H, W, 3) numbers"
            )
        try:
            picture = array if array.dtype in (np.uint8, np.uint16) else array.astype(np.float32)
            picture = picture if picture.dtype == np.uint8 else _to_8_bits(Path("array"), picture)
        except UnreadableImage as error:
            raise InputError(str(error)) from None
        return _equalised_and_resized(np.ascontiguousarray(_in_channels(picture, self.channels)), self)


def decode(path: Path, preprocess: ImagePreprocess) -> np.ndarray:
    """`read_picture`, then CLAHE at full resolution (in colour on CIELAB's lightness only), then resize.

    The aspect ratio is not preserved.

    Returns:
        (image_size, image_size) or (image_size, image_size, 3) uint8.

    Raises:
        UnreadableImage, OSError: as `read_picture`.
    """
    return _equalised_and_resized(read_picture(path, channels=preprocess.channels), preprocess)


def _equalised_and_resized(image: np.ndarray, preprocess: ImagePreprocess) -> np.ndarray:
    if preprocess.clahe_clip > 0:
        # Created per call, which costs microseconds: the object must not be shared between threads.
        clahe = cv2.createCLAHE(preprocess.clahe_clip, (preprocess.clahe_tiles, preprocess.clahe_tiles))
        if image.ndim == 2:
            image = clahe.apply(image)
        else:
            lightness, *colours = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
            image = cv2.cvtColor(cv2.merge([clahe.apply(lightness), *colours]), cv2.COLOR_LAB2RGB)
    return _resize(image, preprocess.image_size)


def read_picture(path: Path, *, channels: int) -> np.ndarray:
    """Read a picture in any of the formats of `image_formats`, or the first of its frames or pages, at full size.

    Grey, palette, RGB and RGBA of 8 or more bits are supported; alpha is ignored, the EXIF orientation is applied. More
    than 8 bits are scaled to 0..255 by the image's own minimum and maximum, DICOM as a viewer shows it. PNG has
    checksums, so all damage is found; in a JPEG a missing end is found, in other formats what their decoder cannot
    read. Nothing is printed, whatever the bytes are: JPEG is decoded by Pillow, which is silent and gives the same
    pixels as OpenCV; only gdcm, where it is installed, may write a line about a damaged DICOM file. The bytes decide
    the format, not the file's name.

    Args:
        channels: 1 turns colour into grey, 3 gives a grey picture three equal channels.

    Returns:
        (H, W) uint8, or (H, W, 3) uint8 in the order red, green, blue.

    Raises:
        UnreadableImage: the bytes are empty, truncated, damaged, no image, have more than MAX_PIXELS pixels, or are a
            DICOM file of several frames.
        InputError: a DICOM compression that no installed package decodes.
        OSError: the file cannot be opened or read.
    """
    data = path.read_bytes()
    if reason := find_damage(data):
        raise UnreadableImage(path, reason)
    if path.suffix.lower() in DICOM_SUFFIXES or is_dicom(data):
        return _in_channels(read_colour_or_grey(path), channels)
    if data.startswith(JPEG_START):
        decoded = _read_jpeg(path, data, channels)
        return _read_with_opencv(path, data, channels) if decoded is None else decoded
    if data.startswith((PNG_START, BMP_START, *TIFF_STARTS)):
        return _read_with_opencv(path, data, channels)
    return _in_channels(_read_with_pillow(path, data), channels)


def _read_with_opencv(path: Path, data: bytes, channels: int) -> np.ndarray:
    if data.startswith(PNG_START):
        data = without_ancillary_chunks(data)
    silence_opencv()
    colours = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), colours | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:  # e.g. more pixels than OpenCV accepts
        raise UnreadableImage(path, f"OpenCV cannot decode it ({error.err})") from error
    if image is None:
        raise UnreadableImage(path, "not an image that OpenCV can decode")
    if reason := too_many_pixels(image.shape[1], image.shape[0]):
        raise UnreadableImage(path, reason)
    if image.dtype != np.uint8:
        image = _to_8_bits(path, image)
    return image if channels == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_with_pillow(path: Path, data: bytes) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 of the first frame."""
    own = PILLOW_BY_SUFFIX.get(path.suffix.lower())
    formats = PILLOW_FORMATS if own is None else (own,)
    try:
        with without_warnings(), Image.open(io.BytesIO(data), formats=formats) as image:
            if reason := too_many_pixels(*image.size):
                raise UnreadableImage(path, reason)
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith(("I", "F")):
                return _to_8_bits(path, np.asarray(upright).astype(np.float32))
            return np.array(upright.convert("L" if upright.mode in ("1", "L", "LA", "La") else "RGB"))
    except UnidentifiedImageError:
        raise UnreadableImage(path, "not an image: its first bytes are of no format that is read") from None
    except UnreadableImage:
        raise
    except Exception as error:  # damaged bytes make Pillow raise anything
        raise UnreadableImage(path, f"damaged image ({_in_one_line(error)})") from None


def _read_jpeg(path: Path, data: bytes, channels: int) -> np.ndarray | None:
    """(H, W) or (H, W, 3) uint8; None for CMYK, which OpenCV converts to RGB."""
    mode = "L" if channels == 1 else "RGB"
    try:
        with without_warnings(), Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.mode == "CMYK":
                return None
            image.draft(mode, image.size)  # the decoder itself converts colour to grey, as in OpenCV
            return np.array(ImageOps.exif_transpose(image).convert(mode))
    except Exception as error:  # damaged bytes make Pillow raise anything
        raise UnreadableImage(path, f"damaged JPEG ({_in_one_line(error)})") from None


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _in_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W) or (H, W, 3) red, green, blue as `channels` asks."""
    if channels == 1:
        return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


def _to_8_bits(path: Path, image: np.ndarray) -> np.ndarray:
    if not np.isfinite(image).all():
        raise UnreadableImage(path, "pixel values are not finite")
    low, high, _, _ = cv2.minMaxLoc(image.reshape(len(image), -1))  # over all channels together
    scale = 255 / (high - low) if high > low else 0.0
    return cv2.convertScaleAbs(image, alpha=scale, beta=-low * scale)


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize to (size, size): area averaging along axes that shrink, then linear interpolation along axes that grow."""
    height, width = image.shape[:2]
    shrunk = (min(width, size), min(height, size))
    if shrunk != (width, height):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return image

"""One raw image file to one small picture, grey or colour: checked bytes, CLAHE at full resolution, resize."""

import io
import math
import re
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from xlite.data.table import Item
from xlite.errors import InputError

_PNG = b"\x89PNG\r\n\x1a\n"
_BMP = b"BM"
_JPEG = b"\xff\xd8\xff"
# In entropy-coded data FF is followed by 00 (a literal FF), a restart marker or FF (fill): anything else ends it.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# What decides a PNG's pixels; of the rest libpng complains on stderr. eXIf: orientation; the last three: animation.
_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
MAX_PIXELS = 2**26
"""The most a picture may have, 8192 x 8192: a small file can claim any size and would fill the memory."""


class UnreadableImage(ValueError):
    """The file's bytes are not a whole image. `path` is the file, `reason` says what is wrong without naming it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class ImagePreprocess:
    """What is done to an image once, before any augmentation; every field is part of the pixel cache's key.

    Attributes:
        image_size: side of the square result, pixels, at least 1.
        clahe_clip: CLAHE's clip limit; 0 turns CLAHE off.
        clahe_tiles: CLAHE's tiles along each axis, at least 1.
        channels: of the result: 1 (grey) or 3 (red, green, blue).
        version: raise it when `decode` changes its pixels, so that old caches are not taken for new ones.

    Raises:
        InputError: a value is out of range.
    """

    image_size: int
    clahe_clip: float = 2.0
    clahe_tiles: int = 8
    channels: int = 1
    version: int = 1

    def __post_init__(self) -> None:
        for name, holds, rule in (
            ("image_size", self.image_size >= 1, "at least 1"),
            ("clahe_clip", 0 <= self.clahe_clip < math.inf, "a finite number of at least 0 (0: no CLAHE)"),
            ("clahe_tiles", self.clahe_tiles >= 1, "at least 1"),
            ("channels", self.channels in (1, 3), "1 (grey) or 3 (colour)"),
        ):
            if not holds:
                raise InputError(f"{name} must be {rule}, but got {getattr(self, name)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(S, S), or (S, S, 3) in colour."""
        return (self.image_size, self.image_size) + ((3,) if self.channels == 3 else ())

    @property
    def dtype(self) -> str:
        return "|u1"

    def read(self, item: Item) -> np.ndarray:
        """`decode` of the item's file."""
        return decode(item.path, self)


def decode(path: Path, preprocess: ImagePreprocess) -> np.ndarray:
    """Read `path` as `read_picture`, CLAHE at full resolution (in colour on CIELAB's lightness alone), resize.

    The aspect ratio is not kept.

    Returns:
        (image_size, image_size) or (image_size, image_size, 3) uint8.

    Raises:
        UnreadableImage: the bytes are empty, cut short, damaged, or no image.
        OSError: the file cannot be read at all.
    """
    image = read_picture(path, channels=preprocess.channels)
    if preprocess.clahe_clip > 0:
        # A new object a call: making one costs microseconds, and one object must not be shared by threads.
        clahe = cv2.createCLAHE(preprocess.clahe_clip, (preprocess.clahe_tiles, preprocess.clahe_tiles))
        if image.ndim == 2:
            image = clahe.apply(image)
        else:
            lightness, *colours = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
            image = cv2.cvtColor(cv2.merge([clahe.apply(lightness), *colours]), cv2.COLOR_LAB2RGB)
    return _resize(image, preprocess.image_size)


def read_picture(path: Path, *, channels: int) -> np.ndarray:
    """The whole picture in a PNG, JPEG, TIFF (its first page), BMP or DICOM file, at its own size.

    Grey, palette, RGB and RGBA of 8 or more bits are taken; alpha is ignored, an EXIF orientation is followed. More
    than 8 bits are scaled to 0..255 by the image's own minimum and maximum. PNG carries checksums, so any damage is
    found; the others carry none: of a JPEG a missing end is found, of the rest what their decoder cannot read. Nothing
    is printed, whatever the bytes are. JPEG goes through Pillow, whose decoder is quiet and gives the same pixels.

    Args:
        channels: 1 turns colour into grey, 3 gives a grey picture three equal channels.

    Returns:
        (H, W) uint8, or (H, W, 3) uint8 in the order red, green, blue.

    Raises:
        UnreadableImage: the bytes are empty, cut short, damaged, no image, or one of more than MAX_PIXELS.
        OSError: the file cannot be read at all.
    """
    data = path.read_bytes()
    reason = damage(data)
    if reason:
        raise UnreadableImage(path, reason)
    if path.suffix.lower() == ".dcm" or is_dicom(data):
        from xlite.data.dicom import read_colour_or_grey  # it imports UnreadableImage from here

        picture = read_colour_or_grey(path)
        return _in_channels(picture if picture.dtype == np.uint8 else _to_8_bits(path, picture), channels)
    if data.startswith(_JPEG):
        read = _read_jpeg(path, data, channels)
        if read is not None:
            return read
    if data.startswith(_PNG):
        data = _plain_png(data)
    _hush()
    colours = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), colours | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:  # e.g. more pixels than OpenCV is willing to hold
        raise UnreadableImage(path, f"OpenCV refuses it ({error.err})") from error
    if image is None:
        raise UnreadableImage(path, "not an image that OpenCV can decode")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise UnreadableImage(path, _too_large(image.shape[1], image.shape[0]))
    if image.dtype != np.uint8:
        image = _to_8_bits(path, image)
    return image if channels == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_jpeg(path: Path, data: bytes, channels: int) -> np.ndarray | None:
    """(H, W) or (H, W, 3) uint8; None for four inks (CMYK), which OpenCV turns into colours."""
    mode = "L" if channels == 1 else "RGB"
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.mode == "CMYK":
                return None
            image.draft(mode, image.size)  # grey of a colour picture comes from the decoder, as in OpenCV
            return np.array(ImageOps.exif_transpose(image).convert(mode))
    except Exception as error:  # damaged bytes make Pillow raise whatever it meets
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreadableImage(path, f"damaged JPEG ({reason})") from None


def _in_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W) or (H, W, 3) red, green, blue as `channels` asks."""
    if channels == 1:
        return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


@cache
def _hush() -> None:
    """OpenCV reports damaged files on stderr, line by line; here they are reported by what the decoder returns."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def is_dicom(data: bytes) -> bool:
    """Whether a file's first bytes (132 at least) are those of a DICOM file: a preamble of 128 and "DICM"."""
    return data[128:132] == b"DICM"


def damage(data: bytes) -> str | None:
    """What is wrong with an image file's bytes as far as its container tells, or None.

    Found here rather than by the decoders, which print to stderr and let some damage pass. Formats other than PNG,
    JPEG and BMP are only looked at for being empty.
    """
    if not data:
        return "the file is empty"
    if data.startswith(_PNG):
        return _png_damage(data)
    if data.startswith(_JPEG):
        return _jpeg_damage(data)
    if data.startswith(_BMP):
        return _bmp_damage(data)
    return None


def _png_damage(data: bytes) -> str | None:
    """Walk the chunks (length, type, data, CRC-32 of type and data) to IEND; what follows IEND does not matter."""
    view = memoryview(data)
    start = len(_PNG)
    if len(data) < start + 25:
        return "truncated PNG (no whole IHDR chunk)"
    if data[start + 4 : start + 8] != b"IHDR":
        return "damaged PNG (it does not begin with IHDR)"
    width, height, depth, colours = struct.unpack_from(">IIBB", data, start + 8)
    if width * height > MAX_PIXELS:
        return _too_large(width, height)
    if depth not in _PNG_DEPTHS.get(colours, ()):
        return f"damaged PNG (depth {depth} of colour type {colours})"
    seen = set()
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            return f"damaged PNG (wrong checksum at byte {start})"
        if kind == b"IDAT" and kind not in seen and not _is_zlib(data[start + 8 : start + 10]):
            return "damaged PNG (its data is not packed as PNG's is)"
        seen.add(kind)
        if kind == b"IEND":
            return None if b"IDAT" in seen else "damaged PNG (no IDAT chunk)"
        start = end
    return "truncated PNG (no IEND chunk)"


def _is_zlib(head: bytes) -> bool:
    """Whether two bytes begin a zlib stream (RFC 1950, 2.2); an encoder may split them over chunks."""
    return len(head) < 2 or (head[0] & 0x0F == 8 and int.from_bytes(head, "big") % 31 == 0)


def _plain_png(data: bytes) -> bytes:
    """A PNG that `_png_damage` found whole, without the chunks that do not decide its pixels."""
    kept, start = [_PNG], len(_PNG)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if kind in _PNG_CHUNKS:
            kept.append(data[start:end])
        start = len(data) if kind == b"IEND" else end
    return b"".join(kept)


def _too_large(width: int, height: int) -> str:
    return f"{width} x {height} px, more than {MAX_PIXELS:,} in all"


def _jpeg_damage(data: bytes) -> str | None:
    """Walk the segments to EOI: an embedded thumbnail's EOI is inside a segment and so is not mistaken for the end."""
    start = 2
    while start + 4 <= len(data) or data[start : start + 2] == b"\xff\xd9":
        if data[start] != 0xFF:
            return f"damaged JPEG (no marker at byte {start})"
        kind = data[start + 1]
        if kind == _JPEG_END:
            return None
        if kind == 0xFF:  # fill
            start += 1
            continue
        if kind in _JPEG_FRAMES:
            height, width = int.from_bytes(data[start + 5 : start + 7]), int.from_bytes(data[start + 7 : start + 9])
            if width * height > MAX_PIXELS:
                return _too_large(width, height)
        start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if kind == _JPEG_SCAN:
            marker = _JPEG_MARKER.search(data, start)
            start = marker.start() if marker else len(data)
    return "truncated JPEG (no EOI marker)"


def _bmp_damage(data: bytes) -> str | None:
    """Whether the rows that the header promises are there; each is padded to 4 bytes. Packed ones are not measured."""
    if len(data) < 54:
        return "truncated BMP (no whole header)"
    start, _, width, height, _, bits, packing = struct.unpack_from("<IIiiHHI", data, 10)
    needed = start + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    return "truncated BMP (rows are missing)" if packing == 0 and len(data) < needed else None


def _to_8_bits(path: Path, image: np.ndarray) -> np.ndarray:
    low, high, _, _ = cv2.minMaxLoc(image.reshape(len(image), -1))  # over all channels alike
    if not math.isfinite(high - low):
        raise UnreadableImage(path, "pixel values are not finite")
    scale = 255 / (high - low) if high > low else 0.0
    return cv2.convertScaleAbs(image, alpha=scale, beta=-low * scale)


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    """To `size` along both axes: area averaging along an axis that shrinks, then linear along one that grows."""
    height, width = image.shape[:2]
    shrunk = (min(width, size), min(height, size))
    if shrunk != (width, height):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return image

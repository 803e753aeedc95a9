"""Hashes of what an example shows: one to find identical pictures, one to find nearly identical ones."""

import zlib
from hashlib import blake2b
from typing import NamedTuple

import cv2
import numpy as np

_THUMBNAIL_PX = 32
_SAMPLED_PX = 256  # a thumbnail is made of every k-th pixel, so that a large picture costs no more than a small one


class PictureHashes(NamedTuple):
    """Two 64-bit numbers that stand for a picture.

    Attributes:
        pixels: of its size and every value; 0 if all values are equal.
        perceptual: of its coarse structure, the same for most copies of another size or compression; 0 if it has
            none, or is no 8-bit picture.
    """

    pixels: int
    perceptual: int


def hashes_of(array: np.ndarray) -> PictureHashes:
    """The hashes of a decoded picture, (H, W) or (H, W, 3) uint8, or of any other input, which has no perceptual one.

    The pixel hash of a picture is made of its size, a CRC-32 of every value and its thumbnail: a cryptographic hash of
    all values takes a tenth of the time that decoding does.
    """
    array = np.ascontiguousarray(array)
    is_picture = array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3))
    thumbnail = _thumbnail(array) if is_picture else None
    sample = (array if thumbnail is None else thumbnail).tobytes()
    sample_is_constant = _is_constant(sample, array.itemsize)
    if sample_is_constant and _is_constant(array.tobytes(), array.itemsize):
        return PictureHashes(0, 0)
    header = f"{array.shape} {zlib.crc32(array.data)} ".encode()
    pixels = int.from_bytes(blake2b(header + sample, digest_size=8).digest(), "little") or 1
    return PictureHashes(pixels, 0 if sample_is_constant or thumbnail is None else _perceptual(thumbnail))


def _is_constant(data: bytes, size: int) -> bool:
    """Whether all values of `size` bytes are equal; much faster than with NumPy for a thumbnail."""
    return data == data[:size] * (len(data) // size)


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    """(32, 32) uint8, grey."""
    step = max(1, min(picture.shape[:2]) // _SAMPLED_PX)
    small = cv2.resize(picture[::step, ::step], (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)


def _perceptual(thumbnail: np.ndarray) -> int:
    """pHash, as in the ImageHash package: which of the 8 x 8 lowest frequencies are above their median."""
    lowest = cv2.dct(thumbnail.astype(np.float32))[:8, :8].ravel()
    above = lowest > np.sort(lowest)[31]  # the upper half: as above np.median, which takes ten times as long
    return int.from_bytes(np.packbits(above).tobytes(), "little")

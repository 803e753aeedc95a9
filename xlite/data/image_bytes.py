"""Finds damaged PNG, JPEG and BMP files by their container, before a decoder sees them."""

import re
import struct
import zlib

from xlite.data.image_formats import BMP_START, JPEG_START, PNG_START, is_lfs_pointer

MAX_PIXELS = 2**26
"""The most pixels an image may have, 8192 x 8192: a small file can claim any size and would fill the memory."""

# In entropy-coded data FF is followed by 00 (a literal FF), a restart marker or FF (fill): anything else ends it.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# The chunks that decide the pixels; eXIf: orientation; the last three: animation.
_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def too_many_pixels(width: int, height: int) -> str | None:
    """What is wrong with an image of this size, or None: it may have MAX_PIXELS."""
    return f"{width} x {height} px, more than {MAX_PIXELS:,} in all" if width * height > MAX_PIXELS else None


def find_damage(data: bytes) -> str | None:
    """What is wrong with an image file's bytes as far as the container shows it, or None.

    Decoders would print such damage to stderr, or ignore it. Of formats other than PNG, JPEG and BMP only an empty
    file and a Git LFS pointer are found.
    """
    if not data:
        return "the file is empty"
    if is_lfs_pointer(data):
        return "only a Git LFS pointer, not the image; run git lfs pull in the data set"
    if data.startswith(PNG_START):
        return _png_damage(data)
    if data.startswith(JPEG_START):
        return _jpeg_damage(data)
    if data.startswith(BMP_START):
        return _bmp_damage(data)
    return None


def _png_damage(data: bytes) -> str | None:
    """Walk the chunks (length, type, data, CRC-32 of type and data) to IEND; bytes after IEND are ignored."""
    view = memoryview(data)
    start = len(PNG_START)
    if len(data) < start + 25:
        return "truncated PNG (no complete IHDR chunk)"
    if data[start + 4 : start + 8] != b"IHDR":
        return "damaged PNG (it does not begin with IHDR)"
    width, height, depth, colour_type = struct.unpack_from(">IIBB", data, start + 8)
    if problem := too_many_pixels(width, height):
        return problem
    if depth not in _PNG_DEPTHS.get(colour_type, ()):
        return f"damaged PNG (depth {depth} of colour type {colour_type})"
    has_data = False
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            return f"damaged PNG (wrong checksum at byte {start})"
        if kind == b"IDAT" and not has_data and not _is_zlib(data[start + 8 : start + 10]):
            return "damaged PNG (its data is not a zlib stream)"
        has_data |= kind == b"IDAT"
        if kind == b"IEND":
            return None if has_data else "damaged PNG (no IDAT chunk)"
        start = end
    return "truncated PNG (no IEND chunk)"


def _is_zlib(head: bytes) -> bool:
    """Whether two bytes begin a zlib stream (RFC 1950, 2.2); an encoder may split them over chunks."""
    return len(head) < 2 or (head[0] & 0x0F == 8 and int.from_bytes(head, "big") % 31 == 0)


def without_ancillary_chunks(data: bytes) -> bytes:
    """An undamaged PNG with only the chunks that decide its pixels; libpng warns about others on stderr."""
    kept, start = [PNG_START], len(PNG_START)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if kind in _PNG_CHUNKS:
            kept.append(data[start:end])
        start = len(data) if kind == b"IEND" else end
    return b"".join(kept)


def _jpeg_damage(data: bytes) -> str | None:
    """Walk the segments to EOI; the EOI of an embedded thumbnail lies inside a segment and is skipped with it."""
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
            if problem := too_many_pixels(width, height):
                return problem
        start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if kind == _JPEG_SCAN:
            marker = _JPEG_MARKER.search(data, start)
            start = marker.start() if marker else len(data)
    return "truncated JPEG (no EOI marker)"


def _bmp_damage(data: bytes) -> str | None:
    """Check that uncompressed rows, each padded to 4 bytes, are as long as the header says."""
    if len(data) < 54:
        return "truncated BMP (no complete header)"
    start, _, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    needed = start + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    return "truncated BMP (rows are missing)" if compression == 0 and len(data) < needed else None

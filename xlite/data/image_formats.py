"""Which files are pictures: by suffix, and by their first bytes where the suffix says nothing."""

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima", ".dic", ".dc3")
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".apng", ".webp", ".gif", ".avif"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".mpo"),
    *(".tga", ".pcx", ".psd", ".qoi", ".sgi", ".ras"),
    *DICOM_SUFFIXES,
)
"""Lower case, with the dot; files with these are taken for pictures without being opened."""

PILLOW_FORMATS = ("WEBP", "GIF", "JPEG2000", "PPM", "PSD", "QOI", "SGI", "SUN", "AVIF")
"""What Pillow is asked for beyond PNG, JPEG, TIFF and BMP. Not all it has: its EPS reader starts Ghostscript."""

PILLOW_BY_SUFFIX = {".tga": "TGA", ".pcx": "PCX"}
"""Formats without a reliable start, in which Pillow would read any bytes: only files with the suffix."""

HEAD_BYTES = 132
"""How much of a file decides: a DICOM file begins with a preamble of 128 bytes and "DICM"."""

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
BMP_START = b"BM"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHER_STARTS = (
    *(b"GIF87a", b"GIF89a"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),  # JPEG 2000: in its container, and bare
    *(bytes([ord("P"), digit, end]) for digit in b"123456" for end in b" \t\r\n"),
)
_LFS_START = b"version https://git-lfs.github.com/"


def is_dicom(head: bytes) -> bool:
    """Whether a file's first HEAD_BYTES are those of a DICOM file."""
    return head[128:132] == b"DICM"


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file is the text that Git LFS leaves where a large file was not downloaded."""
    return head.startswith(_LFS_START)


def is_picture(head: bytes) -> bool:
    """Whether a file's first HEAD_BYTES are those of a picture in a format that is read, or of a pointer to one.

    The formats that hardly occur in data sets count only by their suffix.
    """
    return (
        is_dicom(head)
        or is_lfs_pointer(head)
        or head.startswith((PNG_START, JPEG_START, *TIFF_STARTS, *_OTHER_STARTS))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or head[4:12] in (b"ftypavif", b"ftypavis")
        or (head.startswith(BMP_START) and head[6:10] == bytes(4))  # two letters alone are too weak a sign
    )


def is_text(head: bytes) -> bool:
    """Whether a file's first bytes are text: UTF-8 or Latin-1 without control characters."""
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)

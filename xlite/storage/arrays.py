"""The one .npy file that holds a pixel cache: its header, its place on the disk, writes into it."""

import errno
import io
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from xlite.errors import InputError

_FREE_MARGIN = 1.05


def npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """The bytes before the data in a .npy file of `shape`; their number is a multiple of 64."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def pixels_whole(path: Path, shape: tuple[int, ...], dtype: str) -> bool:
    """Whether `path` has exactly the header and the size of an array of `shape`, so that mapping it is safe."""
    header = npy_header(shape, dtype)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return (
                size == len(header) + math.prod(shape) * np.dtype(dtype).itemsize and file.read(len(header)) == header
            )
    except FileNotFoundError:
        return False


def allocate(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    """Make `path` a new array of zeros of `shape` that has its place on the disk, in the stead of what was there.

    Raises:
        InputError: not enough free disk.
        OSError: the folder cannot be written.
    """
    path.unlink(missing_ok=True)  # not truncated: another process may have the old one mapped
    header = npy_header(shape, dtype)
    num_bytes = len(header) + math.prod(shape) * np.dtype(dtype).itemsize
    free = shutil.disk_usage(path.parent).free
    if num_bytes * _FREE_MARGIN > free:
        raise InputError(
            f"the pixel cache needs {num_bytes * _FREE_MARGIN / 2**30:.2f} GiB, {free / 2**30:.2f} GiB free "
            f"in {path.parent.parent}; free some or give another place with --cache-dir"
        )
    try:
        with opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as pixels:
            _claim(pixels, num_bytes)
            write_at(pixels, header, 0)
            os.fsync(pixels)
    except BaseException:
        path.unlink(missing_ok=True)  # nothing is in it yet, and it may be what filled the disk
        raise
    with opened(path.parent, os.O_RDONLY) as directory:
        os.fsync(directory)


def _claim(descriptor: int, num_bytes: int) -> None:
    """Claim the disk now, so that a full one shows before hours of work; where it cannot be claimed, write sparsely."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
    os.ftruncate(descriptor, num_bytes)


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """All of `data`: pwrite alone may write less when the disk fills up, and says why only at the next try."""
    view = memoryview(data)
    while view:
        num_written = os.pwrite(descriptor, view, offset)
        view, offset = view[num_written:], offset + num_written

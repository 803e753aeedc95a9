"""Large .npy files written piece by piece: preallocation, synced writes at an offset, checks before mapping."""

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

sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """The bytes before the data in a .npy file of this shape and type; their number is a multiple of 64."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def data_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of an array's data, without the header."""
    return math.prod(shape) * np.dtype(dtype).itemsize


def is_complete_npy(path: Path, shape: tuple[int, ...], dtype: str) -> bool:
    """Whether `path` has exactly the header and the size of such an array, so that mapping it is safe."""
    header = npy_header(shape, dtype)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return size == len(header) + data_bytes(shape, dtype) and file.read(len(header)) == header
    except FileNotFoundError:
        return False


def allocate_npy(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    """Create `path` as an array of zeros whose disk space is reserved. `path` must not exist.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    header = npy_header(shape, dtype)
    try:
        with open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as descriptor:
            _reserve(descriptor, len(header) + data_bytes(shape, dtype))
            write_at(descriptor, header, 0)
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)  # it holds nothing yet, and may be what filled the disk
        raise
    with open_descriptor(path.parent, os.O_RDONLY) as directory:
        os.fsync(directory)


def _reserve(descriptor: int, num_bytes: int) -> None:
    """Reserve disk space now, so that a full disk shows before hours of work; a sparse file where that fails."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
    os.ftruncate(descriptor, num_bytes)


def check_disk_space(folder: Path, num_bytes: float, content: str) -> None:
    """Check that the disk of `folder`, a cache, has `num_bytes` free.

    Args:
        content: what needs them, for the message, e.g. "pixel cache".

    Raises:
        InputError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise InputError(
            f"{folder}: the {content} needs {num_bytes / 2**20:,.1f} MiB, {free / 2**20:,.1f} MiB free; "
            "free disk space or use another --cache-dir"
        )


@contextmanager
def open_descriptor(path: Path, flags: int) -> Iterator[int]:
    """A file descriptor that is closed at the end; `flags` as for os.open."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of `data`: one pwrite may write less on a full disk, and reports the error only at the next call."""
    view = memoryview(data)
    while view:
        num_written = os.pwrite(descriptor, view, offset)
        view, offset = view[num_written:], offset + num_written

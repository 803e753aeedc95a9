"""Atomic writes (temporary file, fsync, rename), JSON, and waiting for disk space."""

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xlite.errors import InputError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces `path` atomically, on error it is removed."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)  # Windows syncs only what is open for writing
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def double_buffered_write(path: Path) -> Iterator[Path]:
    """As `atomic_write`, for a file that is rewritten often: two files swap roles.

    Yields the path of the spare file, which may hold an earlier version to write over. Replacing a file frees its
    blocks; on a disk mounted with `discard` that takes longer than the write itself.
    """
    spare, previous = spares_of(path)
    previous.unlink(missing_ok=True)  # left by a process killed between the two renames below
    if spare.exists() and spare.stat().st_nlink > 1:  # a hard link, e.g. of a backup: do not overwrite it
        spare.unlink()
    try:
        yield spare
        _sync(spare)
    except BaseException:
        spare.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # no file yet, or a file system without hard links
        os.link(path, previous)
    spare.replace(path)
    if previous.exists():
        previous.replace(spare)


def spares_of(path: Path) -> tuple[Path, Path]:
    """The files of `double_buffered_write` beside `path`: the spare, and one that is left only after a kill."""
    return path.with_name(f".{path.name}.spare"), path.with_name(f".{path.name}.kept")


class StillFull(OSError):
    """No room on a disk (ENOSPC) after a long wait."""


def waits_for_disk_space(folder: Path, num_bytes: int, *, timeout_s: float = 600.0) -> Iterator[None]:
    """Yield at once and then every second until the disk of `folder` has `num_bytes` free; nothing where it has.

    Raises:
        StillFull: after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while shutil.disk_usage(folder).free < num_bytes:
        if time.monotonic() > deadline:
            raise StillFull(
                errno.ENOSPC, f"no space for {num_bytes / 1e6:.0f} MB within {timeout_s:.0f} s", str(folder)
            )
        yield
        time.sleep(min(1.0, timeout_s))


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically.

    Raises:
        ValueError: it holds NaN or an infinity, which readers in other languages cannot parse.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def fingerprint(value: object) -> str:
    """16 hex digits that stand for a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it is missing, cannot be read, or is not valid JSON (e.g. truncated).
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # also not UTF-8, or a number of thousands of digits
        raise InputError(f"{path}: not valid JSON ({error}); restore it or delete it") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: as `read_json`, or it holds another type.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON {type(value).__name__}, not an object; restore it or delete it")
    return value

"""Folders that will be written into, tried before work depends on them; temporary ones short enough for sockets."""

import os
import shutil
import tempfile
import uuid
from pathlib import Path

from xlite.errors import InputError

MIN_FREE_BYTES = 16 * 2**20
"""Free disk below which nothing is started."""
_LONGEST_SOCKET = 103
"""Characters in the path of a Unix socket: 103 on macOS, 107 on Linux."""


def check_folder(folder: Path, fix: str) -> None:
    """Write a small file, without a name, into `folder`, or where that will be made: its nearest folder that exists.

    Raises:
        InputError: that failed, or the disk is nearly full; the line ends with `fix`.
    """
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
            file.flush()
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); {fix}") from None
    if free < MIN_FREE_BYTES:
        raise InputError(f"{folder}: its disk has {free / 2**20:.1f} MiB free; free some space, or {fix}")


def replace_folder(new: Path, place: Path) -> None:
    """Move the folder `new` to `place`, on the same disk; a folder there is moved aside first and removed last."""
    aside = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.old")
    if place.exists():
        place.rename(aside)
    try:
        new.rename(place)
    except BaseException:
        if aside.exists():
            aside.rename(place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def temporary_folder(num_below: int = 0) -> Path:
    """The temporary folder, or another where its path is too long for sockets.

    Args:
        num_below: characters of a socket's path below the folder; 0: no socket is meant.

    Raises:
        InputError: TMPDIR names no folder that can be written, or none is short enough.
    """
    named = os.environ.get("TMPDIR")
    if named and not Path(named).is_dir():
        raise InputError(f"TMPDIR {named}: no such folder; create it, or set TMPDIR to another")
    if named:
        check_folder(Path(named), "set TMPDIR to a folder that can be written")
    try:
        default = tempfile.gettempdir()
    except FileNotFoundError:
        raise InputError("no temporary folder can be written; set TMPDIR to a folder that can") from None
    longest = _LONGEST_SOCKET - num_below
    for folder in (default, "/tmp", "/var/tmp", "/dev/shm"):
        if (not num_below or len(folder) <= longest) and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    raise InputError(f"sockets need a temporary folder of at most {longest} characters; set TMPDIR to one")

"""The folder of Ray's session: short enough for its sockets, private, and gone when the run is. Imports no Ray."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from xlite.storage.folders import temporary_folder
from xlite.storage.locks import LOCK, locked, try_lock

PREFIX, TOKEN, RAY = "xlite-", "token", "r"
"""How session folders begin; files in one. Ray makes its own folder accessible to everybody, hence one inside ours."""
_NUM_BELOW = len(f"/{PREFIX}12345678/{RAY}/session_2026-01-31_12-30-59_123456_1234567/sockets/plasma_store")


def session_place() -> Path:
    """Where session folders lie: the temporary folder, or another where its path is too long.

    Raises:
        InputError: as `temporary_folder`.
    """
    return temporary_folder(_NUM_BELOW)


@contextmanager
def session_folder() -> Iterator[Path]:
    """A new folder with mode 0700 and Ray's token, removed at the end.

    Folders of runs of which every process was killed at once, as by a batch system, are removed first.

    Raises:
        InputError: as `temporary_folder`.
    """
    place = session_place()
    for folder in place.glob(f"{PREFIX}*"):
        _remove_abandoned(folder)
    folder = Path(mkdtemp(prefix=PREFIX, dir=place))
    try:
        with locked(folder, waiting=None):
            (folder / TOKEN).touch(mode=0o600)
            (folder / TOKEN).write_text(_token())
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove a session folder of this user whose process has ended."""
    try:
        if (folder / TOKEN).stat().st_uid != os.getuid():  # a token is there from when the folder is locked
            return
        lock = try_lock(folder / LOCK)
    except OSError:  # not a session folder, or another user's
        return
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


@cache
def _token() -> str:
    """One for the whole process, since Ray reads it once."""
    return secrets.token_hex(32)

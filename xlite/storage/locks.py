"""File locks on any platform; the operating system releases a lock when its holder ends."""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from xlite.errors import InputError

LOCK = "lock"
"""Name of the lock file in a locked folder; it stays when the lock is released."""
_POLL_S = 0.2


def try_lock(file: Path) -> BaseFileLock | None:
    """Lock `file`, which is created (with its folder) if it does not exist; its content does not matter.

    Returns:
        The lock, held until its `release()` or the end of this process; None if another process holds it.

    Raises:
        OSError: the file cannot be opened for writing.
        InputError: its file system has no locks.
    """
    # No fallback to a lock that exists as long as its file does: it would outlive a killed process.
    lock = FileLock(file, thread_local=False, fallback_to_soft=False)
    while True:
        try:
            lock.acquire(blocking=False)
            return lock
        except Timeout:
            return None
        except FileNotFoundError:  # the folder was removed between its creation and the file's
            continue
        except OSError as error:
            if error.filename is not None:
                raise
            raise InputError(
                f"{file}: no file can be locked there ({error.strerror}); use a place on another disk"
            ) from None


@contextmanager
def locked_file(file: Path, *, waiting: Callable[[], None] | None) -> Iterator[None]:
    """Hold the lock of `file` (see `try_lock`). While another holds it, `waiting` is called every 0.2 s.

    Raises:
        BlockingIOError: another holds it and `waiting` is None.
        OSError, InputError: as `try_lock`.
    """
    while (lock := try_lock(file)) is None:
        if waiting is None:
            raise BlockingIOError(errno.EWOULDBLOCK, "another process holds the lock", str(file.parent))
        waiting()
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        lock.release()


def locked(folder: Path, *, waiting: Callable[[], None] | None) -> AbstractContextManager[None]:
    """Hold the lock of `folder`, which is created if it does not exist; as `locked_file`."""
    return locked_file(folder / LOCK, waiting=waiting)

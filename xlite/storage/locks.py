"""One process at a time in a folder: flock, which ends with its holder however that dies."""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "lock"
_POLL_S = 0.2


@contextmanager
def locked(folder: Path, *, waiting: Callable[[], None] | None) -> Iterator[None]:
    """Hold the lock of `folder`, which is made if need be.

    While another holds it, `waiting` is called every 0.2 s.

    Raises:
        BlockingIOError: another holds it and `waiting` is None.
        OSError: the folder cannot be made or written.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # the folder was removed just now
            continue
        try:
            while not _try_lock(descriptor):
                if waiting is None:
                    raise BlockingIOError(errno.EWOULDBLOCK, "another process holds the lock", str(folder))
                waiting()
                time.sleep(_POLL_S)
            if _is_open_as(folder / LOCK, descriptor):  # else the folder was removed while we waited: begin anew
                yield
                return
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_open_as(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False

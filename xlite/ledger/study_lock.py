"""The lock that allows one driver per study; it is released whenever its process ends, even if killed."""

import hashlib
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from filelock import BaseFileLock

from xlite.errors import InputError
from xlite.ledger.rdb import sqlite_file
from xlite.ledger.retry import Retry, shown_url
from xlite.storage.locks import try_lock


class StudyLock:
    """An exclusive lock for asking for a study's trials; reading and recording promotions need none.

    SQLite: a lock on a file beside the database. PostgreSQL: an advisory lock on a connection of its own, taken again
    after a server restart. Other databases have none: there a second driver is detected when its trial's number is
    taken.
    """

    def __init__(self, engine: sa.Engine, name: str, retry: Retry) -> None:
        self._engine, self._url, self._name, self._retry = engine, retry.url, name, retry
        self._file_lock: BaseFileLock | None = None
        self._connection: sa.Connection | None = None

    def acquire(self) -> None:
        """Take the lock, or check that it is still held.

        Raises:
            InputError: another process holds it, or the file system has no locks.
        """
        file = sqlite_file(self._url)
        if file is not None:
            acquired = self._lock_file(file.with_name(f"{file.name}.{_key(self._name):016x}.lock"))
        elif self._engine.dialect.name == "postgresql":
            acquired = self._retry(self._lock_session)
        else:
            acquired = True
        if not acquired:
            raise study_in_use(self._url)

    def release(self) -> None:
        """Release the lock, if held."""
        if self._file_lock is not None:
            self._file_lock.release()
            self._file_lock = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        with suppress(Exception):
            self.release()

    def _lock_file(self, path: Path) -> bool:
        if self._file_lock is None:
            self._file_lock = try_lock(path)
        return self._file_lock is not None

    def _lock_session(self) -> bool:
        """True also if this session holds it already."""
        if self._connection is not None:
            try:
                self._connection.execute(sa.text("SELECT 1"))
                return True
            except Exception:
                self._connection.invalidate()
                self._connection.close()
                self._connection = None
                raise
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # else closing it would return its session, with the lock, to the pool
        acquired = bool(connection.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": _key(self._name)}))
        if acquired:
            self._connection = connection
        else:
            connection.close()
        return acquired


def study_in_use(url: str) -> InputError:
    """The error of a study's second driver."""
    return InputError(f"{shown_url(url)}: another process runs this study; let it end, or choose another --study")


def _key(name: str) -> int:
    """PostgreSQL's lock keys are signed 64-bit numbers: 63 bits."""
    return int.from_bytes(hashlib.sha256(f"xlite study {name}".encode()).digest()[:8], "big") >> 1

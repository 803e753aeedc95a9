"""One driver a study: a lock that ends with the process that holds it, however that ends."""

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
    """The right to ask for trials of a study; whoever only reads, or records a promotion, needs none.

    SQLite: a lock on a file beside the database. PostgreSQL: an advisory lock of a connection kept for it; when the
    server was restarted it is taken again. Other databases, and file systems without locks, have none: there a second
    driver is met when it finds its trial's number taken.
    """

    def __init__(self, engine: sa.Engine, url: str, name: str, patience: Retry) -> None:
        self._engine, self._url, self._name, self._patience = engine, url, name, patience
        self._file_lock: BaseFileLock | None = None
        self._connection: sa.Connection | None = None
        self._lockable = True

    def hold(self) -> None:
        """Take the lock, or see that it is still held.

        Raises:
            InputError: another process has it.
        """
        file = sqlite_file(self._url)
        if file is not None:
            mine = self._lock_file(file.with_name(f"{file.name}.{_key(self._name):016x}.lock"))
        elif self._engine.dialect.name == "postgresql":
            mine = self._patience(self._lock_session)
        else:
            mine = True
        if not mine:
            raise another_process(self._url)

    def release(self) -> None:
        """Let another process have it."""
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
        if self._file_lock is not None or not self._lockable:
            return True
        try:
            self._file_lock = try_lock(path)
        except OSError as error:
            if error.filename is not None:  # the file cannot be opened
                raise
            self._lockable = False  # its file system has no locks
            return True
        return self._file_lock is not None

    def _lock_session(self) -> bool:
        """True also when this very session holds it already."""
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
        connection.detach()  # else closing it would keep its session, and so the lock, in the pool
        mine = bool(connection.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": _key(self._name)}))
        if mine:
            self._connection = connection
        else:
            connection.close()
        return mine


def another_process(url: str) -> InputError:
    """What the second driver of a study reads."""
    return InputError(f"{shown_url(url)}: another process runs this study; let it end, or choose another --study")


def _key(name: str) -> int:
    """63 bits: PostgreSQL's lock numbers are signed."""
    return int.from_bytes(hashlib.sha256(f"xlite study {name}".encode()).digest()[:8], "big") >> 1

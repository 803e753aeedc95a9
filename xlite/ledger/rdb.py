"""Opening Optuna's database: durability of SQLite, time-outs of PostgreSQL, errors in one line."""

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from sqlalchemy import event, exc

from xlite.errors import InputError
from xlite.ledger.retry import Retry, raise_unavailable, shown_url

_BUSY_TIMEOUT_S = 10
"""How long SQLite itself waits for another writer; `Retry` starts after that."""
_SYNCED, _UNSYNCED = "FULL", "NORMAL"
_POSTGRES = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # ms
    # within a minute the server notices that a client's machine is gone, and frees its locks:
    "options": "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}
"""libpq's settings, with which a dead network is an error within a minute instead of a quarter of an hour."""


class _Connection(sqlite3.Connection):
    """Uses write-ahead logging: readers never wait, and no crash of the process or the system damages the file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute(f"PRAGMA synchronous={_SYNCED}")


class CommitSync:
    """Decides which commits of an SQLite database are synced to disk (fsync), 4-7 ms each on a cloud disk.

    All are, except those inside `skipped`. A synced commit, and all before it in the journal, survive a power loss,
    provided that the disk keeps what it reports as written. Other databases have their own settings.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._skip, self._synced_at = False, -math.inf
        if engine.dialect.name == "sqlite":
            event.listen(engine, "begin", self._set_level)

    @contextmanager
    def skipped(self, *, every_s: float | None = None) -> Iterator[None]:
        """Do not sync commits within the context; with `every_s`, do if the last time was at least that long ago."""
        now = time.monotonic()
        self._skip = every_s is None or now - self._synced_at < every_s
        if not self._skip:
            self._synced_at = now
        try:
            yield
        finally:
            self._skip = False

    def _set_level(self, connection: sa.Connection) -> None:
        level = _UNSYNCED if self._skip else _SYNCED
        if connection.info.get("synchronous", _SYNCED) != level:
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
            connection.info["synchronous"] = level


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file, its path made absolute."""
    return sa.URL.create("sqlite", database=str(path.resolve())).render_as_string()


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for another database, or one in memory."""
    parsed = sa.make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)) if is_file else None


def absolute_url(url: str, folder: Path) -> str:
    """`url` with the path of an SQLite file resolved, a relative one from `folder`; of another database as it is.

    Raises:
        InputError: an invalid URL.
    """
    with _url_errors(url):
        file = sqlite_file(url)
        return url if file is None or str(file).startswith("file:") else _with_database(url, (folder / file).resolve())


def relative_url(url: str, folder: Path) -> str:
    """`url` with the path of an SQLite file inside `folder` relative to it; any other as it is."""
    file, folder = sqlite_file(url), folder.resolve()
    return _with_database(url, file.relative_to(folder)) if file and file.is_relative_to(folder) else url


def _with_database(url: str, file: Path) -> str:
    return sa.make_url(url).set(database=str(file)).render_as_string(hide_password=False)


def open_storage(url: str, *, create: bool, retry: Retry | None = None) -> optuna.storages.RDBStorage | None:
    """The database at `url`; None if it holds no studies and `create` is false.

    Retried while the database is locked, full or starting, but not if it does not exist: the URL may be wrong.

    Raises:
        InputError: an invalid URL, no driver for it, or a database that cannot be opened.
    """
    with _url_errors(url):
        options: dict[str, Any] = {"connect_args": _connect_args(url)}
        file = sqlite_file(url)
        if file is not None and not create and not file.exists():
            return None

        def open_once() -> optuna.storages.RDBStorage | None:
            if not create and not _has_studies(url, options):
                return None
            template = url.replace("{", "{{").replace("}", "}}")  # RDBStorage formats its URL
            try:
                return optuna.storages.RDBStorage(template, dict(options), skip_table_creation=not create)
            except (exc.ProgrammingError, RuntimeError) as error:  # no right to create tables; another Optuna's tables
                reason = str(error.orig if isinstance(error, exc.ProgrammingError) else error).strip().splitlines()[0]
                raise InputError(f"{shown_url(url)}: {reason}") from None

        storage = (retry or Retry(url))(open_once)
    if storage is not None:
        raise_unavailable(storage.engine)
    return storage


@contextmanager
def _url_errors(url: str) -> Iterator[None]:
    """Turn errors in the URL itself into an InputError that shows no password."""
    try:
        scheme, _, location = url.partition("://")
        if not scheme.startswith("sqlite") and location.partition("?")[0].count("@") > 1:
            raise InputError("--storage: more than one @; in a name or password write @ as %40, / as %2F and : as %3A")
        yield
    except exc.ArgumentError as error:
        raise InputError(f"--storage: {error}; write e.g. sqlite:////folder/study.db".replace("\n", " ")) from None
    except InputError:
        raise
    except ValueError:  # about the port; its message may quote part of the password
        raise InputError("--storage: the port is not a number; in a password write : as %3A and / as %2F") from None
    except ImportError as error:
        problem = f"{shown_url(url)}: {error.__cause__ or error}".replace("\n", " ")
        raise InputError(f"{problem}; pip install the database's driver") from None


def _connect_args(url: str) -> dict[str, Any]:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {"timeout": _BUSY_TIMEOUT_S, "factory": _Connection}
    if parsed.get_backend_name() == "postgresql" and parsed.get_driver_name() in ("psycopg", "psycopg2"):
        return {key: value for key, value in _POSTGRES.items() if key not in parsed.query}
    return {}


def _has_studies(url: str, options: dict[str, Any]) -> bool:
    engine = sa.create_engine(url, **options)
    try:
        return bool(sa.inspect(engine).has_table("studies"))
    finally:
        engine.dispose()

"""Optuna's database, opened with our settings."""

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
from xlite.ledger.retry import Retry, raise_trouble, shown_url

_BUSY_TIMEOUT_S = 10
"""SQLite's own patience for another writer; ours begins where it ends."""
_SYNCED, _SPARED = "FULL", "NORMAL"
_POSTGRES = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # ms
    # the server notices a machine that lost its power, and frees what it held, within a minute:
    "options": "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}
"""libpq's settings: a network that swallows packets is an error within a minute, not a quarter of an hour."""


class _Connection(sqlite3.Connection):
    """Journals ahead: readers never wait, and no crash of the process or the system damages the file."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute(f"PRAGMA synchronous={_SYNCED}")


class Syncing:
    """Which transactions of an SQLite database are on the disk, not only with the system, when they are committed.

    A loss of power takes none of those, as long as the disk keeps what it says it has written, nor any before them: the
    journal is written in order. All are synced but those that `spared` is told of. A sync takes 4-7 ms on a cloud disk.
    Other databases have settings of their own.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._spare, self._synced_at = False, -math.inf
        if engine.dialect.name == "sqlite":
            event.listen(engine, "begin", self._set_level)

    @contextmanager
    def spared(self, *, every_s: float | None = None) -> Iterator[None]:
        """Do not sync what is committed inside; with `every_s` do, where the last time this was done is so long ago."""
        now = time.monotonic()
        self._spare = every_s is None or now - self._synced_at < every_s
        if not self._spare:
            self._synced_at = now
        try:
            yield
        finally:
            self._spare = False

    def _set_level(self, connection: sa.Connection) -> None:
        level = _SPARED if self._spare else _SYNCED
        if connection.info.get("synchronous", _SYNCED) != level:
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
            connection.info["synchronous"] = level


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file, its path made absolute."""
    return sa.URL.create("sqlite", database=str(path.resolve())).render_as_string()


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for another database, or one in memory."""
    parsed = sa.make_url(url)
    named = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)) if named else None


def open_storage(url: str, *, create: bool, patience: Retry | None = None) -> optuna.storages.RDBStorage | None:
    """The database at `url`, or None if it holds no studies and `create` is false.

    A database that is locked, full or starting is waited for; one that is not there is not: the URL may be mistaken.

    Raises:
        InputError: a URL that cannot be read, no driver for it, or a database that cannot be opened.
    """
    with _readable(url):
        options: dict[str, Any] = {"connect_args": _connect_args(url)}
        file = sqlite_file(url)
        if file is not None and not create and not file.exists():
            return None

        def opened() -> optuna.storages.RDBStorage | None:
            if not create and not _has_studies(url, options):
                return None
            template = url.replace("{", "{{").replace("}", "}}")  # RDBStorage formats its URL
            return optuna.storages.RDBStorage(template, dict(options), skip_table_creation=not create)

        storage = (patience or Retry(url))(opened)
    if storage is not None:
        raise_trouble(storage.engine)
    return storage


@contextmanager
def _readable(url: str) -> Iterator[None]:
    """Turn what is wrong with the URL itself into an InputError that shows no password."""
    try:
        server, _, place = url.partition("://")
        if not server.startswith("sqlite") and place.partition("?")[0].count("@") > 1:
            raise InputError("--storage: more than one @; in a name or password write @ as %40, / as %2F and : as %3A")
        yield
    except exc.ArgumentError as error:
        raise InputError(f"--storage: {error}; write e.g. sqlite:////folder/study.db".replace("\n", " ")) from None
    except InputError:
        raise
    except ValueError:  # of the port; the message would quote what may be a part of the password
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

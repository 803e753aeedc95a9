"""Database errors: transient ones are retried, the rest become one line for the user; URLs without passwords."""

import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import optuna
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import ExceptionContext

from xlite.errors import InputError

RETRY_S = 120.0
"""How long a call is retried while the database is locked, full or unreachable; XLITE_PATIENCE_S overrides it."""
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.05, 5.0
_TRANSIENT_SQLSTATES = ("08", "40", "53", "55P03", "57P", "58")
"""PostgreSQL: connection lost, deadlock, disk full or no free connection, row locked, shutdown or start, I/O."""
_TRANSIENT_WORDS = (
    *("is locked", "disk is full", "disk i/o error", "no space left", "starting up", "shutting down", "recovery mode"),
    *("too many clients", "remaining connection slots", "terminating connection"),
)
"""The same in messages without SQLSTATE: SQLite's, and PostgreSQL's to a new connection."""

T = TypeVar("T")


class DatabaseUnavailable(Exception):
    """The environment keeps the database from answering; if `transient`, a later attempt may succeed."""

    def __init__(self, reason: str, transient: bool) -> None:
        super().__init__(reason)
        self.transient = transient


def unavailable(error: Exception, *, lost: bool = False) -> DatabaseUnavailable | None:
    """`error` as DatabaseUnavailable, or None for a programming error. `lost`: the connection is gone."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    if not isinstance(cause, exc.DBAPIError):
        return None
    lost = lost or cause.connection_invalidated
    if not lost and type(cause) not in (exc.OperationalError, exc.DatabaseError):
        return None
    reason = (str(cause.orig).strip().splitlines() or [type(cause.orig).__name__])[0]
    state = getattr(cause.orig, "sqlstate", None) or getattr(cause.orig, "pgcode", None) or ""
    transient = state.startswith(_TRANSIENT_SQLSTATES) or any(words in reason.lower() for words in _TRANSIENT_WORDS)
    return DatabaseUnavailable(reason, lost or transient)


def raise_unavailable(engine: sa.Engine) -> None:
    """Make an open engine raise DatabaseUnavailable, so that `Retry` alone retries.

    Optuna would create a trial up to five times when the answer is lost, though the first may have been stored. A
    failure to connect counts as transient, since the engine has been connected before.
    """

    @event.listens_for(engine, "handle_error")
    def convert(context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        connecting = context.connection is None and isinstance(error, exc.OperationalError)
        converted = None if error is None else unavailable(error, lost=context.is_disconnect or connecting)
        if converted is not None:
            raise converted


def shown_url(url: str) -> str:
    """`url` for a message, without passwords."""
    try:
        return _without_secret_options(url).render_as_string(hide_password=True)
    except (exc.ArgumentError, ValueError):
        return "the storage URL"


def stored_url(url: str) -> str:
    """`url` for a file, without passwords: they then come from --storage, PGPASSWORD or ~/.pgpass."""
    bare = _without_secret_options(url)._replace(password=None)  # URL.set(password=None) would keep it
    return bare.render_as_string(hide_password=False)


def secrets_of(url: str) -> tuple[str, ...]:
    """Passwords in `url`, to be left out of what another program printed."""
    parsed = sa.make_url(url)
    options = [str(value) for key, value in parsed.query.items() if _is_secret(key)]
    return tuple(filter(None, [str(parsed.password or ""), *options]))


def _is_secret(key: str) -> bool:
    return key.lower().endswith("password")


def _without_secret_options(url: str) -> sa.URL:
    """Without libpq's password options: ?password=..., ?sslpassword=..."""
    parsed = sa.make_url(url)
    query = {key: value for key, value in parsed.query.items() if not _is_secret(key)}
    return parsed._replace(query=sa.util.immutabledict(query))


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Retry:
    """Retries database calls on transient errors; the calls must be idempotent.

    Args:
        url: of the database.
        on_wait: called with a line when a call starts to wait; None: standard error.
    """

    def __init__(self, url: str, *, on_wait: Callable[[str], None] | None = None) -> None:
        self.url = url
        patience = os.environ.get("XLITE_PATIENCE_S", str(RETRY_S))
        try:
            self.limit_s = float(patience)
        except ValueError:
            raise InputError(f"XLITE_PATIENCE_S {patience!r}: write a number of seconds, e.g. 300") from None
        self._shown, self._on_wait = shown_url(url), on_wait or _print_to_stderr

    def __call__(self, action: Callable[[], T]) -> T:
        """What `action` returns, retried while the database is unavailable.

        Raises:
            InputError: the error is not transient, or lasted for `limit_s` seconds.
        """
        started, pause = time.monotonic(), _FIRST_PAUSE_S
        for attempt in itertools.count():
            try:
                return action()
            except (DatabaseUnavailable, exc.DBAPIError, optuna.exceptions.StorageInternalError) as error:
                problem = error if isinstance(error, DatabaseUnavailable) else unavailable(error)
                if problem is None:
                    raise
            waited = time.monotonic() - started
            if not problem.transient or waited + pause > self.limit_s:
                duration = f" (for {waited:.0f} s)" if attempt > 1 else ""
                raise InputError(
                    f"{self._shown}: {problem}{duration}; check that it can be reached and written and that its disk "
                    "is not full, then run again"
                )
            if attempt == 1:  # the first failure may be a stale connection to a restarted server
                self._on_wait(f"{self._shown}: {problem}; waiting up to {self.limit_s:.0f} s for it")
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_S)
        raise AssertionError("unreachable")

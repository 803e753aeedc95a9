"""What keeps a database from answering: what passes is waited for, the rest is one line for a person."""

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

PATIENCE_S = 120.0
"""Seconds a call waits for a database that is locked, full or away; XLITE_PATIENCE_S in the environment changes it."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_BUSY_SQLSTATES = ("08", "40", "53", "55P03", "57P", "58")
"""PostgreSQL: connection lost, deadlock, disk full or no connection free, row locked, shut down or starting, I/O."""
_BUSY_WORDS = (
    *("is locked", "disk is full", "disk i/o error", "no space left", "starting up", "shutting down", "recovery mode"),
    *("too many clients", "remaining connection slots", "terminating connection"),
)
"""The same where there is no SQLSTATE: in SQLite's messages, and in what PostgreSQL says to a new connection."""

T = TypeVar("T")


class Trouble(Exception):
    """The surroundings keep the database from answering. `passes`: it may answer if asked again later."""

    def __init__(self, reason: str, passes: bool) -> None:
        super().__init__(reason)
        self.passes = passes


def trouble_of(error: Exception, *, lost: bool = False) -> Trouble | None:
    """What of `error` the surroundings caused, or None for a mistake of ours. `lost`: the connection is gone."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    if not isinstance(cause, exc.DBAPIError):
        return None
    lost = lost or cause.connection_invalidated
    if not lost and type(cause) not in (exc.OperationalError, exc.DatabaseError):
        return None
    reason = (str(cause.orig).strip().splitlines() or [type(cause.orig).__name__])[0]
    state = getattr(cause.orig, "sqlstate", None) or getattr(cause.orig, "pgcode", None) or ""
    busy = state.startswith(_BUSY_SQLSTATES) or any(words in reason.lower() for words in _BUSY_WORDS)
    return Trouble(reason, lost or busy)


def raise_trouble(engine: sa.Engine) -> None:
    """Have an open engine raise Trouble where it is one, so that nothing between it and Patience tries again.

    Optuna creates a trial up to five times when an answer is lost, though the first may have been stored. A connection
    that cannot be made passes: the engine has had one.
    """

    @event.listens_for(engine, "handle_error")
    def explain(context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        connecting = context.connection is None and isinstance(error, exc.OperationalError)
        found = None if error is None else trouble_of(error, lost=context.is_disconnect or connecting)
        if found is not None:
            raise found


def shown_url(url: str) -> str:
    """`url` for a message: without its password."""
    try:
        return _without_secret_options(url).render_as_string(hide_password=True)
    except (exc.ArgumentError, ValueError):
        return "the storage URL"


def stored_url(url: str) -> str:
    """`url` for a file: without its password, which is then taken from --storage, PGPASSWORD or ~/.pgpass."""
    bare = _without_secret_options(url)._replace(password=None)  # URL.set(password=None) would keep it
    return bare.render_as_string(hide_password=False)


def _without_secret_options(url: str) -> sa.URL:
    """Libpq takes passwords as options as well: ?password=..., ?sslpassword=..."""
    parsed = sa.make_url(url)
    query = {key: value for key, value in parsed.query.items() if not key.lower().endswith("password")}
    return parsed._replace(query=sa.util.immutabledict(query))


def say_on_stderr(line: str) -> None:
    """The usual `on_wait`."""
    print(line, file=sys.stderr, flush=True)


class Retry:
    """Calls what talks to the database, again and again while that is away; what it calls must be safe to repeat."""

    def __init__(self, url: str, *, limit_s: float | None = None, on_wait: Callable[[str], None] | None = None) -> None:
        """`limit_s`: None is PATIENCE_S or its environment variable. `on_wait` hears a line each time it must wait."""
        self.limit_s = float(os.environ.get("XLITE_PATIENCE_S", PATIENCE_S)) if limit_s is None else limit_s
        self._shown, self._on_wait = shown_url(url), on_wait or say_on_stderr

    def __call__(self, action: Callable[[], T]) -> T:
        """What `action` returns, once it does.

        Raises:
            InputError: the trouble does not pass, or did not in `limit_s` seconds.
        """
        since, pause = time.monotonic(), _FIRST_PAUSE_S
        said = False
        for attempt in itertools.count():
            try:
                return action()
            except (Trouble, exc.DBAPIError, optuna.exceptions.StorageInternalError) as error:
                trouble = error if isinstance(error, Trouble) else trouble_of(error)
                if trouble is None:
                    raise
            waited = time.monotonic() - since
            if not trouble.passes or waited + pause > self.limit_s:
                tried = f" (for {waited:.0f} s)" if said else ""
                raise InputError(
                    f"{self._shown}: {trouble}{tried}; see that it can be reached and written and its disk has room, "
                    "then run again"
                )
            if attempt and not said:  # the first may be a stale connection: a server that was restarted since
                self._on_wait(f"{self._shown}: {trouble}; waiting up to {self.limit_s:.0f} s for it")
                said = True
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        raise AssertionError("it counts for ever")

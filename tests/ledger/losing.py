"""Databases that fail around commits."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy

from xlite.ledger import Ledger


@contextmanager
def around_commits(
    ledger: Ledger, *, before: Callable[[int], None] = int.__pos__, after: Callable[[int], None] = int.__pos__
) -> Iterator[None]:
    """Call `before` and `after` with the number, from 1, of each writing transaction as it is committed."""
    engine, wrote, num_writes = ledger._storage.engine, False, 0
    commit = engine.dialect.do_commit

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        nonlocal wrote
        wrote = wrote or not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))

    def committing(connection: Any) -> None:
        nonlocal wrote, num_writes
        wrote, writes = False, wrote
        num_writes += writes
        if writes:
            before(num_writes)
        commit(connection)
        if writes:
            after(num_writes)

    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    engine.dialect.do_commit = committing  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.dialect.do_commit = commit  # type: ignore[method-assign]
        sqlalchemy.event.remove(engine, "before_cursor_execute", note)


def answer_lost(share: float, seed: int, lost: list[int]) -> Callable[[int], None]:
    """For `after`: make `share` of the commits seem to fail, though they are done; adds their numbers to `lost`."""
    draw = random.Random(seed)

    def lose(number: int) -> None:
        if draw.random() < share:
            lost.append(number)
            raise sqlite3.OperationalError("disk I/O error")

    return lose

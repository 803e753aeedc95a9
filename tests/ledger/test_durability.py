"""What a power loss may take from an SQLite study: epochs in quick succession, never a start or an end."""

from functools import partial
from pathlib import Path

import pytest
import sqlalchemy
from studies import LOSS, open_study, space

from xlite.ledger import Ledger, TrialResult, sqlite_url

FULL, NORMAL = 2, 1


@pytest.fixture
def ledger(tmp_path: Path):
    with open_study(sqlite_url(tmp_path / "study.db")) as ledger:
        yield ledger


def commits(ledger: Ledger, action) -> list[int]:
    """The sync level of each transaction that `action` writes."""
    levels, wrote = [], False

    def note(connection, cursor, statement, *rest) -> None:
        nonlocal wrote
        wrote = wrote or not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))

    def record_level(connection) -> None:
        nonlocal wrote
        if wrote:
            levels.append(connection.connection.cursor().execute("PRAGMA synchronous").fetchone()[0])
        wrote = False

    engine = ledger._storage.engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    sqlalchemy.event.listen(engine, "commit", record_level)
    try:
        action()
    finally:
        sqlalchemy.event.remove(engine, "before_cursor_execute", note)
        sqlalchemy.event.remove(engine, "commit", record_level)
    return levels


def test_sqlite_logs_ahead_and_waits_for_locks(ledger: Ledger) -> None:
    with ledger._storage.engine.connect() as connection:
        pragmas = [
            connection.execute(sqlalchemy.text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    assert pragmas == ["wal", FULL, 10_000]


def test_the_last_transaction_of_a_start_and_of_an_end_is_synced(ledger: Ledger) -> None:
    ledger.enqueue({LOSS: "bce"})
    assert commits(ledger, lambda: ledger.ask(space))[-1] == FULL  # was waiting
    assert commits(ledger, lambda: ledger.ask(space)) == [FULL]  # is created
    assert commits(ledger, lambda: ledger.finish(0, "complete", value=0.5)) == [NORMAL, FULL]
    assert commits(ledger, lambda: ledger.add_final(TrialResult(), 0.5))[-1] == FULL
    assert set(commits(ledger, lambda: ledger.queue([{LOSS: "bce"}]))) == {FULL}


@pytest.mark.parametrize(("every_s", "levels"), [(1e9, [FULL, NORMAL, NORMAL]), (0.0, [FULL, FULL, FULL])])
def test_epochs_are_synced_unless_they_follow_each_other_quickly(ledger, monkeypatch, every_s, levels) -> None:
    monkeypatch.setattr("xlite.ledger.writer._SYNC_EPOCHS_S", every_s)
    ledger.ask(space)
    assert [commits(ledger, partial(ledger.report, 0, epoch, 0.5)) for epoch in (1, 2, 3)] == [
        [level] for level in levels
    ]

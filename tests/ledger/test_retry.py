"""Calls are retried while the database is locked, full or unreachable, and nothing is done twice."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from losing import answer_lost, around_commits
from studies import content, drive, open_study, run_one, space

from xlite.errors import InputError
from xlite.ledger import Ledger, TrialResult, sqlite_url
from xlite.models.limits import Cost

FINAL = TrialResult(cost=Cost(3, 0.5))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("xlite.ledger.rdb._BUSY_TIMEOUT_S", 0.02)
    return tmp_path / "study.db"


def lock(file: Path) -> sqlite3.Connection:
    """Another writer, in the middle of a transaction until it is closed."""
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


CALLS: dict[str, Callable[[Ledger], object]] = {
    "ask": lambda ledger: ledger.ask(space),
    "ask what was enqueued": lambda ledger: ledger.ask(space),
    "enqueue": lambda ledger: ledger.enqueue({}),
    "queue": lambda ledger: ledger.queue([{}]),
    "report": lambda ledger: ledger.report(0, 1, 0.5),
    "finish": lambda ledger: ledger.finish(0, "complete", value=0.5),
    "add_final": lambda ledger: ledger.add_final(TrialResult(), 0.5),
}


@pytest.mark.parametrize("call", CALLS)
def test_each_writing_call_waits_for_a_lock_and_reports_it_once(file: Path, call: str) -> None:
    lines: list[str] = []

    def on_wait(line: str) -> None:
        lines.append(line)
        other.close()

    with open_study(sqlite_url(file), on_wait=on_wait) as ledger:
        ledger.ask(space)
        if "enqueued" in call:
            ledger.enqueue({})
        other = lock(file)
        CALLS[call](ledger)
        assert len(lines) == 1
        assert "study.db: database is locked; waiting up to 120 s for it" in lines[0]
        run_one(ledger)


@pytest.mark.parametrize("call", CALLS)
def test_a_lasting_lock_is_a_one_line_error_and_nothing_is_half_done(
    file: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLITE_PATIENCE_S", "0.15")
    with open_study(sqlite_url(file), on_wait=lambda line: None) as ledger:
        ledger.ask(space)
        if "enqueued" in call:
            ledger.enqueue({})
        before = ledger.rows()
        other = lock(file)
        with pytest.raises(InputError, match=r"study.db: database is locked.*; check that it can be reached") as caught:
            CALLS[call](ledger)
        assert "\n" not in str(caught.value)
        other.close()
        assert ledger.rows() == before
        CALLS[call](ledger)
        assert ledger.finals() or ledger.metadata == {}


def test_a_full_disk_is_retried(file: Path) -> None:
    lines: list[str] = []

    def limit(num_pages: int) -> None:
        with ledger._storage.engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"PRAGMA max_page_count={num_pages}"))

    def on_wait(line: str) -> None:
        lines.append(line)
        limit(1_000_000)

    with open_study(sqlite_url(file), on_wait=on_wait) as ledger:
        ledger.ask(space)
        limit(1)  # SQLite raises it to the pages there are
        ledger.finish(0, "failed", value=None, result=TrialResult(reason="x" * 100_000))
        assert len(lines) == 1 and "database or disk is full; waiting" in lines[0]
        assert ledger.rows()[0].reason == "x" * 100_000


def test_opening_waits_for_a_lock_but_not_for_a_missing_folder(file: Path) -> None:
    lines: list[str] = []

    def on_wait(line: str) -> None:
        lines.append(line)
        other.close()

    open_study(sqlite_url(file)).close()
    other = lock(file)
    Ledger.open(sqlite_url(file), "another", create=True, on_wait=on_wait).close()
    assert len(lines) == 1
    with pytest.raises(InputError, match="unable to open database file; check"):
        open_study(sqlite_url(file.parent / "nowhere" / "s.db"), on_wait=lines.append)
    assert len(lines) == 1


def test_waiting_is_reported_on_stderr_by_default(
    file: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLITE_PATIENCE_S", "0.4")
    with open_study(sqlite_url(file)) as ledger:
        other = lock(file)
        with pytest.raises(InputError):
            ledger.ask(space)
        other.close()
    assert capsys.readouterr().err.count("waiting up to 0 s for it\n") == 1


def test_a_limit_that_is_no_number_is_one_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLITE_PATIENCE_S", "5m")
    with pytest.raises(InputError, match=r"XLITE_PATIENCE_S '5m': write a number of seconds, e\.g\. 300"):
        open_study(sqlite_url(file))


def test_the_environment_sets_the_limit(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLITE_PATIENCE_S", "0.1")
    with open_study(sqlite_url(file), on_wait=lambda line: None) as ledger:
        other = lock(file)
        with pytest.raises(InputError, match="database is locked"):
            ledger.ask(space)
        other.close()


def test_a_programming_error_is_not_retried(file: Path) -> None:
    with open_study(sqlite_url(file), on_wait=pytest.fail) as ledger:
        ledger.ask(space)
        with ledger._storage.engine.begin() as connection:
            connection.execute(sqlalchemy.text("DROP TABLE trial_intermediate_values"))
        with pytest.raises(InputError, match="no such table: trial_intermediate_values"):
            ledger.rows()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_commit_whose_answer_is_lost_is_done_once(tmp_path: Path, seed: int) -> None:
    urls = [sqlite_url(tmp_path / f"{name}.db") for name in ("whole", "lossy")]
    with open_study(urls[0]) as ledger:
        drive(ledger)
        whole_final = ledger.add_final(FINAL, 0.75)
    lost: list[int] = []
    losing = answer_lost(0.3, seed, lost)
    with open_study(urls[1], on_wait=lambda line: None) as ledger, around_commits(ledger, after=losing):
        drive(ledger)
        finals = [ledger.add_final(FINAL, 0.75) for _ in range(3)]
        assert ledger.finals() == finals
    assert len(lost) > 10
    assert content(urls[1]) == content(urls[0])
    assert (finals[0].number, finals[0].cost) == (whole_final.number, FINAL.cost)
    studies = optuna.get_all_study_names(urls[1])
    assert sorted(studies) == ["s", "s.final"]

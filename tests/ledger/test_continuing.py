"""A study resumed by a later process: its queue, its running trials, and the same proposals."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from studies import GAMMA, LOSS, run_one, space

from xlite.ledger import Ledger, sqlite_url


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "study.db")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(url, "chest", create=True, seed=3, num_startup=5) as ledger:
        yield ledger


def test_a_resumed_study_proposes_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    with Ledger.open(sqlite_url(tmp_path / "whole.db"), "s", create=True, seed=3, num_startup=5) as whole:
        uninterrupted = [run_one(whole) for _ in range(12)]
    resumed = []
    for num_trials in (1, 6, 4, 1):
        with Ledger.open(sqlite_url(tmp_path / "resumed.db"), "s", create=True, seed=3, num_startup=5) as process:
            resumed += [run_one(process) for _ in range(num_trials)]
    assert resumed == uninterrupted
    assert {GAMMA in proposal.overrides for proposal in uninterrupted} == {True, False}


def test_a_running_trial_continues_in_a_later_process(ledger: Ledger, url: str) -> None:
    ledger.ask(space)
    ledger.report(0, 1, 0.5)
    ledger.close()
    with Ledger.open(url, "chest", create=False) as later:
        later.report(0, 2, 0.6)
        later.finish(0, "complete", value=0.6)
        assert later.rows()[0].curve == {1: 0.5, 2: 0.6}


def test_trials_that_an_ended_process_left_running_are_returned_in_order(ledger: Ledger, url: str) -> None:
    run_one(ledger)
    interrupted = [ledger.ask(space) for _ in range(2)]
    ledger.report(2, 1, 0.5)
    ledger.enqueue({LOSS: "bce"})
    ledger.close()
    with Ledger.open(url, "chest", create=False) as later:
        rows = later.unfinished()
        assert [(row.number, row.overrides, row.curve) for row in rows] == [
            (1, interrupted[0].overrides, {}),
            (2, interrupted[1].overrides, {1: 0.5}),
        ]
        later.report(2, 1, 0.5)  # its checkpoint may be of an epoch already reported
        later.report(2, 2, 0.6)
        for number in (1, 2):
            later.finish(number, "complete", value=0.6)
        assert later.unfinished() == []
        assert later.rows()[2].curve == {1: 0.5, 2: 0.6}


def test_a_trial_interrupted_while_being_recorded_as_failed_is_not_run_again(ledger: Ledger) -> None:
    ledger.ask(space)
    study_id = ledger._storage.get_study_id_from_name("chest")
    trial_id = ledger._storage.get_trial_id_from_study_id_trial_number(study_id, 0)
    ledger._storage.set_trial_user_attr(trial_id, "record", {"reason": "loss is nan"})
    assert ledger.unfinished() == []
    assert (ledger.rows()[0].state, ledger.rows()[0].reason) == ("failed", "loss is nan")


def test_a_queue_is_stored_once_and_its_missing_trials_are_enqueued(ledger: Ledger, url: str) -> None:
    grid: list[dict[str, Any]] = [{LOSS: "bce"}, {LOSS: "focal"}, {LOSS: "bce"}]
    ledger._study.set_user_attr("queue", [{"overrides": overrides, "note": str(i)} for i, overrides in enumerate(grid)])
    ledger._enqueue(grid[0], "0", 0)  # the process died here
    ledger.close()
    with Ledger.open(url, "chest", create=False) as later:
        for _ in range(2):
            later.queue([{LOSS: "hinge"}])
        rows = later.rows()
        assert [(row.state, row.overrides, row.queue_note) for row in rows] == [
            ("waiting", overrides, str(i)) for i, overrides in enumerate(grid)
        ]
        assert [later.ask(space).overrides[LOSS] for _ in range(3)] == ["bce", "focal", "bce"]
        later.queue(grid)
        assert len(later.rows()) == 3


def test_a_queue_may_be_empty_and_needs_a_note_for_each_configuration(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="zip"):
        ledger.queue([{LOSS: "bce"}], ["one", "two"])
    ledger.queue([])
    ledger.queue([{LOSS: "bce"}])
    assert ledger.rows() == []

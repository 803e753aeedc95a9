"""Ray gives up a trial whose reused worker dies between two trials; here it comes again."""

from types import SimpleNamespace

import pytest
from ray.tune.search import Searcher

from xlite.config import RunConfig
from xlite.ledger import Ledger, sqlite_url
from xlite.models.limits import Cost
from xlite.study.candidates import Candidate
from xlite.study.job import TrialFolders
from xlite.tune.search import LedgerSearch


@pytest.fixture
def bridge(tmp_path):
    silent = SimpleNamespace(started=lambda *_: None, progressed=lambda *_: None, ended=lambda *_: None)
    cost = Cost(1, 1.0, 1.0)
    candidates = SimpleNamespace(
        space=SimpleNamespace(propose=lambda trial: {"x": trial.suggest_float("x", 0.0, 1.0)}, is_grid=False),
        identity=repr,
        resolve=lambda overrides: Candidate(overrides, RunConfig(), cost, 0.0),
    )
    with Ledger.open(sqlite_url(tmp_path / "s.db"), "s", create=True) as ledger:
        yield LedgerSearch(ledger, candidates, TrialFolders(tmp_path), None, silent, num_trials=1)


def test_a_trial_whose_worker_died_in_an_epoch_has_failed(bridge, tmp_path):
    bridge.suggest("a")
    traces = TrialFolders(tmp_path).traces(0)
    traces.parent.mkdir(parents=True)
    traces.touch()
    bridge.on_trial_complete("a", None, error=True)
    assert bridge.ledger.rows()[0].state == "failed" and bridge.suggest("b") == Searcher.FINISHED


def test_a_trial_whose_worker_died_before_its_first_epoch_comes_next_and_is_given_up_the_third_time(bridge):
    asked = bridge.suggest("a")
    assert bridge.suggest("none is left, but that one may come again") is None
    for name in ("a", "b"):
        bridge.on_trial_complete(name, None, error=True)
        assert bridge.ledger.rows()[0].state == "running"
        assert bridge.suggest(chr(ord(name) + 1)) == asked
    bridge.on_trial_complete("c", None, error=True)
    assert [row.state for row in bridge.ledger.rows()] == ["failed"]
    assert bridge.suggest("d") == Searcher.FINISHED


def test_what_a_killed_process_left_says_nothing_of_the_next_one(tmp_path):
    folders = TrialFolders(tmp_path)
    folders.of(0).mkdir(parents=True)
    folders.traces(0).touch()
    folders.forget_interruption(0)
    assert not folders.has_begun(0)
    folders.traces(0).write_text("Timeout")
    folders.forget_interruption(0)
    assert folders.has_begun(0)

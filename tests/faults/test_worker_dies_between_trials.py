"""Ray gives up a trial whose reused worker dies between two trials; here it stays open and is run after all."""

from types import SimpleNamespace

import pytest

from xlite.ledger import Ledger, sqlite_url
from xlite.tune.search import LedgerSearch, Limits
from xlite.tune.trainable import TRACES, forget_cut_off_epoch, has_begun, trial_folder


@pytest.fixture
def bridge(tmp_path):
    silent = SimpleNamespace(started=lambda *_: None, progressed=lambda *_: None, ended=lambda *_: None)
    cost = SimpleNamespace(num_params=1, size_mb=1.0, latency_ms=1.0)
    with Ledger.open(sqlite_url(tmp_path / "s.db"), "s", create=True) as ledger:
        yield LedgerSearch(
            ledger,
            lambda trial: {"x": trial.suggest_float("x", 0.0, 1.0)},
            num_trials=1,
            limits=Limits(),
            cost_of=lambda overrides: (None, cost),
            stopped_by_scheduler=set(),
            observer=silent,
            has_begun=lambda number: has_begun(tmp_path, number),
        )


@pytest.mark.parametrize(("in_an_epoch", "state"), [(False, "running"), (True, "failed")])
def test_a_worker_that_died_before_a_trials_first_epoch_does_not_end_it(bridge, tmp_path, in_an_epoch, state):
    bridge.suggest("a")
    folder = trial_folder(tmp_path, 0)
    folder.mkdir(parents=True)
    if in_an_epoch:
        (folder / TRACES).touch()
    bridge.on_trial_complete("a", None, error=True)
    assert bridge.ledger.rows()[0].state == state
    assert bridge.never_begun == ([] if in_an_epoch else [0]) and not bridge.running


def test_what_a_killed_process_left_says_nothing_of_the_next_one(tmp_path):
    folder = trial_folder(tmp_path, 0)
    folder.mkdir(parents=True)
    (folder / TRACES).touch()
    forget_cut_off_epoch(tmp_path, 0)
    assert not has_begun(tmp_path, 0)
    (folder / TRACES).write_text("Timeout")
    forget_cut_off_epoch(tmp_path, 0)
    assert has_begun(tmp_path, 0)

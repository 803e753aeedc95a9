"""The bridge to Ray, asked and told by hand: what each end of a trial becomes in the ledger."""

import json
import pickle

import pytest
from ray.tune.search import Searcher

from xlite.config import ModelConfig
from xlite.ledger import Ledger, sqlite_url
from xlite.models.cost import Cost
from xlite.tune.search import LedgerSearch, Limits
from xlite.tune.stopping import EPOCH_KEY, VALUE_KEY
from xlite.tune.trainable import FAILURE_KEY, FINISHED_KEY, SUMMARY_KEY

SIZES = {"small": Cost(1_000_000, 4.0, 2.0), "large": Cost(9_000_000, 36.0, 20.0)}


def propose(trial):
    return {"model.backbone": trial.suggest_categorical("model.backbone", ["small", "large"])}


def only_large(trial):
    return {"model.backbone": trial.suggest_categorical("model.backbone", ["large"])}


class Heard:
    def __init__(self):
        self.events = []

    def started(self, number, overrides):
        self.events.append(("started", number))

    def progressed(self, number, epoch, best_so_far):
        self.events.append(("progressed", number, epoch, best_so_far))

    def ended(self, number, outcome, best_so_far, reason):
        self.events.append(("ended", number, outcome, best_so_far, reason))


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(sqlite_url(tmp_path / "study.db"), "s", create=True) as opened:
        yield opened


def search(ledger, *, num_trials=10, limits=None, space=propose, stopped=None):
    return LedgerSearch(
        ledger,
        space,
        num_trials=num_trials,
        limits=limits or Limits(),
        cost_of=lambda overrides: (ModelConfig(), SIZES[overrides["model.backbone"]]),
        stopped_by_scheduler=stopped if stopped is not None else set(),
        observer=Heard(),
    )


def epoch(number, value, **more):
    return {EPOCH_KEY: number, VALUE_KEY: value, SUMMARY_KEY: json.dumps({"epochs": number}), **more}


def test_a_trial_that_ends_by_itself_is_complete_with_its_best(ledger):
    bridge = search(ledger)
    bridge.suggest("a")
    bridge.on_trial_result("a", epoch(1, 0.6))
    bridge.on_trial_complete("a", epoch(2, 0.7, **{FINISHED_KEY: True}))
    (row,) = ledger.rows()
    assert (row.state, row.value, row.curve) == ("complete", 0.7, {1: 0.6, 2: 0.7})
    assert row.record["cost"]["num_params"] in (1_000_000, 9_000_000) and row.record["epochs"] == 2
    assert bridge.observer.events[-1] == ("ended", 0, "complete", 0.7, "")


def test_a_trial_that_asha_stopped_is_pruned_with_its_curve(ledger):
    bridge = search(ledger, stopped={"a"})
    bridge.suggest("a")
    bridge.on_trial_complete("a", epoch(1, 0.5, **{FINISHED_KEY: False}))
    (row,) = ledger.rows()
    assert (row.state, row.value, row.curve) == ("pruned", 0.5, {1: 0.5})


def test_a_trial_that_diverged_fails_with_the_reason_and_no_value(ledger):
    bridge = search(ledger)
    bridge.suggest("a")
    bridge.on_trial_result("a", epoch(1, 0.6))
    bridge.on_trial_complete("a", {FAILURE_KEY: "the loss is nan", FINISHED_KEY: True, SUMMARY_KEY: "{}"})
    (row,) = ledger.rows()
    assert (row.state, row.value, row.record["reason"]) == ("failed", None, "the loss is nan")


def test_a_dead_worker_is_a_failed_trial(ledger):
    bridge = search(ledger)
    bridge.suggest("a")
    bridge.on_trial_complete("a", None, error=True)
    assert ledger.rows()[0].state == "failed" and "died" in ledger.rows()[0].record["reason"]


def test_a_trial_cut_off_by_the_end_of_the_search_stays_open(ledger):
    bridge = search(ledger)
    bridge.suggest("a")
    bridge.on_trial_complete("a", epoch(1, 0.5))
    assert ledger.rows()[0].state == "running" and list(bridge.running.values()) == [0]
    assert ledger.abandon_running("interrupted") == [ledger.rows()[0].overrides]


def test_an_epoch_is_told_once_however_often_ray_tells_it(ledger):
    bridge = search(ledger)
    bridge.suggest("a")
    for _ in range(3):
        bridge.on_trial_result("a", epoch(1, 0.6))
    assert [e for e in bridge.observer.events if e[0] == "progressed"] == [("progressed", 0, 1, 0.6)]


def test_students_above_a_limit_are_left_out_before_they_run_and_do_not_count(ledger):
    bridge = search(ledger, num_trials=6, limits=Limits(max_params=2_000_000))
    for name in "abcdef":
        assert bridge.suggest(name)["overrides"] == {"model.backbone": "small"}
    assert bridge.suggest("g") == Searcher.FINISHED
    left_out = [row for row in ledger.rows() if row.record.get("left_out")]
    assert left_out and all("9.00M parameters > --max-params 2M" in row.record["reason"] for row in left_out)


def test_a_space_with_nothing_within_the_limits_ends_the_search(ledger):
    bridge = search(ledger, limits=Limits(max_mb=10), space=only_large)
    assert bridge.suggest("a") == Searcher.FINISHED
    assert "above the limits" in str(bridge.failure) and "36.0 MB > --max-mb 10" in str(bridge.failure)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_params=8_999_999), "parameters"),
        (Limits(max_mb=35.9), "MB"),
        (Limits(max_latency_ms=19.9), "ms"),
        (Limits(9_000_000, 36.0, 20.0), None),
    ],
)
def test_each_limit_holds_at_its_edge(limits, words):
    broken = limits.broken_by(SIZES["large"])
    assert broken is None if words is None else words in broken


def test_ray_may_pickle_it_but_gets_nothing(ledger):
    assert pickle.loads(pickle.dumps(search(ledger))).__dict__ == {}

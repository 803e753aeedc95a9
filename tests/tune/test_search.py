"""The bridge to Ray, asked and told by hand: what each end of a trial becomes in the ledger."""

import json
import pickle

import pytest
from ray.tune.search import Searcher

from xlite.config import ModelConfig
from xlite.ledger import Ledger, sqlite_url
from xlite.models.cost import Cost, Limits
from xlite.tune.asha import EPOCH_KEY, VALUE_KEY
from xlite.tune.search import LedgerSearch
from xlite.tune.trainable import FAILURE_KEY, FINISHED_KEY, OUT_OF_MEMORY_KEY, SUMMARY_KEY

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


def search(ledger, *, num_trials=10, limits=None, space=propose, stopped=None, **more):
    return LedgerSearch(
        ledger,
        space,
        num_trials=num_trials,
        limits=limits or Limits(),
        cost_of=lambda overrides: (ModelConfig(), SIZES[overrides["model.backbone"]]),
        stopped_by_scheduler=stopped if stopped is not None else set(),
        observer=Heard(),
        **more,
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
    assert [row.number for row in ledger.unfinished()] == [0]


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
    assert bridge.suggest("g") is None  # one of those that run may come again
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


def test_what_an_ended_process_left_comes_first_under_its_own_number(ledger):
    first = search(ledger)
    for name in ("a", "b"):
        first.suggest(name)
    first.on_trial_result("a", epoch(1, 0.6))
    first.on_trial_result("a", epoch(2, 0.65))  # and then the driver was killed
    told = []
    again = search(ledger, unfinished=ledger.unfinished(), on_taken_up=lambda *what: told.append(what))
    config = again.suggest("c")
    assert config["number"] == 0 and config["overrides"] == ledger.rows()[0].overrides
    assert again.suggest("d")["number"] == 1 and again.suggest("e")["number"] == 2
    assert [(trial_id, row.number, row.curve) for trial_id, row in told] == [("c", 0, {1: 0.6, 2: 0.65}), ("d", 1, {})]
    again.on_trial_result("c", epoch(2, 0.65))  # its last epoch is told again
    again.on_trial_complete("c", epoch(3, 0.7, **{FINISHED_KEY: True}))
    row = ledger.rows()[0]
    assert (row.state, row.value, row.curve) == ("complete", 0.7, {1: 0.6, 2: 0.65, 3: 0.7})
    assert again.remaining == 7


def test_epochs_that_a_loss_of_power_took_from_the_ledger_come_back(ledger):
    first = search(ledger)
    first.suggest("a")
    first.on_trial_result("a", epoch(1, 0.6))
    again = search(ledger, unfinished=ledger.unfinished())
    again.suggest("b")
    summary = json.dumps({"curve": [0.6, 0.5, 0.7, 0.65]})
    again.on_trial_result("b", {**epoch(4, 0.7), SUMMARY_KEY: summary})
    assert ledger.rows()[0].curve == {1: 0.6, 2: 0.6, 3: 0.7, 4: 0.7}


def test_failures_for_one_reason_end_the_search_with_it(ledger):
    bridge = search(ledger, num_trials=40)  # a quarter of which are ten
    for number in range(10):
        assert bridge.suggest(str(number)) != Searcher.FINISHED and bridge.failure is None
        reason = f"OSError: no room for {number} MB"
        bridge.on_trial_complete(str(number), {FAILURE_KEY: reason, FINISHED_KEY: True, SUMMARY_KEY: "{}"})
    assert "10 trials in a row failed for one reason: OSError: no room for 9 MB" in str(bridge.failure)
    assert bridge.suggest("more") == Searcher.FINISHED


def test_failures_for_several_reasons_or_now_and_then_do_not(ledger):
    bridge = search(ledger, num_trials=20)
    for number in range(16):
        bridge.suggest(str(number))
        if number % 5 == 4:
            bridge.on_trial_complete(str(number), epoch(1, 0.5, **{FINISHED_KEY: True}))
            continue
        reason = "TrainingFailed: nan" if number % 2 else "ValueError: shape"
        bridge.on_trial_complete(str(number), {FAILURE_KEY: reason, FINISHED_KEY: True, SUMMARY_KEY: "{}"})
    assert bridge.failure is None


def test_a_trial_out_of_memory_comes_again_with_more_then_in_parts_then_fails(ledger):
    bridge = search(ledger, num_trials=1, batch_size_of=lambda overrides: 2, share_of=lambda overrides: 0.5)
    out_of_memory = {OUT_OF_MEMORY_KEY: True, FAILURE_KEY: "out of GPU memory", FINISHED_KEY: True, SUMMARY_KEY: "{}"}
    seen = []
    for name in "abc":
        config = bridge.suggest(name)
        seen.append((config["number"], config["share"], config["attempt"]["accumulation"]))
        if name == "a":
            bridge.on_trial_result("a", epoch(1, 0.6))
        assert bridge.suggest("other") is None  # it may yet come again
        bridge.on_trial_complete(name, out_of_memory)
    assert seen == [(0, 0.5, 1), (0, 1.0, 1), (0, 1.0, 2)]
    assert bridge.suggest("d") == Searcher.FINISHED
    (row,) = ledger.rows()
    assert row.state == "failed" and row.curve == {1: 0.6} and len(row.record["notes"]) == 2
    assert "retried at the whole GPU" in row.record["notes"][0]

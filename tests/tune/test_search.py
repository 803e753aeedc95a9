"""The bridge to Ray, asked and told by hand: what each end of a trial becomes in the ledger."""

import pickle
from dataclasses import replace

import pytest
from event_files import scalars, values
from ray.tune.search import Searcher
from search_bench import SIZES, StopsAll, curve_of, epoch, failed, only_large, search

from xlite.errors import InputError
from xlite.ledger import Ledger, sqlite_url
from xlite.models.limits import Limits
from xlite.study.time_budget import TimeBudget
from xlite.train.summary import NO_RUN
from xlite.tune.deadline import Deadline
from xlite.tune.messages import CutOff, Failed, GpuFaults, HeldUp, as_result


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(sqlite_url(tmp_path / "study.db"), "s", create=True) as opened:
        yield opened


def test_a_trial_that_ends_by_itself_is_complete_with_its_best(ledger):
    bridge = search(ledger)
    bridge.suggest("a")
    bridge.on_trial_result("a", epoch(1, 0.6))
    bridge.on_trial_complete("a", epoch(2, 0.7, finished=True))
    (row,) = ledger.rows()
    assert (row.state, row.value, row.curve) == ("complete", 0.7, {1: 0.6, 2: 0.7})
    assert row.cost in SIZES.values() and row.summary.epochs == 2
    assert bridge.observer.events[-1] == ("ended", 0, "complete", 0.7, "")


def test_a_trial_that_asha_stopped_is_pruned_with_its_curve(ledger):
    bridge = search(ledger, asha=StopsAll())
    bridge.suggest("a")
    bridge.on_trial_complete("a", epoch(1, 0.5))
    (row,) = ledger.rows()
    assert (row.state, row.value, row.curve) == ("pruned", 0.5, {1: 0.5})


@pytest.mark.parametrize(
    ("told", "state", "rung"),
    [
        (epoch(5, 0.7, finished=True), "complete", 5),
        (epoch(3, 0.7), "pruned", 3),
        (epoch(4, 0.7, finished=True), "complete", 3),
        (failed("diverged"), "failed", 0),
    ],
)
def test_tensorboard_shows_how_a_trial_ended_and_the_last_rung_it_reached(ledger, told, state, rung):
    bridge = search(ledger, asha=StopsAll())
    bridge.folders = replace(bridge.folders, rungs=(1, 3, 5))
    bridge.suggest("a")
    bridge.on_trial_complete("a", told)
    (run,) = (bridge.folders.study / "runs").iterdir()
    size = ledger.rows()[0].overrides["model.backbone"]
    assert run.name == f"00000 {size}"
    assert values(run) == {"model.backbone": size, "state": state}
    assert [value for _, value in scalars(run)["rung"]] == [rung]


def test_a_trial_that_diverged_fails_with_the_reason_and_no_value(ledger):
    bridge = search(ledger)
    bridge.suggest("a")
    bridge.on_trial_result("a", epoch(1, 0.6))
    bridge.on_trial_complete("a", failed("the loss is nan"))
    (row,) = ledger.rows()
    assert (row.state, row.value, row.reason) == ("failed", None, "the loss is nan")


def test_a_dead_worker_is_a_failed_trial(ledger):
    bridge = search(ledger)
    bridge.suggest("a")
    traces = bridge.folders.traces(0)  # it was in an epoch
    traces.parent.mkdir(parents=True)
    traces.touch()
    bridge.on_trial_complete("a", None, error=True)
    assert ledger.rows()[0].state == "failed" and "died" in ledger.rows()[0].reason


def test_a_trial_cut_off_by_the_end_of_the_search_stays_open(ledger):
    bridge = search(ledger)
    bridge.suggest("a")
    bridge.on_trial_complete("a", epoch(1, 0.5))
    assert ledger.rows()[0].state == "running" and [trial.number for trial in bridge.running.values()] == [0]
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
        assert bridge.suggest(name)["assignment"].overrides == {"model.backbone": "small"}
    assert bridge.suggest("g") is None  # one of those that run may come again
    left_out = [row for row in ledger.rows() if row.left_out]
    assert left_out and all("9.00M parameters > --max-params 2M" in row.reason for row in left_out)


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
    asha = StopsAll()
    again = search(ledger, asha=asha)
    assignment = again.suggest("c")["assignment"]
    assert assignment.number == 0 and assignment.overrides == ledger.rows()[0].overrides
    assert [again.suggest(name)["assignment"].number for name in "de"] == [1, 2]
    assert asha.replayed == [("c", {1: 0.6, 2: 0.65}), ("d", {})]
    again.on_trial_result("c", epoch(2, 0.65))  # its last epoch is told again
    again.on_trial_complete("c", epoch(3, 0.7, finished=True))
    row = ledger.rows()[0]
    assert (row.state, row.value, row.curve) == ("complete", 0.7, {1: 0.6, 2: 0.65, 3: 0.7})
    assert again.remaining == 7


def test_epochs_that_a_loss_of_power_took_from_the_ledger_come_back(ledger):
    first = search(ledger)
    first.suggest("a")
    first.on_trial_result("a", epoch(1, 0.6))
    again = search(ledger)
    again.suggest("b")
    again.on_trial_result("b", curve_of((0.6, 0.5, 0.7, 0.65)))
    assert ledger.rows()[0].curve == {1: 0.6, 2: 0.6, 3: 0.7, 4: 0.7}


def test_failures_for_one_reason_end_the_search_with_it(ledger):
    bridge = search(ledger, num_trials=40)  # a quarter of which are ten
    for number in range(10):
        assert bridge.suggest(str(number)) != Searcher.FINISHED and bridge.failure is None
        reason = f"OSError: no room for {number} MB"
        bridge.on_trial_complete(str(number), failed(reason))
    assert "10 trials in a row failed for one reason: OSError: no room for 9 MB" in str(bridge.failure)
    assert bridge.suggest("more") == Searcher.FINISHED


def test_failures_for_several_reasons_or_now_and_then_do_not(ledger):
    bridge = search(ledger, num_trials=20)
    for number in range(16):
        bridge.suggest(str(number))
        if number % 5 == 4:
            bridge.on_trial_complete(str(number), epoch(1, 0.5, finished=True))
            continue
        reason = "TrainingFailed: nan" if number % 2 else "ValueError: shape"
        bridge.on_trial_complete(str(number), failed(reason))
    assert bridge.failure is None


def test_a_trial_out_of_memory_comes_again_with_more_then_in_parts_then_fails(ledger):
    asha = StopsAll()
    bridge = search(ledger, num_trials=1, asha=asha, batch_size=2, gpu_share=0.5)
    out_of_memory = failed("out of GPU memory", out_of_memory=True)
    seen = []
    for name in "abc":
        assignment = bridge.suggest(name)["assignment"]
        seen.append((assignment.number, assignment.attempt.share, assignment.config.train.micro_batches))
        if name == "a":
            bridge.on_trial_result("a", epoch(1, 0.6))
        assert bridge.suggest("other") is None  # it may yet come again
        bridge.on_trial_complete(name, out_of_memory)
    assert seen == [(0, 0.5, 1), (0, 1.0, 1), (0, 1.0, 2)] and asha.forgotten == ["a", "b"]
    assert bridge.suggest("d") == Searcher.FINISHED
    (row,) = ledger.rows()
    assert row.state == "failed" and row.curve == {1: 0.6} and len(row.notes) == 2
    assert "retried at the whole GPU" in row.notes[0]


def test_a_trial_whose_shared_gpu_failed_comes_again_alone_on_one(ledger):
    bridge = search(ledger, num_trials=1, gpu_share=0.5)
    bridge.suggest("a")
    bridge.on_trial_complete("a", as_result(GpuFaults(2)))
    again = bridge.suggest("b")["assignment"]
    assert (again.number, again.attempt.share) == (0, 1.0)
    bridge.on_trial_complete("b", epoch(1, 0.6, finished=True))
    assert "the GPU failed 2 times" in ledger.rows()[0].notes[0]


def test_a_trial_that_waits_is_said_to_and_one_that_gave_up_waiting_stays_open(ledger):
    bridge = search(ledger)
    bridge.suggest("a")
    bridge.on_trial_result("a", as_result(HeldUp("the disk is full")))
    assert bridge.observer.events[-1] == ("held_up", 0, "the disk is full")
    bridge.on_trial_complete("a", as_result(CutOff("/results: no space left")))
    assert ledger.rows()[0].state == "running"
    assert str(bridge.failure) == "/results: no space left; fix that, then run the same command again"
    assert bridge.suggest("b") == Searcher.FINISHED  # None would let Ray wait for ever


@pytest.mark.parametrize("lost", ["report", "finish"])
def test_a_ledger_out_of_reach_ends_the_search_at_once_and_its_trials_stay_open(ledger, monkeypatch, lost):
    def fails(*_, **__):
        asked.append(lost)
        raise InputError("study.db: database is locked; run again")

    asked = []
    bridge = search(ledger)
    bridge.suggest("a"), bridge.suggest("b")
    assert not bridge.deadline.stop_all()
    monkeypatch.setattr(ledger, lost, fails)
    bridge.on_trial_complete("a", epoch(1, 0.5, finished=True))
    assert bridge.deadline.stop_all() and not bridge.deadline.has_stopped
    assert str(bridge.failure) == "study.db: database is locked; run again"
    bridge.on_trial_result("b", epoch(1, 0.5))  # nobody waits for it again
    bridge.on_trial_complete("a", error=True)  # as Ray tells of a trial that it could not end
    assert bridge.suggest("c") is None and asked == [lost]
    assert [row.state for row in ledger.rows()] == ["running", "running"]


def test_ray_ends_a_trial_after_every_message_but_an_epoch_and_a_wait():
    assert not as_result(HeldUp("x"))["done"] and not epoch(1, 0.5)["done"]
    assert all(as_result(last)["done"] for last in (CutOff("x"), GpuFaults(2), Failed("x", NO_RUN)))
    assert epoch(1, 0.5, finished=True)["done"]


def test_what_ray_keeps_of_a_message_by_its_repr_is_short():
    message = epoch(200, 0.5)["message"]
    assert repr(message) == "EpochDone(finished=False)"


def test_nothing_starts_once_the_time_is_over(ledger):
    now_s = [0.0]
    bridge = search(ledger)
    bridge.deadline = Deadline(TimeBudget(60.0, clock=lambda: now_s[0]))
    bridge.suggest("a")
    now_s[0] = 60.0
    assert bridge.suggest("b") is None and bridge.is_held_back  # "a" may have to be retried
    bridge.on_trial_complete("a", epoch(1, 0.7, finished=True))
    assert bridge.suggest("b") == Searcher.FINISHED
    assert [row.number for row in ledger.rows()] == [0] and bridge.remaining == 9

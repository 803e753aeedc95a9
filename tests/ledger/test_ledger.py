"""The ledger: what Optuna reads back, what is proposed next, what may not be recorded."""

import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from studies import BATCH, GAMMA, LOSS, RATE, TWO_EPOCHS, run_one, score, space

from xlite.errors import InputError
from xlite.ledger import Ledger, TrialRecord, TrialResult, best_of, sqlite_url
from xlite.samplers import proposals
from xlite.train.summary import RunSummary

EVERYTHING = {
    RATE: FloatDistribution(1e-4, 1e-1, log=True),
    BATCH: IntDistribution(16, 64, step=16),
    LOSS: CategoricalDistribution(("bce", "focal")),
    GAMMA: FloatDistribution(0.5, 4.0),
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "study.db")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study without trials: copying it is quicker than making one."""
    path = tmp_path_factory.mktemp("template") / "study.db"
    Ledger.open(sqlite_url(path), "chest", create=True).close()
    return path


@pytest.fixture
def ledger(url: str, template: Path, tmp_path: Path) -> Iterator[Ledger]:
    shutil.copy(template, tmp_path / "study.db")
    with Ledger.open(url, "chest", create=False, seed=3, num_startup=5) as ledger:
        yield ledger


def test_optuna_itself_reads_back_what_was_written(ledger: Ledger, url: str) -> None:
    ledger.enqueue({LOSS: "focal", RATE: 0.01}, note="baseline")
    first = ledger.ask(space)
    ledger.report(0, 1, 0.5)
    ledger.report(0, 2, 0.625)
    ledger.finish(0, "complete", value=0.625, result=TWO_EPOCHS)
    second = ledger.ask(space)
    ledger.finish(1, "failed", value=None, result=TrialResult(reason="loss is nan"))

    trials = optuna.load_study(study_name="chest", storage=url).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL]
    assert trials[0].value == 0.625
    assert trials[1].value is None
    assert trials[0].intermediate_values == {1: 0.5, 2: 0.625}
    assert trials[0].params == {key: first.overrides[key] for key in (RATE, BATCH, LOSS, GAMMA)}
    assert trials[1].params == {k: v for k, v in second.overrides.items() if k != "data.sampler"}
    assert trials[0].distributions == EVERYTHING
    now = datetime.now()
    for trial in trials:
        assert trial.datetime_start is not None and trial.datetime_complete is not None
        assert now - timedelta(minutes=1) < trial.datetime_start <= trial.datetime_complete <= now


def test_rows_hold_everything_about_a_trial(ledger: Ledger) -> None:
    ledger.ask(space)
    ledger.report(0, 3, 0.5)
    ledger.enqueue({LOSS: "bce"}, note="again")
    running, waiting = ledger.rows()
    assert (running.state, running.value, running.curve) == ("running", None, {3: 0.5})
    assert running.overrides["data.sampler"] == "none"
    assert (waiting.state, waiting.overrides, waiting.queue_note) == ("waiting", {LOSS: "bce"}, "again")

    notes = ("went on with more memory",)
    ledger.finish(0, "pruned", value=0.5, result=TrialResult(notes=notes, summary=RunSummary(gap=math.nan)))
    row = ledger.rows()[0]
    assert (row.number, row.phase, row.state, row.value) == (0, "search", "pruned", 0.5)
    assert (row.notes, row.summary) == (notes, RunSummary(gap=None))
    assert row.started is not None and row.finished is not None


def sampler_seed(number: int) -> int:
    """The seed of a trial's sampler in a study with seed 3."""
    return int(np.random.SeedSequence([3, number]).generate_state(1)[0])


def test_it_proposes_what_optuna_s_gaussian_process_would(ledger: Ledger) -> None:
    """With pruned trials as complete (no complete one gained after their last epoch), all with all parameters."""
    tried: list[dict[str, Any]] = []
    for number in range(12):
        overrides = dict(run_one(ledger).overrides)
        del overrides["data.sampler"]
        if number >= 6 and number % 2 == 0:  # the others: tests/samplers/
            study = optuna.create_study(direction="maximize")
            scores = [score(values) for values in tried]
            lowest = 2 * np.median(scores) - max(scores)
            for values, value in zip(tried, scores, strict=True):
                trial = {"params": {GAMMA: 2.25} | values, "distributions": EVERYTHING, "value": max(value, lowest)}
                study.add_trial(optuna.trial.create_trial(**trial))
            study.sampler = optuna.samplers.GPSampler(n_startup_trials=1, seed=sampler_seed(number))
            assert overrides == {key: value for key, value in space(study.ask()).items() if key != "data.sampler"}
        tried.append(overrides)


def test_it_proposes_what_optuna_s_tpe_would(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "MAX_GP_TRIALS", 0)
    study = optuna.create_study(direction="maximize")
    for number in range(12):
        proposal = run_one(ledger)
        if number < 5 or number % 2:  # not proposed by TPE
            study.enqueue_trial(proposal.overrides)
        trial = study.ask()
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=5, seed=sampler_seed(number))
        assert proposal.overrides == space(trial)
        value = score(proposal.overrides)
        trial.report(value, 2)
        if number % 3 == 1:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)


def test_another_seed_proposes_other_trials(tmp_path: Path) -> None:
    proposals = []
    for seed in (0, 1):
        with Ledger.open(sqlite_url(tmp_path / f"{seed}.db"), "s", create=True, seed=seed) as ledger:
            proposals.append(ledger.ask(space))
    assert proposals[0] != proposals[1]


def test_enqueued_trials_come_next_in_order_with_their_constants(ledger: Ledger, url: str) -> None:
    ledger.enqueue({RATE: 0.01, "model.attention": "mhsa"}, note="baseline")
    ledger.enqueue({LOSS: "focal", GAMMA: 2.0})
    ledger.close()
    with Ledger.open(url, "chest", create=False) as later:
        first, second, third = (later.ask(space) for _ in range(3))
    assert (first.number, first.overrides[RATE], first.overrides["model.attention"]) == (0, 0.01, "mhsa")
    assert (second.number, second.overrides[LOSS], second.overrides[GAMMA]) == (1, "focal", 2.0)
    assert (third.number, "model.attention" in third.overrides) == (2, False)


def test_a_grid_is_enqueued_over_an_empty_space(ledger: Ledger) -> None:
    for backbone in ("resnet18", "convnext_tiny"):
        ledger.enqueue({"model.backbone": backbone})
    assert [ledger.ask(lambda trial: {}).overrides for _ in range(2)] == [
        {"model.backbone": "resnet18"},
        {"model.backbone": "convnext_tiny"},
    ]


@pytest.mark.parametrize(("key", "value"), [(RATE, 5.0), (LOSS, "hinge"), (BATCH, 20)])
def test_an_enqueued_value_outside_the_space_fails_once_with_its_name(ledger: Ledger, key: str, value: Any) -> None:
    ledger.enqueue({key: value})
    with pytest.raises(InputError, match=f"search space, trial 0: .*{value}") as caught:
        ledger.ask(space)
    row = ledger.rows()[0]
    assert (row.state, row.overrides, row.reason) == ("failed", {key: value}, str(caught.value))
    assert ledger.ask(space).number == 1


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda trial: {"x": 2.0 * trial.suggest_float("x", 1, 2)}, "suggests 'x' = .*, so it must return that"),
        (lambda trial: {"y": trial.suggest_float("x", 1, 2)}, "returns nothing under that key"),
        (lambda trial: {"x": trial.suggest_float("x", 2, 1)}, "low <= high"),
    ],
)
def test_a_space_that_breaks_the_rules_leaves_no_trial(
    ledger: Ledger, broken: Callable[[optuna.Trial], dict[str, Any]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ledger.ask(broken)
    assert ledger.rows() == []
    assert ledger.ask(space).number == 0


def test_a_bug_in_the_space_leaves_no_trial_and_keeps_its_type(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError):
        ledger.ask(lambda trial: {"x": trial.suggest_int("x", 1, 1) / 0})
    assert ledger.ask(space).number == 0


@pytest.mark.parametrize(
    ("outcome", "value", "reason"),
    [
        ("complete", None, ""),
        ("complete", math.nan, ""),
        ("complete", 0.5, ""),  # below a reported value
        ("pruned", None, ""),
        ("pruned", math.inf, ""),
        ("failed", 0.7, "out of memory"),
        ("failed", None, ""),
    ],
)
def test_a_record_keeps_its_invariants(ledger: Ledger, outcome: Any, value: float | None, reason: str) -> None:
    ledger.ask(space)
    ledger.report(0, 1, 0.6)
    with pytest.raises(ValueError, match="trial 0"):
        ledger.finish(0, outcome, value=value, result=TrialResult(reason=reason))
    assert ledger.rows()[0].state == "running"


def test_a_trial_ends_once(ledger: Ledger, url: str) -> None:
    ledger.ask(space)
    other = Ledger.open(url, "chest", create=False)
    other.report(0, 1, 0.5)
    ledger.finish(0, "complete", value=0.6)
    for late in (ledger, other):  # the other learns of it from the database
        with pytest.raises(ValueError, match=r"trial 0 is (complete, )?not running"):
            late.finish(0, "pruned", value=0.9)
    with pytest.raises(ValueError, match="trial 0 is complete, not running"):
        ledger.report(0, 2, 0.9)
    with pytest.raises(ValueError, match="there is no trial 7"):
        ledger.report(7, 1, 0.9)
    assert ledger.rows()[0].value == 0.6


@pytest.mark.parametrize(("epoch", "value"), [(2, math.nan), (2, math.inf), (2, 0.4), (0, 0.7)])
def test_only_a_best_so_far_is_reported(ledger: Ledger, epoch: int, value: float) -> None:
    ledger.ask(space)
    ledger.report(0, 1, 0.5)
    with pytest.raises(ValueError, match="must hold, but got"):
        ledger.report(0, epoch, value)
    assert ledger.rows()[0].curve == {1: 0.5}


def test_the_last_epoch_reported_again_replaces_itself_and_an_earlier_one_is_refused(ledger: Ledger) -> None:
    ledger.ask(space)
    for epoch, value in ((1, 0.5), (2, 0.6), (2, 0.55)):
        ledger.report(0, epoch, value)
    with pytest.raises(ValueError, match="epoch >= 2"):
        ledger.report(0, 1, 0.5)
    assert ledger.rows()[0].curve == {1: 0.5, 2: 0.55}
    ledger.finish(0, "complete", value=0.55)


@pytest.mark.parametrize(("outcome", "value"), [("complete", 0.6), ("pruned", 0.6), ("failed", None)])
def test_finishing_twice_alike_is_finishing_once(ledger: Ledger, url: str, outcome: Any, value: float | None) -> None:
    ledger.ask(space)
    with Ledger.open(url, "chest", create=False) as other:
        other.report(0, 1, 0.5)
        for caller in (ledger, ledger, other):  # in the other's memory it still runs
            caller.finish(0, outcome, value=value, result=TrialResult(reason="loss is nan"))
        finished = ledger.rows()[0].finished
        with pytest.raises(ValueError, match="not running"):
            other.finish(0, "complete", value=0.7)
    assert ledger.rows()[0].finished == finished


def test_promotions_are_kept_apart_from_the_search(ledger: Ledger, url: str) -> None:
    run_one(ledger)
    assert ledger.finals() == []
    ledger.add_final(TrialResult(), 0.75)
    final = ledger.add_final(TrialResult(), 0.76)
    assert (final.number, final.phase, final.state, final.value) == (1, "final", "complete", 0.76)
    assert [row.value for row in ledger.finals()] == [0.75, 0.76]
    assert len(ledger.rows()) == 1
    assert ledger.ask(space).number == 1
    with pytest.raises(InputError, match=r"no study 'lumbar' in .*study.db; studies there: chest$"):
        Ledger.open(url, "lumbar", create=False)


def test_metadata_is_stored_when_the_study_is_created_and_never_changed(url: str) -> None:
    with Ledger.open(url, "s", create=True, metadata={"seed": 1, "split": {"hash": "ab"}}) as ledger:
        assert ledger.metadata == {"seed": 1, "split": {"hash": "ab"}}
    with Ledger.open(url, "s", create=True, metadata={"seed": 2}) as again:
        assert again.metadata == {"seed": 1, "split": {"hash": "ab"}}


def test_a_complete_trial_is_best_if_there_is_one() -> None:
    def row(number: int, state: Any, value: float | None, epochs: int) -> TrialRecord:
        return TrialRecord(number, "search", state, value, curve={epochs: value or 0.1})

    pruned = [row(0, "pruned", 0.9, 2), row(1, "pruned", 0.7, 5), row(2, "pruned", 0.6, 5)]
    assert best_of([*pruned, row(3, "complete", 0.5, 5)]) == row(3, "complete", 0.5, 5)
    assert best_of(pruned) == pruned[1]
    assert best_of([row(4, "complete", 0.5, 5), row(3, "complete", 0.5, 2)]) == row(3, "complete", 0.5, 2)
    assert best_of([row(0, "failed", None, 3), row(1, "running", None, 9), row(2, "waiting", None, 1)]) is None


def test_a_second_driver_of_a_study_is_refused_and_the_first_continues(ledger: Ledger, url: str) -> None:
    run_one(ledger)
    with Ledger.open(url, "chest", create=False) as second:
        for ask in (lambda: second.ask(space), second.unfinished, lambda: second.queue([]), lambda: second.enqueue({})):
            with pytest.raises(InputError, match=r"study.db: another process runs this study"):
                ask()
        assert len(second.rows()) == 1
        run_one(ledger)
        ledger.close()
        assert run_one(second).number == 2


def test_baselines_may_run_beside_their_search(ledger: Ledger, url: str) -> None:
    run_one(ledger)
    with Ledger.open(url, "chest", create=True, phase="baseline") as baselines:
        assert run_one(baselines).number == 0
    assert run_one(ledger).number == 1


def test_without_locks_a_second_driver_is_detected_by_its_trial_s_number(
    ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xlite.ledger.study_lock.StudyLock.acquire", lambda self: None)
    run_one(ledger)
    with Ledger.open(url, "chest", create=False) as second:
        second.ask(space)
        with pytest.raises(InputError, match=r"study.db: another process runs this study"):
            ledger.ask(space)
        assert len(second.rows()) == 2


WRITER = """
import sys
from xlite.ledger import Ledger, TrialResult
from xlite.train.summary import RunSummary
with Ledger.open(sys.argv[1], "s", create=False) as ledger:
    for number in range(25):
        assert ledger.ask(lambda trial: {"x": trial.suggest_float("x", 0, 1)}).number == number
        for epoch in (1, 2, 3):
            ledger.report(number, epoch, 0.25 * epoch)
        ledger.finish(number, "complete", value=0.75, result=TrialResult(summary=RunSummary(epochs=3)))
"""


def test_one_process_reads_and_promotes_while_another_searches(url: str) -> None:
    with Ledger.open(url, "s", create=True) as reader:
        with subprocess.Popen([sys.executable, "-c", WRITER, url], stderr=subprocess.PIPE, text=True) as writer:
            seen, num_finals = set(), 0
            while writer.poll() is None:
                time.sleep(0.01)
                rows = reader.rows()
                seen.add(len(rows))
                for row in rows:
                    assert row.state in ("running", "complete")
                    assert row.state == "running" or (row.summary.epochs == 3 and len(row.curve) == 3)
                    assert set(row.overrides) == {"x"}
                if rows and num_finals < 10:
                    num_finals = reader.add_final(TrialResult(), 0.5).number + 1
            assert writer.stderr is not None
            assert writer.returncode == 0, writer.stderr.read()
        assert len(seen) > 3
        assert [row.state for row in reader.rows()] == ["complete"] * 25
        assert len(reader.finals()) == num_finals > 0


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_value_is_called_after_its_metric_in_old_studies_and_promotions_too(url: str) -> None:
    def name_of(study: str) -> list[str] | None:
        return optuna.load_study(study_name=study, storage=url).metric_names

    Ledger.open(url, "s", create=True).close()  # as earlier versions did
    assert name_of("s") is None
    with Ledger.open(url, "s", create=True, metadata={"metric": "auc_macro"}) as ledger:
        ledger.add_final(TrialResult(), value=0.7)
    Ledger.open(url, "s", create=True, phase="baseline", metadata={"metric": "auc_macro"}).close()
    assert [name_of(study) for study in ("s", "s.final", "s.baseline")] == [["val_auc_macro"]] * 3

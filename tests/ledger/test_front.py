"""A study of several objectives: its front and knee, proposals that follow them, and studies cut off and continued."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from studies import content

from xlite.ledger import Ledger, TrialResult, front_of, knee_of, sqlite_url
from xlite.ledger.objectives import objectives_of, others_of, ranks_of, values_of
from xlite.models.limits import Cost
from xlite.samplers import proposals
from xlite.train.summary import RunSummary

THREE = {"objectives": ["auc_macro:max", "size_mb:min", "f1_macro:max"]}
TWO = {"objectives": ["auc_macro:max", "size_mb:min"]}
SIZES = {"small": 1.0, "middle": 4.0, "large": 16.0}
BACKBONE, RATE = "model.backbone", "optim.learning_rate"


def space(trial: optuna.Trial) -> dict[str, Any]:
    return {BACKBONE: trial.suggest_categorical(BACKBONE, list(SIZES)), RATE: trial.suggest_float(RATE, 0.0, 1.0)}


def score(overrides: dict[str, Any]) -> float:
    """Larger is a little better, and only at its own rate."""
    return 0.6 + SIZES[overrides[BACKBONE]] / 100 - abs(overrides[RATE] - 0.3)


def result(size_mb: float, **metrics: float) -> TrialResult:
    return TrialResult(cost=Cost(1, size_mb), summary=RunSummary(epochs=2, metrics=metrics))


def open_study(folder: Path, name: str = "s", **more: Any) -> Ledger:
    return Ledger.open(sqlite_url(folder / "study.db"), name, create=True, seed=3, num_startup=2, **more)


def run(ledger: Ledger, num_trials: int) -> None:
    """Two epochs each; every third trial is pruned; an unfinished one is continued."""
    unfinished = [(row.number, row.overrides) for row in ledger.unfinished()]
    while unfinished or len(ledger.rows()) < num_trials:
        if unfinished:
            number, overrides = unfinished.pop()
        else:
            proposal = ledger.ask(space)
            number, overrides = proposal.number, proposal.overrides
        value = score(overrides)
        ledger.report(number, 1, value - 0.1)
        ledger.report(number, 2, value)
        outcome = "pruned" if number % 3 == 1 else "complete"
        ledger.finish(number, outcome, value=value, result=result(SIZES[overrides[BACKBONE]]))  # type: ignore[arg-type]


@pytest.fixture
def rows(tmp_path: Path):
    """Complete, but 4 (pruned), 5 (failed) and 6 (its F1 was not measured)."""
    values = [
        (0.80, 10.0, 0.3),
        (0.79, 3.0, 0.3),
        (0.60, 1.0, 0.3),
        (0.70, 5.0, 0.2),
        (0.99, 1.0, 0.9),
        (None, 1, 0),
        (0.9, 9.0, None),
    ]
    with open_study(tmp_path, metadata=THREE) as ledger:
        for number, (value, size_mb, f1) in enumerate(values):
            ledger.ask(space)
            outcome = "failed" if value is None else "pruned" if number == 4 else "complete"
            reason = "" if value is not None else "loss is nan"
            ended = result(size_mb, **({} if f1 is None else {"f1_macro": f1}))
            ended = TrialResult(cost=ended.cost, summary=ended.summary, reason=reason)
            ledger.finish(number, outcome, value=value, result=ended)  # type: ignore[arg-type]
        yield ledger.rows()


def test_the_front_is_of_complete_trials_with_every_objective(rows) -> None:
    objectives = objectives_of(THREE["objectives"])
    assert ranks_of(rows, objectives) == {0: 1, 1: 1, 2: 1, 3: 2}
    assert [row.number for row in front_of(rows, objectives)] == [0, 1, 2]
    knee = knee_of(rows, objectives)
    assert knee is not None and knee.number == 1
    assert values_of(rows[1], objectives) == {"auc_macro": 0.79, "size_mb": 3.0, "f1_macro": 0.3}
    assert others_of(rows[6], objectives) == (-9.0, float("-inf"))


def test_of_stopped_trials_alone_there_is_a_front_too(rows) -> None:
    objectives = objectives_of(THREE["objectives"])
    assert [row.number for row in front_of([rows[4], rows[5]], objectives)] == [4]
    assert front_of([rows[5]], objectives) == [] and knee_of([rows[5]], objectives) is None
    assert ranks_of(rows, ()) == {} and knee_of(rows, ()) is None


def test_the_winner_is_the_knee(rows, tmp_path: Path) -> None:
    with open_study(tmp_path) as ledger:
        best = ledger.best()
        assert best is not None and best.number == 1


def test_with_several_objectives_small_students_are_tried_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score alone prefers the large one; a front has all three sizes."""
    monkeypatch.setattr(proposals, "MAX_GP_TRIALS", 5)
    monkeypatch.setattr(proposals, "MAX_GP_TRIALS_SEVERAL", 5)
    tried = {}
    for name, metadata in (("one", None), ("two", TWO)):
        with open_study(tmp_path, name, metadata=metadata) as ledger:
            run(ledger, 26)
            tried[name] = [row.overrides[BACKBONE] for row in ledger.rows()].count("small")
    assert tried["two"] > tried["one"]


def test_the_database_keeps_the_score_and_its_curve_and_one_objective_is_as_before(tmp_path: Path) -> None:
    with open_study(tmp_path, metadata=TWO) as ledger:
        run(ledger, 3)
        assert [row.curve.keys() for row in ledger.rows()] == [{1, 2}] * 3
        assert [row.state for row in ledger.rows()] == ["complete", "pruned", "complete"]
    (study,) = optuna.get_all_study_summaries(sqlite_url(tmp_path / "study.db"))
    assert len(study.directions) == 1


@pytest.mark.parametrize("cut", ["between", "asked", "reported"])
def test_a_study_that_is_cut_off_and_continued_is_the_uninterrupted_one(
    tmp_path: Path, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "MAX_GP_TRIALS_SEVERAL", 5)
    with open_study(tmp_path, "whole", metadata=TWO) as ledger:
        run(ledger, 10)
    with open_study(tmp_path, "cut", metadata=TWO) as ledger:
        run(ledger, 5)
        if cut != "between":
            proposal = ledger.ask(space)
            if cut == "reported":
                ledger.report(proposal.number, 1, score(proposal.overrides) - 0.1)
    with open_study(tmp_path, "cut", metadata=TWO) as ledger:  # grows past the Gaussian process's trials
        run(ledger, 10)
    url = sqlite_url(tmp_path / "study.db")
    assert content(url, "cut") == content(url, "whole")

"""The trials of a long study that TPE is fitted to."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial, TrialState
from studies import GAMMA, open_study, run_one, score, space

from xlite.ledger import sqlite_url
from xlite.samplers import history
from xlite.samplers.sampling import FIXED, Sampling

COMPLETE, PRUNED, FAIL, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING


def trial_of(state: TrialState, epochs: int, value: float, **suggested: Any) -> FrozenTrial:
    """A trial that reported `value` after each epoch; it has the parameters of a trial that was asked for."""
    curve = dict.fromkeys(range(1, epochs + 1), value)
    ended = None if state in (FAIL, RUNNING) else value
    return optuna.trial.create_trial(state=state, value=ended, intermediate_values=curve, **suggested)


def random_trials(num_trials: int, seed: int = 0, complete: float = 0.3) -> list[FrozenTrial]:
    """Random trials in every state, `complete` of them complete; values depend on the parameters in each state."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    draw = np.random.default_rng(seed)
    trials = []
    for _ in range(num_trials):
        asked = study.ask()
        value = score(space(asked)) + draw.normal(0, 0.01)
        state = (COMPLETE, PRUNED, FAIL, RUNNING)[draw.choice(4, p=[complete, 0.84 - complete, 0.1, 0.06])]
        suggested = {"params": asked.params, "distributions": asked.distributions}
        trials.append(trial_of(state, int(draw.integers(1, 4)), value, **suggested))
    return trials


def test_the_best_the_latest_and_the_running_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Best: complete before pruned, then the pruned ones that reached more epochs, then by value."""
    monkeypatch.setattr(history, "NUM_BEST", 3)
    monkeypatch.setattr(history, "NUM_LATEST", 2)
    states = [(PRUNED, 1, 0.9), (COMPLETE, 1, 0.5), (PRUNED, 2, 0.3), (PRUNED, 2, 0.4), (RUNNING, 2, 0.8), (FAIL, 2, 0)]
    sampling = Sampling([trial_of(*each) for each in (*states, (PRUNED, 1, 0.7), (PRUNED, 1, 0.1))], seed=0)
    assert [trial.number for trial in sampling.history.for_tpe()] == [1, 2, 3, 4, 6, 7]


@pytest.mark.parametrize("complete", [0.3, 0.01])  # the best 25 are all complete, or most of them pruned
def test_tpe_s_model_of_the_best_is_the_same_as_with_all_trials(complete: float) -> None:
    """Of one candidate, drawn from that model, the model of the others has no say."""

    def proposals(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
        tpe = optuna.samplers.TPESampler(n_startup_trials=0, n_ei_candidates=1, seed=1)
        study = optuna.create_study(direction="maximize", sampler=tpe)
        study.add_trials(trials)
        return [space(study.ask()) for _ in range(20)]

    everything = random_trials(700, complete=complete)
    ended = [trial for trial in everything if trial.state in history.ENDED]
    kept = Sampling(everything, seed=0).history.for_tpe()
    assert len(kept) < len(ended) - 200
    assert proposals(kept) == proposals(everything) != proposals(ended[-history.NUM_LATEST :])


def test_the_common_space_is_optuna_s() -> None:
    trials = random_trials(60)
    common = Sampling(trials, seed=0).history.common_space()
    assert common == intersection_search_space(trials, include_pruned=True)
    assert GAMMA not in common


def test_a_resumed_long_study_proposes_what_an_uninterrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "NUM_BEST", 4)
    monkeypatch.setattr(history, "NUM_LATEST", 6)
    monkeypatch.setattr("xlite.samplers.proposals.MAX_GP_TRIALS", 0)  # else half of them wait for a fit
    with open_study(sqlite_url(tmp_path / "whole.db")) as whole:
        uninterrupted = [run_one(whole) for _ in range(20)]
    resumed = []
    for num_trials in (13, 4, 3):
        with open_study(sqlite_url(tmp_path / "resumed.db")) as process:
            resumed += [run_one(process) for _ in range(num_trials)]
    assert resumed == uninterrupted


def test_startup_trials_are_counted_among_all_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only among those that TPE is fitted to."""
    monkeypatch.setattr(history, "NUM_BEST", 4)
    monkeypatch.setattr(history, "NUM_LATEST", 6)
    trials = random_trials(60)
    num_ended = sum(trial.state in history.ENDED for trial in trials)

    def proposed(num_startup: int) -> dict[str, Any]:
        return space(Sampling(trials, seed=0, num_startup=num_startup).start()[0])

    assert proposed(num_ended) == proposed(5) != proposed(num_ended + 1)


def test_optuna_keeps_enqueued_parameters_where_we_do() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 0.5})
    assert study.trials[0].system_attrs == {FIXED: {"x": 0.5}}, f"optuna {optuna.__version__} has renamed its key"

"""What TPE is shown of a long study."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.samplers._tpe.sampler import _split_trials
from optuna.search_space import intersection_search_space
from optuna.trial import TrialState
from studies import GAMMA, open_study, run_one, score, space

from xlite.ledger import sqlite_url
from xlite.samplers import history
from xlite.samplers.sampling import Sampling

STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show no more than four of the best and six of the latest."""
    monkeypatch.setattr(history, "NUM_BEST", 4)
    monkeypatch.setattr(history, "NUM_LATEST", 6)


def searched(num_trials: int, seed: int = 0, complete: float = 0.4) -> Sampling:
    """Trials that ended in every way, two of them late, the last one running."""
    draw = np.random.default_rng(seed)
    sampling = Sampling([], seed=seed, num_startup=5)
    for number in range(num_trials):
        trial, _ = sampling.start()
        value = score(space(trial)) + draw.normal(0, 0.01)
        far = draw.random() < 0.5
        sampling.report(number, 1, value - 0.1 if far else value + 0.2)  # who came farther ranks above a higher value
        if far:
            sampling.report(number, 2, value)
        if number not in (3, num_trials - 1):
            state = STATES[draw.choice(3, p=[complete, 0.8 - complete, 0.2])]
            sampling.finish(number, state, None if state == TrialState.FAIL else value)
    sampling.finish(3, TrialState.COMPLETE, 0.5)
    return sampling


@pytest.mark.parametrize("complete", [0.4, 0.0])
def test_tpe_s_best_are_shown_with_the_latest_and_those_that_run(few: None, complete: float) -> None:
    sampling = searched(40, complete=complete)
    everything = optuna.storages.InMemoryStorage.get_all_trials(sampling._storage, 0)
    ended = [trial for trial in everything if trial.state in history.ENDED]
    best, _ = _split_trials(sampling._study, ended, 4)
    sampling._storage.choose_shown()
    shown = sampling._study.get_trials(deepcopy=False)
    assert [trial.number for trial in shown] == sorted(
        {trial.number for trial in (*best, *ended[-6:])} | {everything[-1].number}
    )
    assert len(shown) < len(ended) - 10


def test_tpe_models_what_it_would_were_it_shown_all(few: None) -> None:
    """Its better half is the same."""
    sampling = searched(40)
    everything = optuna.storages.InMemoryStorage.get_all_trials(sampling._storage, 0)
    sampling._storage.choose_shown()
    all_of_them, shown = (
        _split_trials(sampling._study, [trial for trial in trials if trial.state in history.ENDED], 4)[0]
        for trials in (everything, sampling._study.get_trials(deepcopy=False))
    )
    assert [trial.number for trial in shown] == [trial.number for trial in all_of_them]


def test_the_common_space_is_optuna_s(few: None) -> None:
    sampling = searched(40)
    everything = optuna.storages.InMemoryStorage.get_all_trials(sampling._storage, 0)
    assert sampling._storage.common_space() == intersection_search_space(everything, include_pruned=True)
    assert GAMMA not in sampling._storage.common_space()


def test_a_long_study_continued_asks_what_an_uninterrupted_one_would(few: None, tmp_path: Path) -> None:
    with open_study(sqlite_url(tmp_path / "whole.db")) as whole:
        uninterrupted = [run_one(whole) for _ in range(20)]
    continued = []
    for num_trials in (13, 4, 3):
        with open_study(sqlite_url(tmp_path / "parts.db")) as part:
            continued += [run_one(part) for _ in range(num_trials)]
    assert continued == uninterrupted


def test_random_trials_are_counted_in_all_that_ended_not_in_those_shown(few: None) -> None:
    def asked(num_startup: int) -> dict:
        sampling = Sampling(trials, seed=0, num_startup=num_startup)
        return space(sampling.start()[0])

    everything = searched(60)
    trials = optuna.storages.InMemoryStorage.get_all_trials(everything._storage, 0)
    num_ended = sum(trial.state in history.ENDED for trial in trials)
    assert asked(num_ended) == asked(5) != asked(num_ended + 1)

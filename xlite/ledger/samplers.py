"""What chooses a study's next trial: an even spread first, then a Gaussian process, TPE once there are many.

A Gaussian process makes more of few trials than TPE does (benchmarks/replay.py); its time grows with their cube.
"""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial

from xlite.ledger.history import History
from xlite.ledger.spread import spread

MOST_MODELLED = 50
"""Ended trials of which a Gaussian process is made, at most."""
Space = dict[str, BaseDistribution]


def make_sampler(history: History, *, num_startup: int, seed: int, study_seed: int) -> BaseSampler:
    """For the next trial alone; `history` then shows what it goes by."""
    history.choose_shown()
    if history.num_ended < num_startup:
        return Spread(num_startup, study_seed)
    if history.num_ended > MOST_MODELLED:
        return Tpe(history, seed)
    history.show_all_as_complete()
    return GaussianProcess(history, seed)


def common_space(history: History) -> Space:
    """The parameters that every ended trial has, without those of one value: what is modelled jointly."""
    return {name: there for name, there in history.common_space().items() if not there.single()}


class Spread(BaseSampler):
    """Before there is anything to model: each trial its part of every range."""

    def __init__(self, num_trials: int, study_seed: int) -> None:
        self._num_trials, self._study_seed = num_trials, study_seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """Nothing is modelled."""
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Nothing is modelled."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """This trial's part of the range."""
        place = {"trial": trial.number, "num_trials": self._num_trials, "seed": self._study_seed}
        return spread(param_name, param_distribution, **place)


class GaussianProcess(GPSampler):
    """Optuna's, which takes running trials into account; parameters that only some trials have are left to TPE."""

    def __init__(self, history: History, seed: int) -> None:
        rest = TPESampler(n_startup_trials=0, seed=seed)
        super().__init__(seed=seed, independent_sampler=rest, n_startup_trials=1, warn_independent_sampling=False)
        self._history = history

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """See `common_space`."""
        return common_space(self._history)


class Tpe(TPESampler):
    """Optuna's; it is told the common space, instead of going through all trials for each new one."""

    def __init__(self, history: History, seed: int) -> None:
        super().__init__(n_startup_trials=0, seed=seed)
        self._history = history

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """See `common_space`."""
        return common_space(self._history)

"""What chooses a study's next trial: an even spread first, then a Gaussian process, TPE once there are many.

A Gaussian process makes more of few trials than TPE does (benchmarks/replay.py); its time grows with their cube. Every
second trial is the best one with one choice made otherwise, as in evolutionary search, until all of these were tried: a
model that took one of its first impressions for a rule proposes nothing that could correct it. Random trials, which
SMAC and BOHB interleave, seldom would: most are stopped for one bad choice, and so say nothing about the others.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial

from xlite.samplers.history import History
from xlite.samplers.latin_hypercube import spread, value_at

MOST_MODELLED = 50
"""Ended trials of which a Gaussian process is made, at most."""
EXPLORE_EVERY = 2
"""Of so many trials, after the first ones, one asks no model, as long as there is a choice that nobody made."""
Space = dict[str, BaseDistribution]


def make_sampler(history: History, number: int, *, num_startup: int, seed: int, study_seed: int) -> BaseSampler:
    """For trial `number` alone; `history` then shows what it goes by."""
    history.choose_shown()
    if history.num_ended < max(1, num_startup):
        return Spread(num_startup, study_seed)
    if number % EXPLORE_EVERY == EXPLORE_EVERY - 1 and (neighbour := _local_mutation(history, seed)):
        return neighbour
    if history.num_ended > MOST_MODELLED:
        return Tpe(history, seed)
    history.show_all_as_complete()
    return GaussianProcess(history, seed)


class Unmodelled(BaseSampler):
    """Each parameter by itself."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """Nothing is modelled."""
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Nothing is modelled."""
        return {}


class Spread(Unmodelled):
    """Each trial its part of every range."""

    def __init__(self, num_trials: int, study_seed: int) -> None:
        self._num_trials, self._study_seed = num_trials, study_seed

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """This trial's part of the range."""
        place = {"trial": trial.number, "num_trials": self._num_trials, "seed": self._study_seed}
        return spread(param_name, param_distribution, **place)


class LocalMutation(Unmodelled):
    """`parent` with one choice made otherwise; what it has no use for, so has no value of, is drawn at random."""

    def __init__(self, parent: FrozenTrial, choices: dict[str, Any], rng: np.random.Generator) -> None:
        self._parent, self._params, self._rng = parent, parent.params | choices, rng

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The parent's or the other one; any where the parent had none, or another range."""
        if self._parent.distributions.get(param_name) == param_distribution:
            return self._params[param_name]
        return value_at(param_distribution, self._rng.random())


def _local_mutation(history: History, seed: int) -> LocalMutation | None:
    """Of the best trial, one with a combination of choices that nobody tried; None where all were."""
    best, rng = history.best_ended(), np.random.default_rng(seed)
    choices = {name: there for name, there in best.distributions.items() if isinstance(there, CategoricalDistribution)}
    made = {name: best.params[name] for name in choices}
    others = [made | {name: value} for name in choices for value in choices[name].choices]
    untried = [other for other in others if not history.has_tried(other)]
    return LocalMutation(best, untried[rng.integers(len(untried))], rng) if untried else None


class GaussianProcess(GPSampler):
    """Optuna's, which takes running trials into account; TPE is left with parameters whose range changed, or new ones.

    Of parameters that only some trials have TPE would make a model each, here of the best one or two trials.
    """

    def __init__(self, history: History, seed: int) -> None:
        rest = TPESampler(n_startup_trials=0, seed=seed)
        super().__init__(seed=seed, independent_sampler=rest, n_startup_trials=1, warn_independent_sampling=False)
        self._history = history

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """See `History.joint_space`."""
        return _varied(self._history.joint_space())


class Tpe(TPESampler):
    """Optuna's; it is told the common space, instead of going through all trials for each new one."""

    def __init__(self, history: History, seed: int) -> None:
        super().__init__(n_startup_trials=0, seed=seed)
        self._history = history

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """See `History.common_space`."""
        return _varied(self._history.common_space())


def _varied(space: Mapping[str, BaseDistribution]) -> Space:
    """Without parameters of one value."""
    return {name: there for name, there in space.items() if not there.single()}

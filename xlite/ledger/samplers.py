"""What chooses a study's next trial: an even spread first, then a Gaussian process, TPE once there are many.

A Gaussian process makes more of few trials than TPE does (benchmarks/replay.py); its time grows with their cube. Every
second trial asks no model, as SMAC and BOHB interleave random ones: a model that took one of its first impressions for
a rule proposes nothing that could correct it. It is a neighbour of the best, as in evolutionary search, and not a
random one: of those most are stopped for one bad choice, and so say nothing about the others.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial

from xlite.ledger.history import History
from xlite.ledger.spread import spread, value_at

MOST_MODELLED = 50
"""Ended trials of which a Gaussian process is made, at most."""
EXPLORE_EVERY = 2
"""Of so many trials, after the first ones, one asks no model."""
NUM_PARENTS = 3
"""Best trials that a neighbour is one of."""
SHARE_DRAWN = 0.2
"""Of a parent's parameters, on average."""
MOST_DRAWS = 100
"""Neighbours drawn at most to find one that nobody tried: a space of few choices may be used up."""
Space = dict[str, BaseDistribution]


def make_sampler(history: History, number: int, *, num_startup: int, seed: int, study_seed: int) -> BaseSampler:
    """For trial `number` alone; `history` then shows what it goes by."""
    history.choose_shown()
    if history.num_ended < max(1, num_startup):
        return Spread(num_startup, study_seed)
    if number % EXPLORE_EVERY == EXPLORE_EVERY - 1:
        return Neighbour(history, seed)
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


class Neighbour(Unmodelled):
    """The best trial with one choice made otherwise, a combination of choices that nobody tried.

    Where all of these were tried, one of the best with some of its parameters drawn anew, and again nothing tried.
    """

    def __init__(self, history: History, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        parents = history.best_ended(NUM_PARENTS)
        self._parent, self._params = parents[0], parents[0].params
        if untried := [one for one in _choices(self._parent) if not history.has_tried(one)]:
            self._params = self._params | untried[self._rng.integers(len(untried))]
            return
        for _ in range(MOST_DRAWS):
            self._parent = parents[self._rng.integers(len(parents))]
            there = self._parent.distributions
            anew = {name: self._draw(there[name]) for name in there if self._rng.random() < SHARE_DRAWN}
            self._params = self._parent.params | anew
            if not history.has_tried(self._params):
                break

    def _draw(self, distribution: BaseDistribution) -> Any:
        return value_at(distribution, self._rng.random())

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The parent's or the other one; any where the parent had none, or another range."""
        if self._parent.distributions.get(param_name) == param_distribution:
            return self._params[param_name]
        return self._draw(param_distribution)


def _choices(trial: FrozenTrial) -> list[dict[str, Any]]:
    """All its choices, no numbers, with any one of them made in any way, its own too."""
    choices = {name: there for name, there in trial.distributions.items() if isinstance(there, CategoricalDistribution)}
    made = {name: trial.params[name] for name in choices}
    return [made | {name: value} for name in choices for value in choices[name].choices]


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

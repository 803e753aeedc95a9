"""Which sampler proposes a trial: Latin hypercube, then local mutation and Gaussian process in turn, then TPE.

A Gaussian process makes more of few trials than TPE does (benchmarks/replay.py); its time grows with their cube. Every
second trial changes one choice of the best trial, as in evolutionary search, until all such changes were tried: a model
that overrates its first observations proposes nothing that could correct it. Random trials, which SMAC and BOHB
interleave, seldom would: most are pruned for one bad choice, and so say nothing about the others.

With several objectives both models, Optuna's own, propose what adds most to the front's hypervolume (expected
improvement of it, and MOTPE), and mutations start from the front. A stopped trial has the value it would have reached,
as for one objective, and what it costs is known exactly.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial

from xlite.samplers.history import History
from xlite.samplers.latin_hypercube import latin_hypercube, quantile

MAX_GP_TRIALS = 50
"""With more ended trials TPE takes over from the Gaussian process."""
MAX_GP_TRIALS_SEVERAL = 20
"""The same with several objectives: a proposal by expected hypervolume takes three times as long, a second or more."""
EXPLORE_EVERY = 2
"""After the first trials every second one is a local mutation, as long as one is untried."""


def make_sampler(history: History, number: int, *, num_startup: int, seed: int, study_seed: int) -> BaseSampler:
    """The sampler of trial `number` alone.

    Args:
        num_startup: ended trials before a model is fitted.
        seed: of this trial.
        study_seed: of the Latin hypercube, which spans trials.
    """
    if history.num_ended < max(1, num_startup):
        return LatinHypercube(num_startup, study_seed)
    if number % EXPLORE_EVERY == EXPLORE_EVERY - 1 and (mutation := local_mutation(history, seed)):
        return mutation
    tpe, num = TPESampler(n_startup_trials=0, seed=seed), history.num_objectives
    if history.num_ended > (MAX_GP_TRIALS if num == 1 else MAX_GP_TRIALS_SEVERAL):
        return ModelBased(tpe, history.for_tpe(), history.common_space(), num_objectives=num)
    # TPE is left with new parameters and those whose range changed. It would fit conditional parameters one by one,
    # here to the best one or two trials; imputed they are part of the joint model
    gp = GPSampler(seed=seed, independent_sampler=tpe, n_startup_trials=1, warn_independent_sampling=False)
    return ModelBased(gp, history.for_gaussian_process(), history.joint_space(), num_objectives=num)


class IndependentSampler(BaseSampler):
    """Samples each parameter by itself."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Empty."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Empty."""
        return {}


class LatinHypercube(IndependentSampler):
    """Each trial in its own stratum of every range; see `latin_hypercube`."""

    def __init__(self, num_trials: int, study_seed: int) -> None:
        self._num_trials, self._study_seed = num_trials, study_seed

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A draw within this trial's stratum."""
        options = {"trial": trial.number, "num_trials": self._num_trials, "seed": self._study_seed}
        return latin_hypercube(param_name, param_distribution, **options)


class LocalMutation(IndependentSampler):
    """`parent` with `choices` instead of its own; parameters it lacks, or has with another range, at random."""

    def __init__(self, parent: FrozenTrial, choices: Mapping[str, Any], rng: np.random.Generator) -> None:
        self._parent, self._params, self._rng = parent, {**parent.params, **choices}, rng

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The mutated parent's value, or a random one."""
        if self._parent.distributions.get(param_name) == param_distribution:
            return self._params[param_name]
        return quantile(param_distribution, self._rng.random())


def local_mutation(history: History, seed: int) -> LocalMutation | None:
    """The best trial with one categorical parameter changed, a combination nobody tried; None once all were.

    With several objectives a trial of the front, drawn at random.
    """
    front, rng = history.front(), np.random.default_rng(seed)
    for parent in [front[0]] if len(front) == 1 else [front[index] for index in rng.permutation(len(front))]:
        if mutation := _untried_change(history, parent, rng):
            return mutation
    return None


def _untried_change(history: History, best: FrozenTrial, rng: np.random.Generator) -> LocalMutation | None:
    choices = {name: kind for name, kind in best.distributions.items() if isinstance(kind, CategoricalDistribution)}
    own = {name: best.params[name] for name in choices}
    mutations = [own | {name: value} for name in choices for value in choices[name].choices]
    untried = [mutation for mutation in mutations if not history.has_tried(mutation)]
    return LocalMutation(best, untried[rng.integers(len(untried))], rng) if untried else None


class ModelBased(BaseSampler):
    """An Optuna sampler fitted to `trials`, which are put into a study of their own, instead of to all of the study.

    Args:
        sampler: Optuna's.
        trials: by number; each takes 0.1 ms.
        space: the parameters to model jointly; the sampler draws others one by one.
        num_objectives: values of each complete trial, all to be maximised; several make the sampler one for the
            hypervolume of their front.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        trials: Iterable[FrozenTrial],
        space: Mapping[str, BaseDistribution],
        *,
        num_objectives: int = 1,
    ) -> None:
        self.sampler = sampler
        self._space = {name: distribution for name, distribution in space.items() if not distribution.single()}
        self._study = optuna.create_study(sampler=sampler, directions=["maximize"] * num_objectives)
        self._study.add_trials(trials)
        self._study.ask()
        self._trial = self._study.get_trials(deepcopy=False)[-1]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The joint space, without parameters of one value."""
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values for the joint space."""
        return self.sampler.sample_relative(self._study, self._trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value for one parameter outside of it."""
        return self.sampler.sample_independent(self._study, self._trial, param_name, param_distribution)

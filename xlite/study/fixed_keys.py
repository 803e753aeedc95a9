"""A search space with some keys fixed, e.g. by `--set`: no longer searched, the same in every trial."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from xlite.samplers.latin_hypercube import quantile
from xlite.samplers.proposals import IndependentSampler
from xlite.study.space import SearchSpace


def with_fixed(space: SearchSpace, fixed: Mapping[str, Any]) -> SearchSpace:
    """`space` with these dotted keys fixed; where it branches on one, it follows the fixed value.

    A value may lie outside of the range that the space searches. BASELINE follows too: it loses what its branch does
    not have, and gets the middle of the range of what it lacks.

    Raises:
        SpaceError: the space fails with these values.
    """
    if not fixed:
        return space

    def propose(trial: optuna.Trial) -> dict[str, Any]:
        chosen = space.propose(_FixedKeys(trial, fixed))  # type: ignore[arg-type]  # it has all of a trial's methods
        return {key: fixed.get(key, value) for key, value in chosen.items()}

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    first = []
    for configuration in space.first:
        study = optuna.create_study(sampler=_Middle())
        study.enqueue_trial(dict(configuration))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a value outside its range is an error when the space is checked
            first.append(propose(study.ask()))
    return replace(space, propose=propose, first=tuple(first))


class _FixedKeys:
    """A trial that suggests the fixed values, without making parameters of them."""

    def __init__(self, trial: optuna.Trial, fixed: Mapping[str, Any]) -> None:
        self._trial, self._fixed = trial, fixed

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._trial, attribute)
        if not attribute.startswith("suggest_"):
            return found

        def suggest(name: str, *arguments: Any, **options: Any) -> Any:
            return self._fixed[name] if name in self._fixed else found(name, *arguments, **options)

        return suggest


class _Middle(IndependentSampler):
    """The middle of each range."""

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The median of the distribution."""
        return quantile(param_distribution, 0.5)

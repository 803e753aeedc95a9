"""Random draws from a search space, checked and resolved before anything is trained."""

import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import optuna

from xlite.config import RunConfig
from xlite.errors import InputError
from xlite.models.cost import architecture
from xlite.study.space import SearchSpace

NUM_PROBES = 100
"""Random draws that check a space; enough to meet each of a dozen combinations with near certainty."""


def check_space(space: SearchSpace, base: RunConfig, *, reserved: Iterable[str] = ()) -> list[RunConfig]:
    """Configurations drawn from the space, its first ones before others; all of a grid.

    Args:
        base: what the space's choices are laid over.
        reserved: keys that belong to the study as a whole, which a space may not vary.

    Raises:
        InputError: an unknown key, a value out of range, a reserved key, or a BASELINE that is not in the space.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for configuration in space.first:
        study.enqueue_trial(dict(configuration))
    configs = []
    for probe in range(len(space.first) if space.is_grid else NUM_PROBES):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an enqueued value outside its range is only a warning to Optuna
            chosen = space.propose(study.ask())
        for key in reserved:
            if key in chosen:
                raise InputError(
                    f"{space.path}: {key} is fixed for a study and cannot be searched; use --set {key}=..."
                )
        if probe < len(space.first):
            _check_first(space, space.first[probe], chosen)
        configs.append(base.override(chosen, source=str(space.path)))
    return configs


def choices(space: SearchSpace) -> dict[str, list[Any]]:
    """Every key that the first configurations and random draws set, with the values that they gave it."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.propose(study.ask()) for _ in range(0 if space.is_grid else NUM_PROBES)]
    values: dict[str, list[Any]] = {}
    for chosen in [*space.first, *drawn]:
        for key, value in chosen.items():
            values.setdefault(key, []).append(value)
    return values


def distinct(configs: Sequence[RunConfig], key: Callable[[RunConfig], Hashable]) -> list[RunConfig]:
    """The first configuration with each key."""
    found: dict[Hashable, RunConfig] = {}
    for config in configs:
        found.setdefault(key(config), config)
    return list(found.values())


def model_of(config: RunConfig) -> str:
    """What of a configuration decides its student's size and speed."""
    return architecture(config.model).model_dump_json()


def _check_first(space: SearchSpace, wanted: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    for key in {**wanted, **chosen}:
        if key not in chosen:
            raise InputError(f"{space.path}: BASELINE sets {key}, which space(trial) does not return for it")
        if key not in wanted:
            raise InputError(f"{space.path}: BASELINE lacks {key}, which space(trial) returns for it")
        if wanted[key] != chosen[key]:
            raise InputError(
                f"{space.path}: BASELINE has {key}={wanted[key]!r}, the space gives {chosen[key]!r} for it"
            )

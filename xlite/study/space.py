"""Search spaces: Python files with `space(trial)` and BASELINE, or CONFIGURATIONS; checked before any training."""

import hashlib
import inspect
import json
import runpy
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from xlite.config import ModelConfig, RunConfig
from xlite.errors import InputError
from xlite.models.cost import architecture
from xlite.tasks.target_spec import TARGET_SPECS

Propose = Callable[[optuna.Trial], dict[str, Any]]
NUM_PROBES = 100
"""Random draws that check a space; enough to meet each of a dozen combinations with near certainty."""


@dataclass(frozen=True)
class SearchSpace:
    """What may be searched.

    Attributes:
        propose: define-by-run; returns dotted configuration keys.
        first: configurations that are run before any is sampled: BASELINE, or a grid's all.
        is_grid: every one of `first` runs to its end and nothing else is run.
        content_hash: 16 hex digits of the file's text.
    """

    path: Path
    propose: Propose
    first: tuple[Mapping[str, Any], ...]
    is_grid: bool
    content_hash: str


def load_space(path: Path, kind: str) -> SearchSpace:
    """Run a space file and take what it defines.

    Args:
        kind: of the targets. A space for several kinds has `space(trial, target_kind)` and BASELINE by kind.

    Raises:
        InputError: no such file, it does not run, or it defines neither form.
    """
    if not path.is_file():
        known = ", ".join(sorted(p.name for p in path.parent.glob("*.py"))) if path.parent.is_dir() else "none"
        raise InputError(f"--space {path}: no such file; in that folder: {known}")
    try:
        names = runpy.run_path(str(path))
    except Exception as error:
        raise InputError(f"{path}: it cannot be run: {type(error).__name__}: {error}") from None
    content_hash = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if "CONFIGURATIONS" in names:
        configurations = names["CONFIGURATIONS"]
        if isinstance(configurations, Mapping):
            configurations = configurations.get(kind, ())
        grid = tuple(configurations)
        if not grid or not all(isinstance(c, Mapping) for c in grid):
            raise InputError(
                f"{path}: CONFIGURATIONS must be a list of dicts, not empty, or such lists by kind ({kind} here)"
            )
        return SearchSpace(path, _grid_proposal(path, grid), grid, True, content_hash)
    baseline, space = names.get("BASELINE"), names.get("space")
    if isinstance(baseline, Mapping) and baseline and set(baseline) <= {*TARGET_SPECS, kind}:
        baseline = baseline.get(kind)
        if baseline is None:
            raise InputError(f"{path}: BASELINE has none for {kind} targets, which the data has; add one")
    if not callable(space) or not isinstance(baseline, Mapping):
        raise InputError(f"{path}: define `space(trial) -> dict` and the dict BASELINE, or a list CONFIGURATIONS")
    if len(inspect.signature(space).parameters) == 2:
        space = partial(space, target_kind=kind)
    return SearchSpace(path, space, (baseline,), False, content_hash)


def check_space(space: SearchSpace, base: RunConfig, *, reserved: Iterable[str] = ()) -> list[ModelConfig]:
    """Draw from the space without training, and return the distinct models it can propose.

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
    models: dict[str, ModelConfig] = {}
    num_probes = len(space.first) if space.is_grid else NUM_PROBES
    for probe in range(num_probes):
        chosen = _propose(space, study)
        for key in reserved:
            if key in chosen:
                raise InputError(
                    f"{space.path}: {key} is fixed for a study and cannot be searched; use --set {key}=..."
                )
        if probe < len(space.first):
            _check_first(space, space.first[probe], chosen)
        model = base.override(chosen, source=str(space.path)).model
        models.setdefault(architecture(model).model_dump_json(), model)
    return list(models.values())


def losses_of(space: SearchSpace, base: RunConfig) -> list[RunConfig]:
    """Configurations with every distinct loss that random draws from the space met."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    configs: dict[tuple[str, str], RunConfig] = {}
    drawn = [_propose(space, study) for _ in range(0 if space.is_grid else NUM_PROBES)]
    for chosen in [*space.first, *drawn]:
        config = base.override(chosen, source=str(space.path))
        configs.setdefault((config.loss.name, config.loss.class_weights), config)
    return list(configs.values())


def distinct_steps(space: SearchSpace, base: RunConfig) -> list[RunConfig]:
    """A configuration for every distinct (architecture, batch size) that random draws from the space met."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    configs: dict[tuple[str, int], RunConfig] = {}
    drawn = [_propose(space, study) for _ in range(0 if space.is_grid else NUM_PROBES)]
    for chosen in [*space.first, *drawn]:
        config = base.override(chosen, source=str(space.path))
        configs.setdefault((architecture(config.model).model_dump_json(), config.optim.batch_size), config)
    return list(configs.values())


def choices(space: SearchSpace) -> dict[str, list[Any]]:
    """Every key that the first configurations and random draws set, with the values that they gave it."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [_propose(space, study) for _ in range(0 if space.is_grid else NUM_PROBES)]
    values: dict[str, list[Any]] = {}
    for chosen in [*space.first, *drawn]:
        for key, value in chosen.items():
            values.setdefault(key, []).append(value)
    return values


def with_fixed(space: SearchSpace, fixed: Mapping[str, Any]) -> SearchSpace:
    """A grid with `fixed` laid over each of its configurations.

    Raises:
        InputError: the space is no grid.
    """
    if not fixed:
        return space
    if not space.is_grid:
        raise InputError(f"{space.path}: only a grid (CONFIGURATIONS) can be run with {', '.join(fixed)} fixed")
    grid = tuple({**configuration, **fixed} for configuration in space.first)
    text = json.dumps([space.content_hash, dict(fixed)], sort_keys=True)
    content_hash = hashlib.sha256(text.encode()).hexdigest()[:16]
    return replace(space, first=grid, propose=_grid_proposal(space.path, grid), content_hash=content_hash)


def distils(space: SearchSpace, base: RunConfig) -> bool:
    """Whether any trial may need a teacher: always, unless a grid sets alpha to 0 throughout."""
    alphas = [configuration.get("distill.alpha", base.distill.alpha) for configuration in space.first]
    return not space.is_grid or any(alpha > 0 for alpha in alphas)


def _propose(space: SearchSpace, study: optuna.Study) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an enqueued value outside its range is only a warning to Optuna
        try:
            chosen = space.propose(study.ask())
        except Exception as error:
            raise InputError(f"{space.path}: space(trial) failed: {type(error).__name__}: {error}") from None
    if not isinstance(chosen, dict):
        raise InputError(f"{space.path}: space(trial) must return a dict, but got {type(chosen).__name__}")
    return chosen


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


def _grid_proposal(path: Path, grid: tuple[Mapping[str, Any], ...]) -> Propose:
    keys = list(grid[0])
    for number, configuration in enumerate(grid):
        if set(configuration) != set(keys):
            odd = sorted(set(configuration) ^ set(keys))
            raise InputError(f"{path}: CONFIGURATIONS[{number}] and [0] differ in keys: {', '.join(odd)}")
    values = {key: sorted({c[key] for c in grid}, key=repr) for key in keys}

    def propose(trial: optuna.Trial) -> dict[str, Any]:
        return {key: trial.suggest_categorical(key, values[key]) for key in keys}

    return propose

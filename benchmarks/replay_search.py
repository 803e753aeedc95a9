"""Searchers of a table of learning curves, for replay.py: the project's, random full runs, Ray Tune's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from xlite.errors import InputError
from xlite.samplers.sampling import FIXED, Sampling, suggestions
from xlite.study.rungs import first_rung
from xlite.tune.asha import EPOCH_KEY, VALUE_KEY, ResumableASHA


@dataclass(frozen=True)
class Table:
    """Configurations and what each reached after every epoch.

    Attributes:
        names: of the P parameters, each on the scale it is searched on.
        points: (N, P) float, the configurations.
        curves: (N, E) float, validation accuracy, higher is better.
        low, high: (P,) float, the smallest and largest value of each parameter: the range that is searched.
    """

    names: tuple[str, ...]
    points: np.ndarray
    curves: np.ndarray
    low: np.ndarray = field(init=False)
    high: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", self.points.min(axis=0))
        object.__setattr__(self, "high", self.points.max(axis=0))

    @property
    def max_epochs(self) -> int:
        """Length of a full run."""
        return self.curves.shape[1]

    @property
    def middle(self) -> dict[str, float]:
        """The configuration half-way along every range: what is known before anything is."""
        return dict(zip(self.names, ((self.low + self.high) / 2).tolist(), strict=True))

    def nearest(self, proposal: Mapping[str, float], free: np.ndarray) -> int:
        """Row nearest to `proposal` among those with `free` (N,) bool, each range scaled to 1."""
        at = np.array([proposal[name] for name in self.names])
        distance = (((self.points - at) / np.where(self.high > self.low, self.high - self.low, 1)) ** 2).sum(axis=1)
        return int(np.where(free, distance, np.inf).argmin())


def read_table(path: Path) -> Table:
    """The table of an .npz file with `hp_names` (P,), `hp` (N, P) and `val_error` (N, E) in 0..1.

    Raises:
        InputError: it cannot be read, or does not hold these.
    """
    try:
        with np.load(path) as file:
            names, points, errors = file["hp_names"], file["hp"], file["val_error"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a table of curves, an .npz with hp_names, hp and val_error") from error
    if points.shape != (len(errors), len(names)) or errors.ndim != 2 or not np.isfinite(errors).all():
        raise InputError(f"{path}: hp {points.shape} and finite val_error {errors.shape} do not fit together")
    return Table(tuple(map(str, names)), points, 1 - errors)


class Searcher(Protocol):
    """Proposes a point, hears of every epoch, and says when to stop."""

    def start(self) -> tuple[str, Mapping[str, float]]:
        """The next trial's name and its point."""

    def report(self, trial: str, epoch: int, value: float) -> bool:
        """One more epoch (from 1) and its value; True: stop the trial here."""

    def end(self, trial: str) -> None:
        """No more epochs of this trial."""


class RandomFull:
    """All configurations of the table in random order, each run to its end."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table = table
        self.order = np.random.default_rng(seed).permutation(len(table.points))
        self.waiting = iter(self.order)

    def start(self) -> tuple[str, Mapping[str, float]]:
        row = next(self.waiting)
        return str(row), dict(zip(self.table.names, self.table.points[row], strict=True))

    def report(self, trial: str, epoch: int, value: float) -> bool:
        return epoch >= self.table.max_epochs

    def end(self, trial: str) -> None:
        pass


class Ours:
    """The project's sampler and ASHA: the middle of the ranges first, as a BASELINE, then what the sampler suggests.

    Best-so-far is what both are told; a stopped trial is PRUNED with its curve, one that ran to its end COMPLETE.
    """

    def __init__(self, table: Table, seed: int, *, num_images: int) -> None:
        self.table = table
        first = optuna.trial.create_trial(state=TrialState.WAITING, system_attrs={FIXED: table.middle})
        self.sampling = Sampling([first], seed=seed)  # as run_study does
        self.asha = ResumableASHA(table.max_epochs, first_rung(table.max_epochs, 0, num_images))
        self.best: dict[str, float] = {}
        self.epoch: dict[str, int] = {}

    def space(self, trial: optuna.Trial) -> dict[str, Any]:
        """A search space as a user writes one."""
        return {
            name: trial.suggest_float(name, low, high)
            for name, low, high in zip(self.table.names, self.table.low, self.table.high, strict=True)
        }

    def start(self) -> tuple[str, Mapping[str, float]]:
        trial, _ = self.sampling.start()
        point = suggestions(self.space, trial)
        name = str(trial.number)
        self.asha.on_trial_add(None, SimpleNamespace(trial_id=name))
        self.best[name] = -np.inf
        return name, point

    def report(self, trial: str, epoch: int, value: float) -> bool:
        self.best[trial], self.epoch[trial] = max(self.best[trial], value), epoch
        self.sampling.report(int(trial), epoch, self.best[trial])
        result = {EPOCH_KEY: epoch, VALUE_KEY: self.best[trial]}
        return self.asha.on_trial_result(None, SimpleNamespace(trial_id=trial), result) == TrialScheduler.STOP

    def end(self, trial: str) -> None:
        self.asha.on_trial_remove(None, SimpleNamespace(trial_id=trial))
        state = TrialState.COMPLETE if self.epoch[trial] >= self.table.max_epochs else TrialState.PRUNED
        self.sampling.finish(int(trial), state, self.best.pop(trial))


class Tune:
    """Ray's OptunaSearch and ASHAScheduler, told each epoch's value, as Tune tells them.

    `first`: points to evaluate first; `asha`: the scheduler's settings besides metric, mode and max_t.
    """

    def __init__(self, table: Table, seed: int, *, first: list[dict[str, float]] | None = None, **asha: Any) -> None:
        space = {
            name: optuna.distributions.FloatDistribution(low, high)
            for name, low, high in zip(table.names, table.low.tolist(), table.high.tolist(), strict=True)
        }
        self.search = OptunaSearch(space, metric="accuracy", mode="max", seed=seed, points_to_evaluate=first)
        self.asha = ASHAScheduler(metric="accuracy", mode="max", max_t=table.max_epochs, **asha)
        self.results: dict[str, dict[str, float]] = {}
        self.count = 0

    def start(self) -> tuple[str, Mapping[str, float]]:
        self.count += 1
        name = str(self.count)
        point = self.search.suggest(name)
        self.asha.on_trial_add(None, SimpleNamespace(trial_id=name))
        return name, point

    def report(self, trial: str, epoch: int, value: float) -> bool:
        result = self.results[trial] = {"training_iteration": epoch, "accuracy": value}
        decision = self.asha.on_trial_result(None, SimpleNamespace(trial_id=trial), result)
        self.search.on_trial_result(trial, result)
        return decision == TrialScheduler.STOP

    def end(self, trial: str) -> None:
        self.asha.on_trial_remove(None, SimpleNamespace(trial_id=trial))
        self.search.on_trial_complete(trial, self.results.pop(trial))


def epochs_to_reach(target: float, table: Table, searcher: Searcher, *, num_parallel: int = 1) -> float:
    """Epochs of all trials together until one shows an accuracy of `target`.

    A proposal becomes the nearest configuration that has not been run; when all have been, all may be run again.
    `num_parallel` trials take turns, an epoch each.
    """
    free = np.ones(len(table.points), dtype=bool)
    running: dict[str, tuple[int, int]] = {}
    spent = 0
    while True:
        while len(running) < num_parallel:
            trial, point = searcher.start()
            if not free.any():
                return np.inf
            row = table.nearest(point, free)
            free[row] = False
            running[trial] = (row, 0)
        for trial, (row, done) in list(running.items()):
            spent += 1
            value = float(table.curves[row, done])
            if value >= target:
                return spent
            if searcher.report(trial, done + 1, value) or done + 1 == table.max_epochs:
                searcher.end(trial)
                del running[trial]
            else:
                running[trial] = (row, done + 1)

"""A study's trials in the orders that samplers need, and which of them a model is fitted to."""

from bisect import insort
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from xlite.samplers.impute import best_value, impute_parameters, impute_values
from xlite.samplers.pareto import front_ranks

NUM_BEST, NUM_LATEST = 50, 250
"""With more ended trials than these together, TPE is fitted to the best and the latest only.

TPE models the best tenth, at most 25 (Optuna's `default_gamma`), against all others, weighted down with age
(`default_weights`). So its model of the best is the same, and that of the others lacks the oldest.
benchmarks/sampler_history.py compares the searches.
"""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
Others = tuple[float, ...]
"""A trial's objectives but the first, upward (the higher, the better); -inf where one was not measured."""


class History:
    """The ended, failed and running trials of a study, by number.

    Args:
        read: the trial with this number as it stands now; called for running trials, which still change.
    """

    def __init__(self, read: Callable[[int], FrozenTrial]) -> None:
        self._read = read
        self._ended: list[FrozenTrial] = []
        self._ranked: list[FrozenTrial] = []
        self._failed: list[FrozenTrial] = []
        self._running: set[int] = set()
        self._common: dict[str, BaseDistribution] | None = None
        self._known: dict[str, BaseDistribution | None] = {}
        self._others: dict[int, Others] = {}

    @property
    def num_ended(self) -> int:
        """Complete and pruned trials."""
        return len(self._ended)

    @property
    def num_objectives(self) -> int:
        """How many values each trial has that a model is fitted to."""
        return 1 + max(map(len, self._others.values()), default=0)

    def add_running(self, number: int) -> None:
        """Add a trial that has just started."""
        self._running.add(number)

    def add_ended(self, trial: FrozenTrial, others: Others = ()) -> None:
        """Add a trial that has just ended, or one of an earlier process; a waiting trial is ignored."""
        self._running.discard(trial.number)
        if trial.state == TrialState.FAIL:
            insort(self._failed, trial, key=_number)
        if trial.state not in ENDED:
            return
        self._others[trial.number] = others
        insort(self._ended, trial, key=_number)
        insort(self._ranked, trial, key=_rank)
        known = trial.distributions if self._common is None else self._common
        self._common = {name: known[name] for name in known if trial.distributions.get(name) == known[name]}
        for name, distribution in trial.distributions.items():
            self._known[name] = distribution if self._known.get(name, distribution) == distribution else None

    def front(self) -> list[FrozenTrial]:
        """The ended trials that no other dominates, by number; with one objective the best, the earliest of equals."""
        if self.num_objectives == 1:
            return [max(self._ended, key=best_value)]
        ranks = front_ranks(np.array([[best_value(trial), *self._others[trial.number]] for trial in self._ended]))
        return [trial for trial, rank in zip(self._ended, ranks, strict=True) if rank == 1]

    def has_tried(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial had the same values of all those of `params` that it had; conditional ones may be missing."""
        trials = [*self._ended, *self._failed, *map(self._read, self._running)]
        shared = ((trial.params, trial.params.keys() & params.keys()) for trial in trials)
        return any(names and all(tried[name] == params[name] for name in names) for tried, names in shared)

    def for_gaussian_process(self) -> list[FrozenTrial]:
        """Ended and failed trials as complete, and running ones, all with every parameter of `joint_space`, by number.

        Left out: trials that lack a parameter that all ended ones have, because their space raised, or because they are
        being asked for now.
        """
        failed = [trial for trial in self._failed if self._has_all_common(trial)]
        running = [trial for trial in map(self._read, self._running) if self._has_all_common(trial)]
        ended = self._with_others(impute_values(self._ended, failed))
        trials = impute_parameters([*ended, *running], self.joint_space())
        return sorted(trials, key=_number)

    def for_tpe(self) -> list[FrozenTrial]:
        """Running trials, and the ended ones or the NUM_BEST best and NUM_LATEST latest of them, by number.

        With several objectives all ended ones, as complete: Optuna's TPE has no place for stopped ones there.
        """
        ended = self._ended
        if self.num_objectives > 1:
            ended = self._with_others(impute_values(ended, []))
        elif self.num_ended > NUM_BEST + NUM_LATEST:
            ended = [*self._ranked[:NUM_BEST], *self._ended[-NUM_LATEST:]]
        chosen = {trial.number: trial for trial in (*ended, *map(self._read, self._running))}
        return sorted(chosen.values(), key=_number)

    def common_space(self) -> dict[str, BaseDistribution]:
        """The parameters that every ended trial has with one range, by name: what TPE models jointly."""
        return dict(sorted((self._common or {}).items()))

    def joint_space(self) -> dict[str, BaseDistribution]:
        """The parameters that any ended trial has, by name, without those whose range changed."""
        return {name: known for name, known in sorted(self._known.items()) if known is not None}

    def _with_others(self, complete: list[FrozenTrial]) -> list[FrozenTrial]:
        """The same trials with all their objectives, in place; what was not measured is the worst, as if failed."""
        if self.num_objectives == 1:
            return complete
        known = np.array([others for others in self._others.values() if others])
        worst = np.where(np.isfinite(known), known, np.inf).min(axis=0)
        worst = np.where(np.isfinite(worst), worst, 0.0)
        for trial in complete:
            others = np.array(self._others.get(trial.number) or worst)
            trial.values = [trial.values[0], *np.where(np.isfinite(others), others, worst).tolist()]
        return complete

    def _has_all_common(self, trial: FrozenTrial) -> bool:
        common = self._common or {}
        return bool(trial.params) and all(trial.distributions.get(name) == known for name, known in common.items())


def _number(trial: FrozenTrial) -> int:
    return trial.number


def _rank(trial: FrozenTrial) -> tuple[bool, float, float, int]:
    """TPE's order, best first: complete trials by value, then pruned ones by last epoch, then by its value."""
    if trial.state == TrialState.COMPLETE:
        assert trial.value is not None
        return False, -trial.value, 0.0, trial.number
    epoch, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
    return True, -epoch, -value, trial.number

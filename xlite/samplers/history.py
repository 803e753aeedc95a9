"""The trials of a study in memory, and what a sampler is shown of them: a long study asks as quickly as a short one."""

import math
from bisect import insort
from collections.abc import Container, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from xlite.samplers.impute import as_if_complete, filled, reached

NUM_BEST, NUM_LATEST = 50, 250
"""Ended trials that TPE is shown of more than these together: the best and the latest.

TPE models the best tenth, 25 at most (Optuna's `default_gamma`), against all others, whose weight falls with their age
(`default_weights`). So the first model is the same, and the second leaves out the oldest. benchmarks/sampler_history.py
compares what is found.
"""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class History(optuna.storages.InMemoryStorage):
    """Optuna's storage in memory; whoever asks for all trials gets those to be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.num_ended = 0
        self._ranked: list[tuple[bool, float, float, int]] = []
        self._best = (math.inf, -1)
        self._latest: list[int] = []
        self._running: set[int] = set()
        self._failed: list[int] = []
        self._common: dict[str, BaseDistribution] | None = None
        self._known: dict[str, BaseDistribution | None] = {}
        self._shown: list[int] | None = None
        self._told: list[FrozenTrial] | None = None

    def note_started(self, trial: FrozenTrial) -> None:
        """A trial runs."""
        self._running.add(trial._trial_id)

    def note_ended(self, trial: FrozenTrial) -> None:
        """A trial ended, or is met for the first time."""
        self._running.discard(trial._trial_id)
        if trial.state == TrialState.FAIL:
            insort(self._failed, trial._trial_id)
        if trial.state not in ENDED:
            return
        self.num_ended += 1
        insort(self._ranked, _rank(trial))
        self._best = min(self._best, (-reached(trial), trial._trial_id))
        insort(self._latest, trial._trial_id)
        there = trial.distributions if self._common is None else self._common
        self._common = {name: there[name] for name in there if trial.distributions.get(name) == there[name]}
        for name, found in trial.distributions.items():
            self._known[name] = found if self._known.get(name, found) == found else None

    def best_ended(self) -> FrozenTrial:
        """Of those that ended, by what they came to, stopped ones too."""
        return self.get_trial(self._best[1])

    def has_tried(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial had all of these that it had at all: those it lacks hang on the others."""
        trials = map(self.get_trial, [*self._latest, *self._failed, *self._running])
        shared = ((trial.params, trial.params.keys() & params.keys()) for trial in trials)
        return any(names and all(had[name] == params[name] for name in names) for had, names in shared)

    def show_all_as_complete(self) -> None:
        """Show, for the next trial, whatever ended or runs, as `told` tells it to a Gaussian process.

        Not a failed one whose space raised while it was being asked for, nor the one that is being asked for now.
        """
        ended = [self.get_trial(trial_id) for trial_id in self._latest]
        failed = [trial for trial in map(self.get_trial, self._failed) if self._has_all_common(trial)]
        running = [trial for trial in map(self.get_trial, self._running) if self._has_all_common(trial)]
        shown = filled([*as_if_complete(ended, failed), *running], self.joint_space())
        self._told = sorted(shown, key=lambda trial: trial.number)

    def choose_shown(self) -> None:
        """Decide, for the next trial, what is shown: a function of the trials there are, however they came there."""
        self._told = None
        if self.num_ended <= NUM_BEST + NUM_LATEST:
            self._shown = None
            return
        best = {trial_id for *_, trial_id in self._ranked[:NUM_BEST]}
        self._shown = sorted(best | set(self._latest[-NUM_LATEST:]) | self._running)

    def common_space(self) -> Mapping[str, BaseDistribution]:
        """The parameters that every ended trial has, by name: what TPE models jointly."""
        return dict(sorted((self._common or {}).items()))

    def joint_space(self) -> Mapping[str, BaseDistribution]:
        """The parameters that any ended trial has, by name, but those whose range changed: what is told of them."""
        return {name: there for name, there in sorted(self._known.items()) if there is not None}

    def _has_all_common(self, trial: FrozenTrial) -> bool:
        common = self._common or {}
        return bool(trial.params) and all(trial.distributions.get(name) == there for name, there in common.items())

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Those shown; all that wait, to whoever asks for them."""
        if states == (TrialState.WAITING,) or (self._shown is None and self._told is None):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = self._told if self._told is not None else [self.get_trial(trial_id) for trial_id in self._shown or ()]
        return [trial for trial in trials if states is None or trial.state in states]


def _rank(trial: FrozenTrial) -> tuple[bool, float, float, int]:
    """TPE's order, best first: complete ones by value, then pruned ones by how far they came, then by value."""
    if trial.state == TrialState.COMPLETE:
        assert trial.value is not None
        return False, -trial.value, 0.0, trial._trial_id
    step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
    return True, -step, -value, trial._trial_id

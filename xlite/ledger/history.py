"""The trials of a study in memory, and what a sampler is shown of them: a long study asks as quickly as a short one."""

from bisect import insort
from collections.abc import Container, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from xlite.ledger.spread import spread

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
        self._latest: list[int] = []
        self._running: set[int] = set()
        self._common: dict[str, BaseDistribution] | None = None
        self._shown: list[int] | None = None

    def note_started(self, trial: FrozenTrial) -> None:
        """A trial runs."""
        self._running.add(trial._trial_id)

    def note_ended(self, trial: FrozenTrial) -> None:
        """A trial ended, or is met for the first time."""
        self._running.discard(trial._trial_id)
        if trial.state not in ENDED:
            return
        self.num_ended += 1
        insort(self._ranked, _rank(trial))
        insort(self._latest, trial._trial_id)
        there = trial.distributions if self._common is None else self._common
        self._common = {name: there[name] for name in there if trial.distributions.get(name) == there[name]}

    def choose_shown(self) -> None:
        """Decide, for the next trial, what is shown: a function of the trials there are, however they came there."""
        if self.num_ended <= NUM_BEST + NUM_LATEST:
            self._shown = None
            return
        best = {trial_id for *_, trial_id in self._ranked[:NUM_BEST]}
        self._shown = sorted(best | set(self._latest[-NUM_LATEST:]) | self._running)

    def common_space(self) -> Mapping[str, BaseDistribution]:
        """The parameters that every ended trial has, by name: what TPE models jointly."""
        return dict(sorted((self._common or {}).items()))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Those shown; all that wait, to whoever asks for them."""
        if self._shown is None or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = [self.get_trial(trial_id) for trial_id in self._shown]
        return [trial for trial in trials if states is None or trial.state in states]


class Tpe(optuna.samplers.TPESampler):
    """Optuna's TPE; it is told the common space, instead of going through all trials for each new one."""

    def __init__(self, history: History, *, num_startup: int, seed: int, study_seed: int) -> None:
        num_shown_at_most = NUM_BEST + NUM_LATEST
        self._begins = history.num_ended < num_startup
        super().__init__(n_startup_trials=max(num_startup, num_shown_at_most * 2) if self._begins else 0, seed=seed)
        self._history, self._num_startup, self._study_seed = history, num_startup, study_seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As Optuna's `IntersectionSearchSpace`, without parameters of one value."""
        return {name: there for name, there in self._history.common_space().items() if not there.single()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Before there is anything to model: its part of the range."""
        if not self._begins:
            return super().sample_independent(study, trial, param_name, param_distribution)
        place = {"trial": trial.number, "num_trials": self._num_startup, "seed": self._study_seed}
        return spread(param_name, param_distribution, **place)


def _rank(trial: FrozenTrial) -> tuple[bool, float, float, int]:
    """TPE's order, best first: complete ones by value, then pruned ones by how far they came, then by value."""
    if trial.state == TrialState.COMPLETE:
        assert trial.value is not None
        return False, -trial.value, 0.0, trial._trial_id
    step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
    return True, -step, -value, trial._trial_id

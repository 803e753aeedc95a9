"""The trials of a study in memory, and what a sampler is shown of them: a long study asks as quickly as a short one."""

from bisect import insort
from collections.abc import Container, Mapping, Sequence
from copy import copy
from statistics import fmean

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

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
        self._failed: list[int] = []
        self._common: dict[str, BaseDistribution] | None = None
        self._shown: list[int] | None = None
        self._estimated: dict[int, FrozenTrial] | None = None

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
        insort(self._latest, trial._trial_id)
        there = trial.distributions if self._common is None else self._common
        self._common = {name: there[name] for name in there if trial.distributions.get(name) == there[name]}

    def show_all_as_complete(self) -> None:
        """Show, for the next trial, whatever ended as complete, to a sampler that knows no other trials.

        A stopped one with the value that it would have come to: its own, and what complete ones still gained after that
        epoch, on average. A failed one, or one above a limit, with the lowest of all, so that its like is left alone;
        of these no more than of the others, and none that failed while it was being asked for.
        """
        ended = [self.get_trial(trial_id) for trial_id in self._latest]
        curves = [trial.intermediate_values for trial in ended if trial.state == TrialState.COMPLETE]
        self._estimated = {trial._trial_id: _as_complete(trial, _value(trial, curves)) for trial in ended}
        worst = min((trial.value or 0.0 for trial in self._estimated.values()), default=0.0)
        failed = [trial for trial in map(self.get_trial, self._failed) if self._has_all_common(trial)]
        self._estimated |= {trial._trial_id: _as_complete(trial, worst) for trial in failed[-len(ended) :]}

    def choose_shown(self) -> None:
        """Decide, for the next trial, what is shown: a function of the trials there are, however they came there."""
        self._estimated = None
        if self.num_ended <= NUM_BEST + NUM_LATEST:
            self._shown = None
            return
        best = {trial_id for *_, trial_id in self._ranked[:NUM_BEST]}
        self._shown = sorted(best | set(self._latest[-NUM_LATEST:]) | self._running)

    def common_space(self) -> Mapping[str, BaseDistribution]:
        """The parameters that every ended trial has, by name: what TPE models jointly."""
        return dict(sorted((self._common or {}).items()))

    def _has_all_common(self, trial: FrozenTrial) -> bool:
        return all(trial.distributions.get(name) == there for name, there in (self._common or {}).items())

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Those shown; all that wait, to whoever asks for them."""
        if states == (TrialState.WAITING,) or (self._shown is None and self._estimated is None):
            return super().get_all_trials(study_id, deepcopy, states)
        if self._estimated is not None:
            running = {trial_id: self.get_trial(trial_id) for trial_id in self._running}
            trials = [trial for _, trial in sorted((self._estimated | running).items())]
        else:
            trials = [self.get_trial(trial_id) for trial_id in self._shown or ()]
        return [trial for trial in trials if states is None or trial.state in states]


def _rank(trial: FrozenTrial) -> tuple[bool, float, float, int]:
    """TPE's order, best first: complete ones by value, then pruned ones by how far they came, then by value."""
    if trial.state == TrialState.COMPLETE:
        assert trial.value is not None
        return False, -trial.value, 0.0, trial._trial_id
    step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
    return True, -step, -value, trial._trial_id


def _as_complete(trial: FrozenTrial, value: float) -> FrozenTrial:
    out = copy(trial)
    out.state, out.values = TrialState.COMPLETE, [value]
    return out


def _value(trial: FrozenTrial, complete: Sequence[Mapping[int, float]]) -> float:
    """A complete trial's own; else what `complete` curves, best so far by epoch, let expect of it."""
    epoch, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
    value = value if trial.value is None else trial.value
    if trial.state == TrialState.COMPLETE:
        return value
    gains = [max(curve.values()) - curve[epoch] for curve in complete if epoch in curve]
    return value + (fmean(gains) if gains else 0.0)

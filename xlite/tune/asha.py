"""Ray's ASHA with what a continued study needs: rungs refilled from the ledger, and a note of which trials it stopped.

The one file that reads private names of Ray (`_Bracket`, `_brackets`, `_rungs`); tests/tune/test_asha.py names the
version.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.schedulers.async_hyperband import _Bracket

from xlite.ledger.objectives import Objectives, costs_of
from xlite.models.limits import Cost
from xlite.samplers.pareto import best_first
from xlite.study.rungs import REDUCTION_FACTOR

EPOCH_KEY, VALUE_KEY = "epoch", "value"
"""Keys of a trial's results: epochs done, and the best validation metric so far."""


class FrontBracket(_Bracket):
    """One bracket of multi-objective ASHA: what counts is a trial's place in `pareto.best_first` of its rung.

    So a third of the trials go on, as with one objective: the best one, and beside it the cheap ones that none beats.

    Attributes:
        costs: what each trial costs, upward, by its Ray id; known from its start.
    """

    def __init__(self, max_epochs: int, grace_epochs: int) -> None:
        super().__init__(grace_epochs, max_epochs, REDUCTION_FACTOR, 0)
        self.costs: dict[str, tuple[float, ...]] = {}

    def on_result(self, trial: Any, cur_iter: int, cur_rew: float) -> str:
        """Whether a trial goes on from the highest rung that it has reached and was not compared at."""
        for milestone, recorded in self._rungs:
            if cur_iter >= milestone and trial.trial_id not in recorded:
                recorded[trial.trial_id] = (cur_rew, *self.costs[trial.trial_id])
                kept = best_first(np.array(list(recorded.values())))[: math.ceil(len(recorded) / self.rf)]
                return TrialScheduler.CONTINUE if len(recorded) - 1 in kept else TrialScheduler.STOP
        return TrialScheduler.CONTINUE


class ResumableASHA(ASHAScheduler):
    """ASHA on the best value so far, with one bracket: a trial outside the best third of its rung is stopped.

    Args:
        objectives: of the study. What a trial costs counts beside its value, see `FrontBracket`; other metrics do not,
            since only the value has a curve from which the rungs of a continued study can be filled again.

    Attributes:
        stopped: Ray ids of the trials it stopped; Ray tells a searcher only that a trial ended.
    """

    def __init__(self, max_epochs: int, grace_epochs: int, objectives: Objectives = ()) -> None:
        super().__init__(
            time_attr=EPOCH_KEY,
            metric=VALUE_KEY,
            mode="max",
            max_t=max_epochs,
            grace_period=grace_epochs,
            reduction_factor=REDUCTION_FACTOR,
            brackets=1,
        )
        self.stopped: set[str] = set()
        self.objectives = objectives
        self._front: FrontBracket | None = None
        if any(each.is_cost for each in objectives):
            self._front = FrontBracket(max_epochs, grace_epochs)
            self._brackets = [self._front]

    def know(self, trial_id: str, cost: Cost | None) -> None:
        """Hear what a trial's student costs, before the trial's first epoch."""
        if self._front is not None:
            self._front.costs[trial_id] = costs_of(cost, self.objectives)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray's decision on one result, noted when it is to stop."""
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            self.stopped.add(trial.trial_id)
        return decision

    def replay(
        self, curves: Mapping[int, Mapping[int, float]], costs: Mapping[int, Cost | None] = MappingProxyType({})
    ) -> None:
        """Fill the rungs with the curves of ended trials, by number; Ray's own snapshots leave the scheduler out."""
        for number in sorted(curves):
            self.know(f"ledger-{number}", costs.get(number))
            self._replay(f"ledger-{number}", curves[number])

    def replay_unfinished(self, trial_id: str, curve: Mapping[int, float]) -> None:
        """Fill the rungs with what an interrupted trial reported, under the id it continues with.

        Its last epoch is left out: the trial reports it again, since it may not have been decided on.
        """
        self._replay(trial_id, {epoch: curve[epoch] for epoch in sorted(curve)[:-1]})

    def forget(self, trial_id: str) -> None:
        """Remove a trial from the rungs: it continues under another id and must count once."""
        for bracket in self._brackets:
            for _, recorded in bracket._rungs:
                recorded.pop(trial_id, None)

    def _replay(self, trial_id: str, curve: Mapping[int, float]) -> None:
        state = np.random.get_state()  # noqa: NPY002  Ray draws its (only) bracket from the global generator
        stand_in = SimpleNamespace(trial_id=trial_id)
        self.on_trial_add(None, stand_in)
        for epoch in sorted(curve):
            super().on_trial_result(None, stand_in, {EPOCH_KEY: epoch, VALUE_KEY: curve[epoch]})
        self.on_trial_remove(None, stand_in)
        np.random.set_state(state)  # noqa: NPY002

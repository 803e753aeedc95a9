"""The bridge between Ray and the ledger: Ray asks for configurations and tells results, the ledger keeps them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from xlite.config import ModelConfig
from xlite.errors import InputError
from xlite.ledger import Ledger
from xlite.models.cost import Cost
from xlite.tune.space import Propose
from xlite.tune.stopping import EPOCH_KEY, VALUE_KEY
from xlite.tune.trainable import FAILURE_KEY, FINISHED_KEY, SUMMARY_KEY

MAX_LEFT_OUT = 200
"""Proposals in a row above the size limits before the search gives up."""


@dataclass(frozen=True)
class Limits:
    """What a student may cost; None does not limit."""

    max_params: int | None = None
    max_mb: float | None = None
    max_latency_ms: float | None = None

    def broken_by(self, cost: Cost) -> str | None:
        """The first limit this cost breaks, in words, or None."""
        if self.max_params is not None and cost.num_params > self.max_params:
            return f"{cost.num_params / 1e6:.2f}M parameters > --max-params {self.max_params / 1e6:g}M"
        if self.max_mb is not None and cost.size_mb > self.max_mb:
            return f"{cost.size_mb:.1f} MB > --max-mb {self.max_mb:g}"
        if self.max_latency_ms is not None and cost.latency_ms is not None and cost.latency_ms > self.max_latency_ms:
            return f"{cost.latency_ms:.1f} ms > --max-latency-ms {self.max_latency_ms:g}"
        return None


class Observer(Protocol):
    """Hears of every trial: the live view, the leaderboard file."""

    def started(self, number: int, overrides: Mapping[str, Any]) -> None: ...
    def progressed(self, number: int, epoch: int, best_so_far: float) -> None: ...
    def ended(self, number: int, outcome: str, best_so_far: float | None, reason: str) -> None: ...


class LedgerSearch(Searcher):
    """Configurations from the ledger's sampler; every epoch and every end goes back into the ledger.

    Args:
        num_trials: how many more trials to start; those left out for their size do not count.
        cost_of: the cost of an overrides dict's model.
        stopped_by_scheduler: Ray trial ids that ASHA stopped; a trial that ended otherwise was interrupted.
    """

    def __init__(
        self,
        ledger: Ledger,
        propose: Propose,
        *,
        num_trials: int,
        limits: Limits,
        cost_of: Callable[[Mapping[str, Any]], tuple[ModelConfig, Cost]],
        stopped_by_scheduler: set[str],
        observer: Observer,
    ) -> None:
        super().__init__(metric=VALUE_KEY, mode="max")
        self.ledger, self.propose, self.remaining = ledger, propose, num_trials
        self.limits, self.cost_of, self.observer = limits, cost_of, observer
        self.stopped_by_scheduler = stopped_by_scheduler
        self.running: dict[str, int] = {}
        self.told: dict[str, int] = {}
        self.costs: dict[str, Cost] = {}
        self.failure: InputError | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next configuration within the limits; Ray calls this when a worker is free."""
        if self.remaining <= 0 or self.failure is not None:
            return Searcher.FINISHED
        for _ in range(MAX_LEFT_OUT):
            proposal = self.ledger.ask(self.propose)
            _, cost = self.cost_of(proposal.overrides)
            broken = self.limits.broken_by(cost)
            if broken is None:
                break
            self.ledger.finish(
                proposal.number, "failed", value=None, record={"reason": f"left out: {broken}", "left_out": True}
            )
        else:
            self.failure = InputError(
                f"{MAX_LEFT_OUT} students in a row were above the limits, the last with {broken}; raise the limit or "
                "add smaller backbones to the search space"
            )
            return Searcher.FINISHED
        self.remaining -= 1
        self.running[trial_id], self.costs[trial_id] = proposal.number, cost
        self.observer.started(proposal.number, proposal.overrides)
        return {"number": proposal.number, "overrides": proposal.overrides}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """One more epoch."""
        epoch = result.get(EPOCH_KEY)
        if epoch is None or epoch <= self.told.get(trial_id, 0):
            return
        self.told[trial_id] = epoch
        self.ledger.report(self.running[trial_id], epoch, result[VALUE_KEY])
        self.observer.progressed(self.running[trial_id], epoch, result[VALUE_KEY])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended: by itself, by ASHA, by an error; or it was interrupted and stays open in the ledger."""
        if trial_id not in self.running:
            return
        result = result or {}
        self.on_trial_result(trial_id, result)
        outcome = self.outcome(trial_id, result, error)
        if outcome is None:
            return
        number = self.running.pop(trial_id)
        record = json.loads(result.get(SUMMARY_KEY, "{}"))
        cost = self.costs.pop(trial_id)
        record["cost"] = {"num_params": cost.num_params, "size_mb": cost.size_mb, "latency_ms": cost.latency_ms}
        value = None if outcome == "failed" else result[VALUE_KEY]
        reason = ""
        if outcome == "failed":
            reason = record["reason"] = result.get(FAILURE_KEY) or "its worker process died (out of memory, or killed)"
        self.ledger.finish(number, outcome, value=value, record=record)
        self.observer.ended(number, outcome, value, reason)

    def outcome(self, trial_id: str, result: Mapping[str, Any], error: bool) -> Any:
        """ "complete", "pruned" or "failed"; None for a trial that the end of the search cut off."""
        if error or FAILURE_KEY in result:
            return "failed"
        if result.get(FINISHED_KEY):
            return "complete"
        return "pruned" if trial_id in self.stopped_by_scheduler else None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles a searcher for its own restore, which is not used: the ledger is the record

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the record."""


def remember_stops(scheduler: ASHAScheduler, stopped: set[str]) -> ASHAScheduler:
    """Make `scheduler` note the id of every trial it stops; Ray tells a searcher only that a trial ended."""
    decide = scheduler.on_trial_result

    def noting(controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision = decide(controller, trial, result)
        if decision == TrialScheduler.STOP:
            stopped.add(trial.trial_id)
        return decision

    scheduler.on_trial_result = noting
    return scheduler

"""The bridge between Ray and the ledger: Ray asks for configurations and tells results, the ledger keeps them."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from xlite.config import ModelConfig
from xlite.errors import InputError
from xlite.gpu.memory_policy import Attempt, after_out_of_memory, after_shared_faults
from xlite.ledger import Ledger, Outcome, TrialRecord, TrialResult
from xlite.models.limits import Cost, Limits
from xlite.study.space import Propose
from xlite.train.summary import NO_RUN
from xlite.tune.asha import VALUE_KEY
from xlite.tune.messages import CutOff, EpochDone, Failed, GpuFaults, HeldUp, Message, message_of

MAX_LEFT_OUT = 200
"""Proposals in a row above the size limits before the search gives up."""

SAME_FAILURES = 5
"""So many failures in a row for one reason (or a quarter of the trials, if that is more) end a search."""


MAX_UNBEGUN = 2
"""A trial whose worker died before its first epoch comes again so many times."""


class _Alike:
    """Counts failures in a row whose reasons differ in numbers at most."""

    def __init__(self, limit: int) -> None:
        self.limit, self.last, self.count = limit, "", 0

    def add(self, reason: str) -> bool:
        """Whether this end ("": no failure) makes `limit` alike in a row."""
        shape = re.sub(r"[\d.]+", "#", reason)
        self.count = self.count + 1 if reason and shape == self.last else int(bool(reason))
        self.last = shape
        return self.count >= self.limit


class Observer(Protocol):
    """Hears of every trial: the live view, the leaderboard file."""

    def started(self, number: int, overrides: Mapping[str, Any]) -> None: ...
    def progressed(self, number: int, epoch: int, best_so_far: float) -> None: ...
    def held_up(self, number: int, reason: str) -> None: ...
    def ended(self, number: int, outcome: str, best_so_far: float | None, reason: str) -> None: ...


class LedgerSearch(Searcher):
    """Configurations from the ledger's sampler; every epoch and every end goes back into the ledger.

    Args:
        num_trials: how many more trials to start; those left out for their size do not count.
        cost_of: the cost of an overrides dict's model.
        stopped_by_scheduler: Ray trial ids that ASHA stopped; a trial that ended otherwise was interrupted.
        unfinished: trials that an ended process left; they are given out first, and go on after their last epoch.
        on_taken_up: told the Ray trial id and the record of each of these.
        on_given_up: told the Ray trial id of a trial that comes again under another one.
        on_finished: told the number of a trial whose end is in the ledger.
        has_begun: whether a trial whose worker died had been in an epoch. Ray gives up a trial at once when a reused
            worker dies between two trials; such a one comes again, before any other.
        batch_size_of, share_of: the batch size and share of a GPU (0 on CPU) of an overrides dict's trial.
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
        unfinished: Sequence[TrialRecord] = (),
        on_taken_up: Callable[[str, TrialRecord], None] = lambda trial_id, row: None,
        on_given_up: Callable[[str], None] = lambda trial_id: None,
        on_finished: Callable[[int], None] = lambda number: None,
        has_begun: Callable[[int], bool] = lambda number: True,
        batch_size_of: Callable[[Mapping[str, Any]], int] = lambda overrides: 1,
        share_of: Callable[[Mapping[str, Any]], float] = lambda overrides: 0.0,
    ) -> None:
        super().__init__(metric=VALUE_KEY, mode="max")
        self.ledger, self.propose, self.remaining = ledger, propose, num_trials
        self.unfinished, self.on_taken_up, self.on_finished = list(unfinished), on_taken_up, on_finished
        self.batch_size_of, self.share_of, self.on_given_up = batch_size_of, share_of, on_given_up
        self.attempts: dict[int, Attempt] = {}
        self.alike = _Alike(max(SAME_FAILURES, num_trials // 4))
        self.limits, self.cost_of, self.observer = limits, cost_of, observer
        self.stopped_by_scheduler = stopped_by_scheduler
        self.running: dict[str, int] = {}
        self.told: dict[str, int] = {}
        self.best: dict[str, float] = {}
        self.costs: dict[str, Cost] = {}
        self.failure: InputError | None = None
        self.has_begun = has_begun
        self.unbegun: Counter[int] = Counter()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next configuration within the limits; Ray calls this when a worker is free."""
        if self.remaining <= 0 or self.failure is not None:
            return None if self.running else Searcher.FINISHED  # one of these may come again
        taken_up = self.take_up(trial_id) or self.ask()
        if taken_up is None:
            return Searcher.FINISHED
        number, overrides, cost = taken_up
        self.remaining -= 1
        self.running[trial_id], self.costs[trial_id] = number, cost
        attempt = self.attempts.setdefault(number, Attempt(self.batch_size_of(overrides), self.share_of(overrides)))
        self.observer.started(number, overrides)
        return {"number": number, "overrides": overrides, "share": attempt.share, "attempt": attempt.as_json()}

    def take_up(self, trial_id: str) -> tuple[int, dict[str, Any], Cost] | None:
        """The next trial that an ended process left unfinished, if there is one."""
        if not self.unfinished:
            return None
        row = self.unfinished.pop(0)
        self.told[trial_id], self.best[trial_id] = max(row.curve, default=0), max(row.curve.values(), default=-math.inf)
        self.on_taken_up(trial_id, row)
        return row.number, row.overrides, self.cost_of(row.overrides)[1]

    def ask(self) -> tuple[int, dict[str, Any], Cost] | None:
        """A new trial within the limits; None, and `failure` says why, when the space has none."""
        for _ in range(MAX_LEFT_OUT):
            proposal = self.ledger.ask(self.propose)
            _, cost = self.cost_of(proposal.overrides)
            broken = self.limits.broken_by(cost)
            if broken is None:
                return proposal.number, proposal.overrides, cost
            result = TrialResult(reason=f"left out: {broken}", left_out=True)
            self.ledger.finish(proposal.number, "failed", value=None, result=result)
        self.failure = InputError(
            f"{MAX_LEFT_OUT} students in a row were above the limits, the last with {broken}; raise the limit or "
            "add smaller backbones to the search space"
        )
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """One more epoch, or a trial that is held up."""
        message = message_of(result)
        if isinstance(message, HeldUp):
            self.observer.held_up(self.running[trial_id], message.reason)
        elif isinstance(message, EpochDone) and message.summary.epochs > self.told.get(trial_id, 0):
            summary, number = message.summary, self.running[trial_id]
            self.fill_in(trial_id, summary.epochs, summary.curve)
            self.told[trial_id] = summary.epochs
            best = self.best[trial_id] = max(summary.best_value, self.best.get(trial_id, -math.inf))
            self.ledger.report(number, summary.epochs, best)
            self.observer.progressed(number, summary.epochs, best)

    def fill_in(self, trial_id: str, epoch: int, curve: Sequence[float]) -> None:
        """Report the epochs between the last one told and `epoch`: the ledger may have lost them with the power."""
        for missing in range(self.told.get(trial_id, 0) + 1, min(epoch, len(curve) + 1)):
            self.ledger.report(self.running[trial_id], missing, max(curve[:missing]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended: by itself, by ASHA, by an error; or it was interrupted and stays open in the ledger."""
        if trial_id not in self.running:
            return
        self.on_trial_result(trial_id, result or {})
        message = message_of(result)
        if self.has_another_attempt(trial_id, message, error):
            self.come_again(trial_id)
            return
        outcome = self.outcome(trial_id, message, error)
        if isinstance(message, CutOff) and self.failure is None:
            self.failure = InputError(f"{message.reason}; mend that, then run the same command again")
        if outcome is None:
            return
        number = self.running.pop(trial_id)
        summary = message.summary if isinstance(message, EpochDone | Failed) else NO_RUN
        value, reason = None, ""
        if outcome == "failed":
            died = "its worker process died (out of memory, or killed)"
            reason = message.reason if isinstance(message, Failed) else died
        else:
            value = max(summary.best_value, self.best.get(trial_id, -math.inf))
        notes, cost = self.attempts.pop(number).notes, self.costs.pop(trial_id)
        ended = TrialResult(summary=summary, cost=cost, reason=reason, notes=notes)
        self.ledger.finish(number, outcome, value=value, result=ended)
        self.on_finished(number)
        self.observer.ended(number, outcome, value, reason)
        if self.failure is None and self.alike.add(reason):
            self.failure = InputError(f"{self.alike.limit} trials in a row failed for one reason: {reason}")

    def has_another_attempt(self, trial_id: str, message: Message | None, error: bool) -> bool:
        """Whether a trial comes again: with more memory, with the GPU to itself, or in a worker that lives."""
        number = self.running[trial_id]
        attempt: Attempt | None = self.attempts[number]
        if isinstance(message, Failed) and message.out_of_memory:
            attempt = after_out_of_memory(self.attempts[number])
        elif isinstance(message, GpuFaults):
            attempt = after_shared_faults(self.attempts[number], message.num_faults)
        elif not (error and not isinstance(message, Failed) and self.was_never_begun(trial_id)):
            return False
        if attempt is not None:
            self.attempts[number] = attempt
        return attempt is not None

    def was_never_begun(self, trial_id: str) -> bool:
        """Whether a trial's worker died before its first epoch, and not for the third time."""
        number = self.running[trial_id]
        self.unbegun[number] += not self.has_begun(number)
        return not self.has_begun(number) and self.unbegun[number] <= MAX_UNBEGUN

    def come_again(self, trial_id: str) -> None:
        """Give a trial out again, before any other, from its last epoch."""
        number = self.running.pop(trial_id)
        del self.costs[trial_id]
        self.unfinished.insert(0, next(row for row in self.ledger.rows() if row.number == number))
        self.remaining += 1
        self.on_given_up(trial_id)

    def outcome(self, trial_id: str, message: Message | None, error: bool) -> Outcome | None:
        """None for a trial that the end of the search cut off."""
        if error or isinstance(message, Failed):
            return "failed"
        if isinstance(message, EpochDone) and message.finished:
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

"""The bridge between Ray and the ledger: Ray asks for configurations and tells results, the ledger keeps them."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from xlite.errors import InputError, SpaceError
from xlite.gpu.memory_policy import Attempt, after_out_of_memory, after_shared_faults
from xlite.ledger import Ledger, Outcome, Proposal, Refused, TrialRecord, TrialResult
from xlite.ledger.objectives import scalars_of
from xlite.study.candidates import Candidate, Candidates
from xlite.study.job import Assignment, TrialFolders
from xlite.study.time_budget import TimeBudget
from xlite.study.view import SearchView
from xlite.train.summary import NO_RUN
from xlite.tune.asha import VALUE_KEY, ResumableASHA
from xlite.tune.deadline import Deadline
from xlite.tune.messages import CutOff, EpochDone, Failed, GpuFaults, HeldUp, Message, message_of

MAX_LEFT_OUT = 200
"""Proposals in a row above the size limits before the search gives up."""

MIN_DRAWS, MAX_DRAWS, DRAWS_PER_TRIED = 1_000, 20_000, 20
"""Random draws without anything new before a space counts as exhausted: the last for each configuration tried."""

SAME_FAILURES = 5
"""So many failures in a row for one reason (or a quarter of the trials, if that is more) end a search."""


MAX_UNBEGUN = 2
"""A trial whose worker died before its first epoch is retried this many times."""


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


@dataclass
class _Running:
    """A trial that Ray runs, the epoch and best value reported so far, and whether it waits for its disk."""

    number: int
    candidate: Candidate
    epoch: int = 0
    best: float = -math.inf
    is_held_up: bool = False


class LedgerSearch(Searcher):
    """Configurations from the ledger's sampler; every epoch and every end goes back into the ledger.

    Trials that an ended process left unfinished are given out first, under their own numbers. Students above the
    limits are recorded as left out and do not count. Proposals that do not resolve are recorded as failed. What trains
    the same as an earlier trial, failed ones among them, is not proposed again. Ray gives up a trial at once when a
    reused worker dies between two trials; such a trial is given out again, before any other.

    Args:
        num_trials: how many more trials to start.
        asha: what stops trials; None where all run to the end.
        observer: hears of every trial.

    Attributes:
        deadline: none unless it is set.
    """

    def __init__(
        self,
        ledger: Ledger,
        candidates: Candidates,
        folders: TrialFolders,
        asha: ResumableASHA | None,
        observer: SearchView,
        *,
        num_trials: int,
    ) -> None:
        super().__init__(metric=VALUE_KEY, mode="max")
        self.ledger, self.candidates, self.folders = ledger, candidates, folders
        self.asha, self.observer, self.remaining = asha, observer, num_trials
        self.unfinished = ledger.unfinished()
        self.running: dict[str, _Running] = {}
        self.attempts: dict[int, Attempt] = {}
        self.unbegun: Counter[int] = Counter()
        self.alike = _Alike(max(SAME_FAILURES, num_trials // 4))
        self.failure: InputError | None = None
        self.exhausted = False
        self.tried = {candidates.identity(row.overrides) for row in ledger.rows() if not self.is_open(row)}
        self.deadline = Deadline(TimeBudget())

    def is_open(self, row: TrialRecord) -> bool:
        """Whether a student was left out for a limit that it no longer exceeds."""
        try:
            return row.left_out and self.candidates.resolve(row.overrides).broken_limit is None
        except InputError:
            return False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """{"assignment": Assignment} of the next trial; Ray calls this when a worker is free."""
        try:
            trial = self.resume(trial_id) or self.ask()
        except InputError as error:
            self.failure, trial = error, None
        if trial is None:
            return None if self.running else Searcher.FINISHED  # one of these may be retried
        self.remaining -= 1
        self.running[trial_id] = trial
        candidate = trial.candidate
        if self.asha is not None:
            self.asha.know(trial_id, candidate.cost)
        config = candidate.config
        fresh = Attempt(config.optim.batch_size, candidate.gpu_share, config.train.micro_batches)
        attempt = self.attempts.setdefault(trial.number, fresh)
        config = config.override({"train.micro_batches": attempt.accumulation}, source="attempt")
        self.observer.started(trial.number, candidate.overrides)
        return {"assignment": Assignment(trial.number, candidate.overrides, config, attempt)}

    @property
    def is_held_back(self) -> bool:
        """Whether the time is over before the trials."""
        return self.remaining > 0 and not self.exhausted and not self.deadline.time_budget.may_start()

    @property
    def goes_on(self) -> bool:
        """Whether another trial is wanted."""
        return self.remaining > 0 and not self.is_held_back and self.failure is None

    def resume(self, trial_id: str) -> "_Running | None":
        """The next trial that an ended process left unfinished, if there is one."""
        while self.unfinished and self.goes_on:
            row = self.unfinished.pop(0)
            candidate = self.resolve(Proposal(row.number, dict(row.overrides)))
            if candidate is None:
                continue
            self.folders.forget_interruption(row.number)
            if self.asha is not None:
                self.asha.know(trial_id, candidate.cost)
                self.asha.replay_unfinished(trial_id, row.curve)
            reached = max(row.curve.values(), default=-math.inf)
            return _Running(row.number, candidate, max(row.curve, default=0), reached)
        return None

    def ask(self) -> "_Running | None":
        """A new trial within the limits; None where none is wanted, or the space has none that is new.

        Raises:
            InputError: the space fails, or has too few students within the limits.
        """
        limits_broken: list[str] = []
        while self.goes_on and not self.exhausted:
            proposal = self.propose()
            candidate = None if proposal is None else self.resolve(proposal)
            if proposal is None or candidate is None:
                continue
            if candidate.broken_limit is None:
                return _Running(proposal.number, candidate)
            result = TrialResult(reason=f"left out: {candidate.broken_limit}", left_out=True)
            self.ledger.finish(proposal.number, "failed", value=None, result=result)
            limits_broken.append(candidate.broken_limit)
            if len(limits_broken) == MAX_LEFT_OUT:
                raise InputError(
                    f"{MAX_LEFT_OUT} students in a row were above the limits, the last with {limits_broken[-1]}; raise "
                    "the limit or add smaller backbones to the search space"
                )
        return None

    def propose(self) -> Proposal | None:
        """A trial that the ledger has started: nothing that was tried before, unless it was queued."""
        space, tried = self.candidates.space, self.tried
        num_draws = 0 if space.is_grid else min(max(MIN_DRAWS, DRAWS_PER_TRIED * len(tried)), MAX_DRAWS)

        def is_new(overrides: Mapping[str, Any]) -> bool:
            return not space.is_grid and self.candidates.identity(overrides) not in tried

        try:
            proposal = self.ledger.ask_new(space.propose, is_new, num_draws=num_draws)
        except Refused as refused:
            self.end_unrun(refused.proposal, str(refused))
            return None
        if proposal is None:
            self.exhausted = True
        else:
            tried.add(self.candidates.identity(proposal.overrides))
        return proposal

    def resolve(self, proposal: Proposal) -> Candidate | None:
        """A started trial's candidate; where it does not resolve the trial has failed, and is None."""
        try:
            return self.candidates.resolve(proposal.overrides)
        except InputError as error:
            self.ledger.finish(proposal.number, "failed", value=None, result=TrialResult(reason=str(error)))
            self.end_unrun(proposal, str(error))
            return None

    def end_unrun(self, proposal: Proposal, reason: str) -> None:
        """Count a trial that failed before it could run; too many for one reason are the space's failure."""
        self.remaining -= 1
        self.observer.started(proposal.number, proposal.overrides)
        self.observer.ended(proposal.number, "failed", None, reason)
        if self.alike.add(reason):
            self.failure = SpaceError(f"{self.alike.limit} trials in a row failed for one reason: {reason}")

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record one more epoch, or say what holds the trial up."""
        self.note(lambda: self.take(trial_id, result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended: by itself, by ASHA, by an error; or it was interrupted and stays open in the ledger."""
        if trial_id in self.running:
            self.note(lambda: self.end(trial_id, result or {}, error))

    def note(self, write: Callable[[], None]) -> None:
        """Write to the ledger; where it is out of reach for good the search ends at once, its trials still open.

        To Ray an error raised here would be the trial's failure.
        """
        if self.deadline.is_over:
            return
        try:
            write()
        except InputError as error:
            self.failure, self.deadline.is_over = error, True

    def take(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """What a trial reports."""
        message, trial = message_of(result), self.running[trial_id]
        if isinstance(message, HeldUp):
            if not trial.is_held_up:  # it says so every second
                self.observer.held_up(trial.number, message.reason)
            trial.is_held_up = True
        elif isinstance(message, EpochDone) and message.summary.epochs > trial.epoch:
            summary = message.summary
            self.fill_in(trial, summary.epochs, summary.curve)
            trial.epoch, trial.best = summary.epochs, max(summary.best_value, trial.best)
            trial.is_held_up = False
            self.ledger.report(trial.number, trial.epoch, trial.best)
            self.observer.progressed(trial.number, trial.epoch, trial.best)

    def fill_in(self, trial: _Running, epoch: int, curve: Sequence[float]) -> None:
        """Report the epochs between the last one reported and `epoch`: a loss of power may have taken them."""
        for missing in range(trial.epoch + 1, min(epoch, len(curve) + 1)):
            self.ledger.report(trial.number, missing, max(curve[:missing]))

    def end(self, trial_id: str, result: Mapping[str, Any], error: bool) -> None:
        """How a trial ended, with what it reported last."""
        self.take(trial_id, result)
        message = message_of(result)
        if self.has_another_attempt(trial_id, message, error):
            self.reschedule(trial_id)
            return
        if isinstance(message, CutOff):
            reason = f"{message.reason}; fix that, then run the same command again"
            self.failure = self.failure or InputError(reason)
            del self.running[trial_id]  # else Ray would wait for it
            return
        outcome = self.outcome(trial_id, message, error)
        if outcome is None:
            return
        trial = self.running.pop(trial_id)
        summary = message.summary if isinstance(message, EpochDone | Failed) else NO_RUN
        value, reason = None, ""
        if outcome == "failed":
            died = "its worker process died (out of memory, or killed)"
            reason = message.reason if isinstance(message, Failed) else died
        else:
            value = max(summary.best_value, trial.best)
        notes = self.attempts.pop(trial.number).notes
        ended = TrialResult(summary=summary, cost=trial.candidate.cost, reason=reason, notes=notes)
        self.ledger.finish(trial.number, outcome, value=value, result=ended)
        scalars = scalars_of(ended, self.ledger.objectives)
        self.folders.record_end(
            trial.number, trial.candidate.overrides, state=outcome, epoch=trial.epoch, scalars=scalars
        )
        self.folders.remove_checkpoints(trial.number)
        self.observer.ended(trial.number, outcome, value, reason)
        if self.failure is None and self.alike.add(reason):
            self.failure = InputError(f"{self.alike.limit} trials in a row failed for one reason: {reason}")

    def has_another_attempt(self, trial_id: str, message: Message | None, error: bool) -> bool:
        """Whether a trial is retried: with more memory, with the GPU to itself, or in a worker that lives."""
        number = self.running[trial_id].number
        attempt: Attempt | None = self.attempts[number]
        if isinstance(message, Failed) and message.out_of_memory:
            attempt = after_out_of_memory(self.attempts[number])
        elif isinstance(message, GpuFaults):
            attempt = after_shared_faults(self.attempts[number], message.num_faults)
        elif not (error and not isinstance(message, Failed) and self.was_never_begun(number)):
            return False
        if attempt is not None:
            self.attempts[number] = attempt
        return attempt is not None

    def was_never_begun(self, number: int) -> bool:
        """Whether a trial's worker died before its first epoch, and not for the third time."""
        has_begun = self.folders.has_begun(number)
        self.unbegun[number] += not has_begun
        return not has_begun and self.unbegun[number] <= MAX_UNBEGUN

    def reschedule(self, trial_id: str) -> None:
        """Give a trial out again, before any other, from its last epoch."""
        number = self.running.pop(trial_id).number
        self.unfinished.insert(0, next(row for row in self.ledger.rows() if row.number == number))
        self.remaining += 1
        if self.asha is not None:
            self.asha.forget(trial_id)

    def outcome(self, trial_id: str, message: Message | None, error: bool) -> Outcome | None:
        """How a trial ended; None for one that the end of the search cut off."""
        if error or isinstance(message, Failed):
            return "failed"
        if isinstance(message, EpochDone) and message.finished:
            return "complete"
        return "pruned" if self.asha is not None and trial_id in self.asha.stopped else None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles a searcher for its own restore, which is not used: the ledger is the record

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the record."""

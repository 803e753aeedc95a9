"""A study in Optuna's database: asked for trials, and told their curves and ends, by trial number."""

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from xlite.errors import InputError
from xlite.ledger.mark import Mark
from xlite.ledger.objectives import Objectives, objectives_of, others_of, recorded_others, winner_of
from xlite.ledger.proposals import Proposal, Refused
from xlite.ledger.rdb import open_storage
from xlite.ledger.reads import TestRead, reads_in
from xlite.ledger.records import NO_RESULT, OUTCOMES, STATES, Outcome, Phase, TrialRecord, TrialResult, read_by, row_of
from xlite.ledger.retry import Retry, shown_url
from xlite.ledger.sisters import BASELINE, FINAL, RESERVED, add_once, load, name_value, trials_of
from xlite.ledger.study_lock import StudyLock
from xlite.ledger.writer import QUEUED, TrialWriter, plain, running_trial, waiting_trial
from xlite.samplers.sampling import NUM_STARTUP, Sampling, Space, suggestions

_MARK = "place"
"""Key of a study's `Mark`."""


class NoStudyError(InputError):
    """A database has no study of that name."""


class Ledger:
    """A study that maximises its value. One process at a time may drive it; any number may read it.
    Of several objectives the value, which has curves, is the first; the others are in the trials' records.

    Calls are atomic and idempotent: their result is in the database when they return, and one that was interrupted can
    be repeated. They are retried while the database is locked, full or unreachable. Sampling runs on a copy in memory,
    made on first use.
    """

    def __init__(
        self,
        storage: optuna.storages.RDBStorage,
        name: str,
        phase: Phase,
        retry: Retry,
        *,
        seed: int,
        num_startup: int,
    ) -> None:
        """Use `Ledger.open`."""
        self.name, self.url, self.phase = name, retry.url, phase
        self._storage, self._seed, self._num_startup, self._retry = storage, seed, num_startup, retry
        self._study = load(storage, name)
        self._writer = TrialWriter(storage, storage.get_study_id_from_name(name), retry)
        self._lock = StudyLock(storage.engine, name, retry)
        self._memory: Sampling | None = None

    @classmethod
    def open(
        cls,
        storage_url: str,
        name: str,
        *,
        create: bool,
        phase: Literal["search", "baseline"] = "search",
        seed: int = 0,
        num_startup: int = NUM_STARTUP,
        metadata: Mapping[str, Any] | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> Self:
        """Open a study.

        Args:
            name: of the study.
            create: create the study if it does not exist.
            phase: "baseline" opens the study's baselines, a sister study, instead of its search.
            seed: of the sampler.
            num_startup: ended trials before the sampler fits a model.
            metadata: JSON to store with a new study; its "metric" names the value in Optuna's dashboard.
            on_wait: called with a line when a call starts to wait; None: standard error.

        Raises:
            InputError: no such study and not `create` (the message lists the existing ones); the database cannot be
                opened.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if name.endswith(RESERVED):
            raise InputError(f"study name {name!r}: names ending in {' or '.join(RESERVED)} are reserved")
        if phase == "baseline":
            name += BASELINE
        retry = Retry(storage_url, on_wait=on_wait)
        storage = open_storage(storage_url, create=create, retry=retry)
        names = retry(lambda: optuna.get_all_study_names(storage)) if storage else []
        if storage is None or (name not in names and not create):
            if storage is not None:
                storage.engine.dispose()
            existing = ", ".join(sorted(n for n in names if not n.endswith(RESERVED))) or "none"
            raise NoStudyError(f"no study {name!r} in {shown_url(storage_url)}; studies there: {existing}")

        ledger = retry(lambda: cls(storage, name, phase, retry, seed=seed, num_startup=num_startup))
        if metadata is not None and not set(metadata) <= set(stored := ledger.metadata):
            retry(lambda: ledger._study.set_user_attr("metadata", {**plain(metadata), **stored}))
        if metadata is not None and "metric" in metadata:
            retry(lambda: name_value(ledger._study, metadata["metric"]))
        return ledger

    @classmethod
    def find(cls, storage_url: str, name: str) -> Self | None:
        """The search of a study, or None where there is no such study, or no such database.

        Raises:
            InputError: as `open`.
        """
        try:
            return cls.open(storage_url, name, create=False)
        except NoStudyError:
            return None

    def close(self) -> None:
        """Release the study and close the database connections; a later call to read or to promote connects anew."""
        self._lock.release()
        self._storage.remove_session()
        self._storage.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def study_id(self) -> int:
        """Its number in the database, as in the addresses of Optuna's dashboard."""
        return self._retry(lambda: self._storage.get_study_id_from_name(self.name))

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata stored when the study was created."""
        return self._retry(lambda: self._study.user_attrs).get("metadata", {})

    @cached_property
    def objectives(self) -> Objectives:
        """The objectives stored when the study was created, the value first; () of one that has the value alone."""
        return objectives_of(self.metadata.get("objectives", ()))

    @property
    def mark(self) -> Mark:
        """Whose study this is."""
        stored = self._retry(lambda: self._study.user_attrs).get(_MARK, {})
        return Mark(stored.get("identity", ""), Path(stored["folder"]) if "folder" in stored else None)

    def set_mark(self, mark: Mark) -> None:
        """Say whose study this is; of baselines their search's, which is created if it is not there."""
        stored = {"identity": mark.identity} | ({} if mark.folder is None else {"folder": str(mark.folder)})
        name = self.name.removesuffix(BASELINE)

        def set_once() -> None:
            study = load(self._storage, name)
            if study.user_attrs.get(_MARK) != stored:
                study.set_user_attr(_MARK, stored)

        self._retry(set_once)

    def unfinished(self) -> list[TrialRecord]:
        """The running trials by number; before the first `ask`, those that an earlier process left to be resumed.

        Raises:
            InputError: another process runs this study.
        """
        self._lock.acquire()
        running = [row for row in self.rows() if row.state == "running"]
        for row in running:
            if row.reason:  # interrupted while being recorded as failed
                self.finish(row.number, "failed", value=None, result=row)
        return [row for row in running if not row.reason]

    def enqueue(self, overrides: Mapping[str, Any], *, note: str | None = None) -> None:
        """Queue a trial with these values; the space suggests the others. `note` becomes the first of the row's notes.

        Raises:
            InputError: another process runs this study.
        """
        self._lock.acquire()
        self._enqueue(overrides, note, None)

    def queue(self, configurations: Sequence[Mapping[str, Any]], notes: Sequence[str | None] | None = None) -> None:
        """Enqueue the study's first configurations, once; a later call only completes an interrupted one.

        Args:
            configurations: dotted keys each.
            notes: one for each configuration.

        Raises:
            InputError: another process runs this study.
        """
        self._lock.acquire()
        stored = self._retry(lambda: self._study.user_attrs).get("queue")
        if stored is None:
            pairs = zip(configurations, [None] * len(configurations) if notes is None else notes, strict=True)
            stored = [{"overrides": plain(overrides), "note": note} for overrides, note in pairs]
            self._retry(lambda: self._study.set_user_attr("queue", stored))
        enqueued = {trial.system_attrs.get(QUEUED) for trial in self._trials()}
        for position, item in enumerate(stored):
            if position not in enqueued:
                self._enqueue(item["overrides"], item["note"], position)

    def _enqueue(self, overrides: Mapping[str, Any], note: str | None, position: int | None) -> None:
        memory, self._memory = self._sampling(), None  # read again from the database if this raises
        trial = waiting_trial(overrides, note, position)
        self._writer.create(memory.num_trials, trial)
        memory.add(trial)
        self._memory = memory

    def ask(self, space: Space) -> Proposal:
        """Start the next trial: an enqueued one if there is any, else one that the sampler suggests.

        Interrupted, it leaves no trial, a complete running one, or the enqueued one still waiting.

        Args:
            space: returns every parameter it suggests, under its name and unchanged, and any constants.

        Raises:
            Refused: an enqueued value lies outside of `space`; that trial is recorded as failed.
            InputError: `space` fails, or breaks this rule or one of Optuna's; another process runs this study.
        """
        proposal = self.ask_new(space, lambda overrides: True, num_draws=0)
        assert proposal is not None
        return proposal

    def ask_new(self, space: Space, is_new: Callable[[dict[str, Any]], bool], *, num_draws: int) -> Proposal | None:
        """As `ask`, but what is not new is not stored: it is drawn again, at random.

        Args:
            is_new: of overrides; enqueued ones start in any case.
            num_draws: random draws before it gives up.

        Returns:
            None where no draw was new; nothing is stored then.
        """
        self._lock.acquire()
        memory, self._memory = self._sampling(), None
        trial, enqueued = memory.start()
        number = trial.number
        try:
            overrides = {**suggestions(space, trial), **(enqueued or {})}
        except InputError as error:
            if enqueued is None or not isinstance(error.__cause__, ValueError):
                raise  # an error of the space, which leaves an enqueued trial waiting
            self._writer.refuse(number, enqueued, str(error))
            raise Refused(str(error), Proposal(number, enqueued)) from error
        if enqueued is None and not is_new(overrides):
            if (redrawn := memory.redraw(number, space, is_new, num_draws=num_draws)) is None:
                return None
            overrides = redrawn
        if enqueued is None:
            self._writer.create(number, running_trial(overrides, memory.trial(number)))
        else:
            self._writer.start(number, overrides, memory.trial(number))
        self._memory = memory
        return Proposal(number, overrides)

    def report(self, number: int, epoch: int, best_so_far: float) -> None:
        """Record the best value up to `epoch` (from 1); reporting the last epoch again replaces it.

        Raises:
            ValueError: the trial is not running; `epoch` is before the last one; the value is not finite, or below that
                of an earlier epoch.
        """
        curve = self._running(number).intermediate_values
        floor = max((value for step, value in curve.items() if step < epoch), default=-math.inf)
        first = max(1, *curve) if curve else 1
        if epoch < first or not math.isfinite(best_so_far) or best_so_far < floor:
            raise ValueError(
                f"trial {number}: `epoch >= {first}` and `{floor} <= best_so_far < inf` must hold, "
                f"but got ({epoch=}, {best_so_far=})"
            )
        self._writer.report(number, int(epoch), float(best_so_far))
        self._sampling().report(number, int(epoch), float(best_so_far))

    def finish(
        self,
        number: int,
        outcome: Outcome,
        *,
        value: float | None,
        result: TrialResult = NO_RESULT,
    ) -> None:
        """End a running trial; does nothing if it has ended with this outcome and value.

        `value`: the best of its curve; `result`: all else.

        Raises:
            ValueError: the trial is not running; complete or pruned without a finite value at least as high as the last
                one reported; failed with a value, or without a reason.
        """
        state = OUTCOMES[outcome]
        trial = self._sampling().trial(number)
        if trial.state == state and trial.value == value:
            return
        curve = self._running(number).intermediate_values
        if outcome == "failed":
            if value is not None or not result.reason:
                raise ValueError(
                    f"trial {number}: a failed trial has a reason and no value, but got ({value=}, {result.reason=})"
                )
        else:
            floor = max(curve.values(), default=-math.inf)
            if value is None or not math.isfinite(value) or value < floor:
                raise ValueError(f"trial {number}: {outcome} needs a finite `value >= {floor}`, but got {value=}")
            value = float(value)
        self._writer.finish(number, state, value, result)
        self._sampling().finish(number, state, value, others_of(result, self.objectives))

    def add_final(self, result: TrialResult, value: float) -> TrialRecord:
        """Record a promotion, in the sister study `<name>.final`; returns its row.

        Raises:
            ValueError: `value` is not finite.
        """
        if not math.isfinite(value):
            raise ValueError(f"a promotion's value must be finite, but got {value}")
        token, metric = uuid.uuid4().hex, self.metadata.get("metric")
        name, record = self.name + FINAL, plain(result.to_json())
        return row_of(self._retry(lambda: add_once(self._storage, name, record, float(value), token, metric)), "final")

    def finals(self) -> list[TrialRecord]:
        """The promotions, oldest first."""
        return self._sister(FINAL, "final")

    def test_reads(self) -> list[TestRead]:
        """Each reading of the test part, oldest first; promotions of earlier versions, which recorded none, count."""
        reads = reads_in(self._retry(lambda: self._study.user_attrs))
        known = {read.identity for read in reads}
        earlier = [read for row in self.finals() if (read := read_by(row)) is not None and read.identity not in known]
        return [*earlier, *reads]

    def add_test_read(self, read: TestRead) -> None:
        """Record a reading of the test part, before it happens; one that is known already stays as it is."""
        key, value = read.attribute
        if all(known.identity != read.identity for known in self.test_reads()):
            self._retry(lambda: self._study.set_user_attr(key, value))

    def baselines(self) -> list[TrialRecord]:
        """The baselines, by number."""
        return self._sister(BASELINE, "baseline")

    def _sister(self, suffix: str, phase: Phase) -> list[TrialRecord]:
        return [row_of(trial, phase) for trial in self._retry(lambda: trials_of(self._storage, self.name + suffix))]

    def rows(self) -> list[TrialRecord]:
        """All trials by number, read from the database."""
        return [row_of(trial, self.phase) for trial in self._trials()]

    def best(self) -> TrialRecord | None:
        """The winner so far, by `winner_of`."""
        return winner_of(self.rows(), self.objectives)

    def complete_trials(self) -> list[FrozenTrial]:
        """The complete trials as Optuna's, with the ranges that their parameters were drawn from."""
        return [trial for trial in self._trials() if trial.state == TrialState.COMPLETE]

    def distributions(self) -> dict[str, BaseDistribution]:
        """Of each parameter that any trial has, the range that the first of them drew it from."""
        return {key: of for trial in reversed(self._trials()) for key, of in trial.distributions.items()}

    def _trials(self) -> list[FrozenTrial]:
        return self._retry(lambda: self._study.get_trials(deepcopy=False))

    def _sampling(self) -> Sampling:
        if self._memory is None:
            trials = self._trials()
            others = recorded_others(trials, self.objectives)
            self._memory = Sampling(trials, seed=self._seed, num_startup=self._num_startup, others=others)
        return self._memory

    def _running(self, number: int) -> FrozenTrial:
        trial = self._sampling().trial(number)
        if trial.state != TrialState.RUNNING:
            raise ValueError(f"trial {number} is {STATES[trial.state]}, not running")
        return trial

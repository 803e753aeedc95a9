"""One study in Optuna's database, asked and told by trial number."""

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import optuna
from optuna.trial import FrozenTrial, TrialState

from xlite.errors import InputError
from xlite.ledger.rdb import open_storage, sqlite_url
from xlite.ledger.records import NO_RESULT, RECORD, STATES, Outcome, Phase, TrialRecord, TrialResult, best_of, row_of
from xlite.ledger.retry import Retry, shown_url
from xlite.ledger.study_lock import StudyLock
from xlite.ledger.writer import QUEUED, TrialWriter, plain, running_trial, waiting_trial
from xlite.samplers.sampling import NUM_STARTUP, Sampling, Space, suggestions
from xlite.storage.files import read_json_object

_FINAL, _BASELINE = _KEPT = (".final", ".baseline")
"""Ends of the names of sister studies; the sampler of a search never learns of what is in them."""
_TOKEN = "xlite:token"
"""Key by which a promotion whose commit was not answered is found again."""
_OUTCOMES: dict[Outcome, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class Proposal:
    """What to run next: the trial's number and the dotted configuration keys it changes."""

    number: int
    overrides: dict[str, Any]


def study_storage(folder: Path) -> str:
    """The storage URL of the study in `folder`: the one its study.json names as "storage", else its own study.db."""
    described = read_json_object(folder / "study.json") if (folder / "study.json").exists() else {}
    return described.get("storage") or sqlite_url(folder / "study.db")


class Ledger:
    """A study, maximised. One process asks and tells it; any number read it meanwhile.

    What a call did is in the database when it returns; cut off at any instant it did nothing, or left what calling it
    again completes. A database that is locked, full or away is waited for. Sampling runs on a copy in memory, made when
    first needed.
    """

    def __init__(
        self,
        storage: optuna.storages.RDBStorage,
        url: str,
        name: str,
        phase: Phase,
        *,
        seed: int,
        num_startup: int,
        patience: Retry,
    ) -> None:
        """`Ledger.open` is the way in."""
        self.name, self.url, self.phase = name, url, phase
        self._storage, self._seed, self._num_startup, self._patience = storage, seed, num_startup, patience
        self._study = _load(storage, name)
        self._writer = TrialWriter(storage, storage.get_study_id_from_name(name), url, patience)
        self._claim = StudyLock(storage.engine, url, name, patience)
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
        patience_s: float | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> Self:
        """Open the study `name`; with `create`, make it if it is not there and store `metadata` (JSON) with it.

        `phase`: "baseline" opens its baselines, a sister study, instead of its search.
        `num_startup`: ended trials, spread evenly, before the sampler models.
        `patience_s`: how long any call waits for the database (120, or XLITE_PATIENCE_S); `on_wait` hears a line when
        one begins to, else stderr does.

        Raises:
            InputError: no such study and not `create` (the line lists those there are); the database cannot be opened.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if name.endswith(_KEPT):
            raise InputError(f"study name {name!r}: names ending in {' or '.join(_KEPT)} are kept; choose another")
        if phase == "baseline":
            name += _BASELINE
        patience = Retry(storage_url, limit_s=patience_s, on_wait=on_wait)
        storage = open_storage(storage_url, create=create, patience=patience)
        names = patience(lambda: optuna.get_all_study_names(storage)) if storage else []
        if storage is None or (name not in names and not create):
            there = ", ".join(sorted(n for n in names if not n.endswith(_KEPT))) or "none"
            raise InputError(f"no study {name!r} in {shown_url(storage_url)}; studies there: {there}")

        ledger = patience(
            lambda: cls(storage, storage_url, name, phase, seed=seed, num_startup=num_startup, patience=patience)
        )
        if metadata is not None and not set(metadata) <= set(stored := ledger.metadata):
            patience(lambda: ledger._study.set_user_attr("metadata", {**plain(metadata), **stored}))
        return ledger

    def close(self) -> None:
        """Close the database connections; another process may run the study from here on."""
        self._claim.release()
        self._storage.remove_session()
        self._storage.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def metadata(self) -> dict[str, Any]:
        """What was stored when the study was made; comparing it is the caller's."""
        return self._patience(lambda: self._study.user_attrs).get("metadata", {})

    def unfinished(self) -> list[TrialRecord]:
        """The running rows by number: those an ended process left, when called first; `report` and `finish` go on.

        Raises:
            InputError: the process has not ended.
        """
        self._claim.hold()
        running = [row for row in self.rows() if row.state == "running"]
        for row in running:
            if row.reason:  # cut off while it was recorded as failed
                self.finish(row.number, "failed", value=None, result=row)
        return [row for row in running if not row.reason]

    def enqueue(self, overrides: Mapping[str, Any], *, note: str | None = None) -> None:
        """Have the next `ask` propose these, and what else the space suggests. `note` opens the row's notes.

        Raises:
            InputError: another process runs this study.
        """
        self._claim.hold()
        self._enqueue(overrides, note, None)

    def queue(self, configurations: Sequence[Mapping[str, Any]], notes: Sequence[str | None] | None = None) -> None:
        """Enqueue what the study begins with, once: a later call stores nothing, and enqueues what was still missing.

        Raises:
            InputError: another process runs this study.
        """
        self._claim.hold()
        stored = self._patience(lambda: self._study.user_attrs).get("queue")
        if stored is None:
            lines = [None] * len(configurations) if notes is None else notes
            pairs = zip(configurations, lines, strict=True)
            stored = [{"overrides": plain(overrides), "note": note} for overrides, note in pairs]
            self._patience(lambda: self._study.set_user_attr("queue", stored))
        there = {trial.system_attrs.get(QUEUED) for trial in self._trials()}
        for place, item in enumerate(stored):
            if place not in there:
                self._enqueue(item["overrides"], item["note"], place)

    def _enqueue(self, overrides: Mapping[str, Any], note: str | None, place: int | None) -> None:
        memory, self._memory = self._sampling(), None  # kept only if all goes well
        trial = waiting_trial(overrides, note, place)
        self._writer.create(memory.num_trials, trial)
        memory.add(trial)
        self._memory = memory

    def ask(self, space: Space) -> Proposal:
        """Start the next trial: what was enqueued if anything, else what the sampler suggests in `space`.

        `space` returns every parameter it suggests, under its name and unchanged, and constants as it likes. Cut off at
        any instant, it left no trial, or a running one with all it needs, or the waiting one, to be asked for again.

        Raises:
            InputError: `space` breaks this rule or one of Optuna's; an enqueued value lies outside of it (that trial is
                recorded as failed, so it is not met again); another process runs this study.
        """
        self._claim.hold()
        memory, self._memory = self._sampling(), None
        trial, enqueued = memory.start()
        number = trial.number
        try:
            overrides = {**suggestions(space, trial), **(enqueued or {})}
        except InputError as error:
            if enqueued is not None:
                self._writer.refuse(number, enqueued, str(error))
            raise
        if enqueued is None:
            self._writer.create(number, running_trial(overrides, memory.trial(number)))
        else:
            self._writer.start(number, overrides, memory.trial(number))
        self._memory = memory
        return Proposal(number, overrides)

    def report(self, number: int, epoch: int, best_so_far: float) -> None:
        """Record the best value after `epoch` (from 1). The last epoch may be reported again, and replaces itself.

        Raises:
            ValueError: the trial is not running; an epoch before the last; a value that is not finite, or below that of
                an earlier epoch.
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
        """Close a running trial; one closed already with this outcome and value stays as it is.

        `value`: its best; `result`: all else.

        Raises:
            ValueError: the trial is not running; complete or pruned without a finite value at least as high as the last
                one reported; failed with a value, or without a reason.
        """
        state = _OUTCOMES[outcome]
        there = self._sampling().trial(number)
        if there.state == state and there.value == value:
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
        self._sampling().finish(number, state, value)

    def add_final(self, result: TrialResult, value: float) -> TrialRecord:
        """Record a promotion, in a sister study `<name>.final` of which the sampler never learns."""
        if not math.isfinite(value):
            raise ValueError(f"a promotion's value must be finite, but got {value}")
        token = uuid.uuid4().hex
        trial = optuna.trial.create_trial(
            value=float(value), user_attrs={RECORD: plain(result.to_json())}, system_attrs={_TOKEN: token}
        )

        def added() -> FrozenTrial:
            study = _load(self._storage, self.name + _FINAL)
            if not (mine := [there for there in study.trials if there.system_attrs.get(_TOKEN) == token]):
                study.add_trial(trial)
                mine = [there for there in study.trials if there.system_attrs.get(_TOKEN) == token]
            return mine[0]

        return row_of(self._patience(added), "final")

    def finals(self) -> list[TrialRecord]:
        """The promotions, oldest first: one for each reading of the test split."""
        return self._sister(_FINAL, "final")

    def baselines(self) -> list[TrialRecord]:
        """The baselines of a search, by number."""
        return self._sister(_BASELINE, "baseline")

    def _sister(self, end: str, phase: Phase) -> list[TrialRecord]:
        def read() -> list[TrialRecord]:
            if self.name + end not in optuna.get_all_study_names(self._storage):
                return []
            return [row_of(trial, phase) for trial in _load(self._storage, self.name + end).trials]

        return self._patience(read)

    def rows(self) -> list[TrialRecord]:
        """Every trial by number, as the database has it now."""
        return [row_of(trial, self.phase) for trial in self._trials()]

    def best(self) -> TrialRecord | None:
        """The winner so far, by `best_of`."""
        return best_of(self.rows())

    def _trials(self) -> list[FrozenTrial]:
        return self._patience(lambda: self._study.get_trials(deepcopy=False))

    def _sampling(self) -> Sampling:
        if self._memory is None:
            self._memory = Sampling(self._trials(), seed=self._seed, num_startup=self._num_startup)
        return self._memory

    def _running(self, number: int) -> FrozenTrial:
        trial = self._sampling().trial(number)
        if trial.state != TrialState.RUNNING:
            raise ValueError(f"trial {number} is {STATES[trial.state]}, not running")
        return trial


def _load(storage: optuna.storages.RDBStorage, name: str) -> optuna.Study:
    return optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)

"""One study in Optuna's database, asked and told by trial number."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import optuna
from optuna.trial import FrozenTrial, TrialState

from xlite.errors import InputError
from xlite.files import read_json
from xlite.ledger.records import Phase, State, TrialRecord, best_of
from xlite.ledger.sampling import Sampling, Space, suggestions
from xlite.ledger.tables import TrialWriter, explained, open_storage, plain, shown_url, sqlite_url

_FINAL, _BASELINE = _KEPT = (".final", ".baseline")
"""Ends of the names of sister studies; the sampler of a search never learns of what is in them."""
_STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
_OUTCOMES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Proposal:
    """What to run next: the trial's number and the dotted configuration keys it changes."""

    number: int
    overrides: dict[str, Any]


def study_storage(folder: Path) -> str:
    """The storage URL of the study in `folder`: the one its study.json names as "storage", else its own study.db."""
    described = read_json(folder / "study.json") if (folder / "study.json").exists() else {}
    return described.get("storage") or sqlite_url(folder / "study.db")


class Ledger:
    """A study, maximised. One process asks and tells it; any number read it meanwhile.

    What a call did is in the database when it returns. Sampling runs on a copy in memory, made when first needed.
    """

    def __init__(
        self, storage: optuna.storages.RDBStorage, url: str, name: str, phase: Phase, seed: int, num_startup: int
    ) -> None:
        """`Ledger.open` is the way in."""
        self.name, self.url, self.phase = name, url, phase
        self._storage, self._seed, self._num_startup = storage, seed, num_startup
        self._study = _load(storage, name)
        self._writer = TrialWriter(storage, storage.get_study_id_from_name(name), url)
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
        num_startup: int = 10,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open the study `name`; with `create`, make it if it is not there and store `metadata` (JSON) with it.

        `phase`: "baseline" opens its baselines, a sister study, instead of its search.
        `num_startup`: random trials before the sampler models; a quarter of the budget serves small budgets.

        Raises:
            InputError: no such study and not `create` (the line lists those there are); the database cannot be opened.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if name.endswith(_KEPT):
            raise InputError(f"study name {name!r}: names ending in {' or '.join(_KEPT)} are kept; choose another")
        if phase == "baseline":
            name += _BASELINE
        storage = open_storage(storage_url, create=create)
        with explained(storage_url):
            names = optuna.get_all_study_names(storage) if storage else []
            if storage is None or (name not in names and not create):
                there = ", ".join(sorted(n for n in names if not n.endswith(_KEPT))) or "none"
                raise InputError(f"no study {name!r} in {shown_url(storage_url)}; studies there: {there}")
            ledger = cls(storage, storage_url, name, phase, seed, num_startup)
            if metadata is not None and not set(metadata) <= set(ledger.metadata):
                ledger._study.set_user_attr("metadata", {**plain(metadata), **ledger.metadata})
        return ledger

    def close(self) -> None:
        """Close the database connections."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def metadata(self) -> dict[str, Any]:
        """What was stored when the study was made; comparing it is the caller's."""
        return self._study.user_attrs.get("metadata", {})

    def enqueue(self, overrides: Mapping[str, Any], *, note: str | None = None) -> None:
        """Have the next `ask` propose these, and what else the space suggests. `note` opens the row's notes."""
        memory = self._sampling()
        with explained(self.url):
            self._study.enqueue_trial(plain(overrides), user_attrs=None if note is None else {"note": note})
        memory.enqueue(plain(overrides))

    def ask(self, space: Space) -> Proposal:
        """Start the next trial: what was enqueued if anything, else what the sampler suggests in `space`.

        `space` returns every parameter it suggests, under its name and unchanged, and constants as it likes.

        Raises:
            InputError: `space` breaks this rule or one of Optuna's; an enqueued value lies outside of it (that trial is
                recorded as failed, so it is not met again); another process runs this study.
        """
        memory, self._memory = self._sampling(), None  # kept only if all goes well
        trial, enqueued = memory.start()
        number = trial.number
        try:
            overrides = {**suggestions(space, trial), **(enqueued or {})}
        except InputError as error:
            if enqueued is not None:
                self._writer.start(number, enqueued, parameters=None, enqueued=True)
                self.finish(number, "failed", value=None, record={"reason": str(error)})
            raise
        self._writer.start(number, overrides, parameters=memory.trial(number), enqueued=enqueued is not None)
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
        outcome: Literal["complete", "pruned", "failed"],
        *,
        value: float | None,
        record: Mapping[str, Any],
    ) -> None:
        """Close a running trial. `value`: its best; `record`: all else, in the keys that leaderboard.py reads.

        Raises:
            ValueError: the trial is not running; complete or pruned without a finite value at least as high as the last
                one reported; failed with a value, or without record["reason"].
        """
        curve = self._running(number).intermediate_values
        if outcome == "failed":
            if value is not None or not record.get("reason"):
                raise ValueError(
                    f"trial {number}: a failed trial has a reason and no value, but got ({value=}, {record=})"
                )
        else:
            floor = max(curve.values(), default=-math.inf)
            if value is None or not math.isfinite(value) or value < floor:
                raise ValueError(f"trial {number}: {outcome} needs a finite `value >= {floor}`, but got {value=}")
            value = float(value)
        self._writer.finish(number, _OUTCOMES[outcome], value, record)
        self._sampling().finish(number, _OUTCOMES[outcome], value)

    def abandon_running(self, reason: str) -> list[dict[str, Any]]:
        """Close as failed ("interrupted" in the record) what an ended process left running; returns what that ran."""
        running = [row for row in self.rows() if row.state == "running"]
        for row in running:
            self.finish(row.number, "failed", value=None, record={"reason": reason, "interrupted": True})
        return [row.overrides for row in running]

    def add_final(self, record: Mapping[str, Any], value: float) -> TrialRecord:
        """Record a promotion, in a sister study `<name>.final` of which the sampler never learns."""
        if not math.isfinite(value):
            raise ValueError(f"a promotion's value must be finite, but got {value}")
        trial = optuna.trial.create_trial(value=float(value), user_attrs={"record": plain(record)})
        with explained(self.url):
            _load(self._storage, self.name + _FINAL).add_trial(trial)
        return self.finals()[-1]

    def finals(self) -> list[TrialRecord]:
        """The promotions, oldest first: one for each reading of the test split."""
        return self._sister(_FINAL, "final")

    def baselines(self) -> list[TrialRecord]:
        """The baselines of a search, by number."""
        return self._sister(_BASELINE, "baseline")

    def _sister(self, end: str, phase: Phase) -> list[TrialRecord]:
        with explained(self.url):
            if self.name + end not in optuna.get_all_study_names(self._storage):
                return []
            return [_row(trial, phase) for trial in _load(self._storage, self.name + end).trials]

    def rows(self) -> list[TrialRecord]:
        """Every trial by number, as the database has it now."""
        with explained(self.url):
            return [_row(trial, self.phase) for trial in self._study.get_trials(deepcopy=False)]

    def best(self) -> TrialRecord | None:
        """The winner so far, by `best_of`."""
        return best_of(self.rows())

    def _sampling(self) -> Sampling:
        if self._memory is None:
            with explained(self.url):
                trials = self._study.get_trials(deepcopy=False)
            self._memory = Sampling(trials, seed=self._seed, num_startup=self._num_startup)
        return self._memory

    def _running(self, number: int) -> FrozenTrial:
        trial = self._sampling().trial(number)
        if trial.state != TrialState.RUNNING:
            raise ValueError(f"trial {number} is {_STATES[trial.state]}, not running")
        return trial


def _load(storage: optuna.storages.RDBStorage, name: str) -> optuna.Study:
    return optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)


def _row(trial: FrozenTrial, phase: Phase) -> TrialRecord:
    record = dict(trial.user_attrs.get("record", {}))
    if "note" in trial.user_attrs:
        record["notes"] = [trial.user_attrs["note"], *record.get("notes", [])]
    overrides = trial.user_attrs.get("overrides") or trial.system_attrs.get("fixed_params") or trial.params
    return TrialRecord(
        number=trial.number,
        phase=phase,
        state=_STATES[trial.state],
        value=trial.value,
        overrides=dict(overrides),
        curve=dict(sorted(trial.intermediate_values.items())),
        record=record,
        started=trial.datetime_start,
        finished=trial.datetime_complete,
    )

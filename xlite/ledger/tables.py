"""Optuna's database: opened with our settings, and a trial written with a handful of calls instead of dozens.

`optuna.Trial` makes a transaction for each parameter; here a trial is created with all of them at once, since sampling
is done on a copy in memory.
"""

import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import exc

from xlite.errors import InputError

_BUSY_TIMEOUT_S = 60


class _Connection(sqlite3.Connection):
    """Journals ahead (readers never wait), and leaves the moment of writing to the system.

    A crash of the operating system may lose the last transactions; it never damages the file.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file, its path made absolute."""
    return sa.URL.create("sqlite", database=str(path.resolve())).render_as_string()


def shown_url(url: str) -> str:
    """`url` for a message: without its password."""
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except exc.ArgumentError:
        return "the storage URL"


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what the surroundings cause (database locked, full, read-only, unreachable, damaged) into an InputError."""
    try:
        yield
    except (exc.DatabaseError, optuna.exceptions.StorageInternalError) as error:
        cause = error if isinstance(error, exc.DatabaseError) else error.__cause__
        if type(cause) not in (exc.OperationalError, exc.DatabaseError):
            raise
        reason = str(getattr(cause, "orig", cause)).strip().splitlines()[0]
        raise InputError(
            f"{shown_url(url)}: {reason}; see that it can be reached and written and its disk has room, then run again"
        ) from None


def open_storage(url: str, *, create: bool) -> optuna.storages.RDBStorage | None:
    """The database at `url`, or None if it holds no studies and `create` is false.

    SQLite: connections are `_Connection`s with 60 s of patience for another writer.

    Raises:
        InputError: a URL that cannot be read, no driver for it, or a database that cannot be opened.
    """
    try:
        parsed = sa.make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite and not create and parsed.database and not Path(parsed.database).exists():
            return None
        connect = {"timeout": _BUSY_TIMEOUT_S, "factory": _Connection} if sqlite else {}
        options = {"connect_args": connect}
        with explained(url):
            if not create and not _has_studies(url, options):
                return None
            template = url.replace("{", "{{").replace("}", "}}")  # RDBStorage formats its URL
            return optuna.storages.RDBStorage(template, options, skip_table_creation=not create)
    except exc.ArgumentError as error:
        raise InputError(f"--storage: {error}; write e.g. sqlite:////folder/study.db".replace("\n", " ")) from None
    except ImportError as error:
        problem = f"{shown_url(url)}: {error.__cause__ or error}".replace("\n", " ")
        raise InputError(f"{problem}; pip install the database's driver") from None


def _has_studies(url: str, options: dict[str, Any]) -> bool:
    engine = sa.create_engine(url, **options)
    try:
        return bool(sa.inspect(engine).has_table("studies"))
    finally:
        engine.dispose()


class TrialWriter:
    """Writes the trials of one study through Optuna's storage, with as few transactions as it allows."""

    def __init__(self, storage: optuna.storages.RDBStorage, study_id: int, url: str) -> None:
        self._storage, self._study_id, self._url = storage, study_id, url
        self._ids: dict[int, int] = {}

    def start(
        self, number: int, overrides: Mapping[str, Any], *, parameters: FrozenTrial | None, enqueued: bool
    ) -> None:
        """Record a trial as running. `parameters`: its suggestions; `enqueued`: the database has it as waiting already.

        Raises:
            InputError: the number is taken, so another process is running this study too.
        """
        with explained(self._url):
            if enqueued:
                trial_id = self._trial_id(number)
                mine = self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            else:
                trial_id, mine = self._create(number, _running(overrides, parameters))
            if not mine:
                raise InputError(
                    f"{shown_url(self._url)}: another process runs this study; let it end, or choose another --study"
                )
            if enqueued:
                self._fill(trial_id, overrides, parameters)
        self._ids[number] = trial_id

    def report(self, number: int, epoch: int, value: float) -> None:
        """Add one point to a trial's curve."""
        with explained(self._url):
            self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, value)

    def finish(self, number: int, state: TrialState, value: float | None, record: Mapping[str, Any]) -> None:
        """Close a running trial.

        Raises:
            ValueError: it is not running.
        """
        trial_id = self._trial_id(number)
        with explained(self._url):
            if self._storage.get_trial(trial_id).state != TrialState.RUNNING:
                raise ValueError(f"trial {number} is not running")
            self._storage.set_trial_user_attr(trial_id, "record", plain(record))
            self._storage.set_trial_state_values(trial_id, state, None if value is None else [value])

    def _create(self, number: int, trial: FrozenTrial) -> tuple[int, bool]:
        """A new trial's id, and whether it got the number it should have."""
        if self._storage.get_n_trials(self._study_id) != number:
            return -1, False
        trial_id = self._storage.create_new_trial(self._study_id, template_trial=trial)
        mine = self._storage.get_trial_number_from_id(trial_id) == number
        if not mine:  # the other process was quicker by milliseconds
            self._storage.set_trial_user_attr(trial_id, "record", {"reason": "another process runs this study"})
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        return trial_id, mine

    def _fill(self, trial_id: int, overrides: Mapping[str, Any], parameters: FrozenTrial | None) -> None:
        self._storage.set_trial_user_attr(trial_id, "overrides", plain(overrides))
        for name, value in parameters.params.items() if parameters else ():
            distribution = parameters.distributions[name]  # type: ignore[union-attr]
            self._storage.set_trial_param(trial_id, name, distribution.to_internal_repr(value), distribution)

    def _trial_id(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return self._ids[number]


def _running(overrides: Mapping[str, Any], parameters: FrozenTrial | None) -> FrozenTrial:
    """A running trial with its suggestions, for one transaction instead of one a parameter."""
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=parameters.params if parameters else None,
        distributions=parameters.distributions if parameters else None,
        user_attrs={"overrides": plain(overrides)},
        system_attrs=parameters.system_attrs if parameters else None,
    )


def plain(value: Any) -> Any:
    """`value` as JSON can hold it in any language: NumPy numbers as Python's, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

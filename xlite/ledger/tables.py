"""Optuna's database: opened with our settings, and written in a few statements where Optuna's own calls take dozens.

Through Optuna's storage classes a trial of 12 parameters and 15 epochs costs about 100 ms: a transaction of several ORM
queries for each parameter and each epoch. Here asking, reporting and finishing are one short transaction each. Optuna
itself reads it all back, and the tests hold that it reads what was written.
"""

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import exc
from sqlalchemy.orm import Session

from xlite.errors import InputError

_TRIALS = models.TrialModel.__table__
_PARAMS = models.TrialParamModel.__table__
_USER_ATTRS = models.TrialUserAttributeModel.__table__
_VALUES = models.TrialValueModel.__table__
_CURVE = models.TrialIntermediateValueModel.__table__
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
    """Writes the trials of one study."""

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
        with self._session() as session:
            row: Any = session.get(models.TrialModel, self._trial_id(number)) if enqueued else None
            if row is None:
                row = models.TrialModel(study_id=self._study_id, number=number)
                session.add(row)
            row.state, row.datetime_start = TrialState.RUNNING, datetime.now()
            session.flush()
            same_study = _TRIALS.c.study_id == self._study_id
            earlier = sa.select(sa.func.count()).where(same_study, _TRIALS.c.trial_id < row.trial_id)
            if session.execute(earlier).scalar() != number:
                raise InputError(
                    f"{shown_url(self._url)}: another process runs this study; let it end, or choose another --study"
                )
            _insert(session, _USER_ATTRS, [_attribute(row.trial_id, "overrides", overrides)])
            if parameters is not None:
                _insert(session, _PARAMS, [_parameter(row.trial_id, parameters, name) for name in parameters.params])
            self._ids[number] = row.trial_id

    def report(self, number: int, epoch: int, value: float, *, replace: bool) -> None:
        """Add one point of a trial's curve; `replace` removes the points from this epoch on first."""
        trial_id = self._trial_id(number)
        point = {
            "trial_id": trial_id,
            "step": epoch,
            "intermediate_value": value,
            "intermediate_value_type": models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE,
        }
        with explained(self._url), self._storage.engine.begin() as connection:
            if replace:
                connection.execute(sa.delete(_CURVE).where(_CURVE.c.trial_id == trial_id, _CURVE.c.step >= epoch))
            connection.execute(sa.insert(_CURVE), point)

    def finish(self, number: int, state: TrialState, value: float | None, record: Mapping[str, Any]) -> None:
        """Close a running trial.

        Raises:
            ValueError: it is not running.
        """
        with self._session() as session:
            row: Any = session.get(models.TrialModel, self._trial_id(number), with_for_update=True)
            if row is None or row.state != TrialState.RUNNING:
                raise ValueError(f"trial {number} is not running")
            row.state, row.datetime_complete = state, datetime.now()
            _insert(session, _USER_ATTRS, [_attribute(row.trial_id, "record", record)])
            if value is not None:
                finite = models.TrialValueModel.TrialValueType.FINITE
                objective = {"trial_id": row.trial_id, "objective": 0, "value": value, "value_type": finite}
                _insert(session, _VALUES, [objective])

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with explained(self._url), Session(self._storage.engine) as session, session.begin():
            yield session

    def _trial_id(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return self._ids[number]


def plain(value: Any) -> Any:
    """`value` as JSON can hold it in any language: NumPy numbers as Python's, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _insert(session: Session, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        session.execute(sa.insert(table), rows)


def _attribute(trial_id: int, key: str, value: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": key, "value_json": json.dumps(plain(value), allow_nan=False)}


def _parameter(trial_id: int, trial: FrozenTrial, name: str) -> dict[str, Any]:
    distribution = trial.distributions[name]
    return {
        "trial_id": trial_id,
        "param_name": name,
        "param_value": distribution.to_internal_repr(trial.params[name]),
        "distribution_json": optuna.distributions.distribution_to_json(distribution),
    }

"""Writes trials to the database in a few transactions, each atomic and idempotent.

`optuna.Trial` makes a transaction for each parameter; here a trial is created with all of them at once, as sampling
runs on a copy in memory. Each trial stores its owner, so that a commit whose answer was lost is neither repeated nor
taken for another process's.
"""

import math
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from xlite.ledger.rdb import CommitSync
from xlite.ledger.records import QUEUE_NOTE, RECORD, TrialResult
from xlite.ledger.retry import Retry
from xlite.ledger.study_lock import study_in_use
from xlite.samplers.sampling import FIXED

_SYNC_EPOCHS_S = 1.0
"""Epochs reported within this time of a synced one may be lost with the power; starts and ends never are."""
_OWNER = "xlite:owner"
QUEUED = "xlite:queued"
"""Key of a trial's position in the study's queue."""


class TrialWriter:
    """Writes the trials of one study through Optuna's storage, in as few transactions as that allows."""

    def __init__(self, storage: optuna.storages.RDBStorage, study_id: int, retry: Retry) -> None:
        self._storage, self._study_id, self._retry = storage, study_id, retry
        self._commit_sync = CommitSync(storage.engine)
        self._token = uuid.uuid4().hex
        self._ids: dict[int, int] = {}

    def create(self, number: int, trial: FrozenTrial) -> None:
        """Store a new trial in one transaction.

        Raises:
            InputError: the number is taken, so another process runs this study too.
        """
        trial.system_attrs[_OWNER] = self._token
        self._ids[number] = self._retry(lambda: self._create(number, trial))

    def start(self, number: int, overrides: Mapping[str, Any], parameters: FrozenTrial) -> None:
        """Turn a waiting trial into a running one: first its owner and configuration, then its state.

        If interrupted between them, the trial still waits, and keeps the overrides stored here.

        Raises:
            InputError: another process started it.
        """

        def begin() -> None:
            trial_id = self._trial_id(number)
            if self._storage.get_trial(trial_id).state == TrialState.WAITING:
                with self._commit_sync.skipped():
                    self._fill(trial_id, overrides, parameters)
                self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            if self._storage.get_trial_system_attrs(trial_id).get(_OWNER) != self._token:
                raise study_in_use(self._retry.url)

        self._retry(begin)

    def refuse(self, number: int, overrides: Mapping[str, Any], reason: str) -> None:
        """Record a waiting trial as failed; the reason is stored first, in case this is interrupted."""
        result = TrialResult(reason=reason)
        self._retry(lambda: self._record(self._trial_id(number), result))
        self.start(number, overrides, optuna.trial.create_trial(state=TrialState.RUNNING))
        self.finish(number, TrialState.FAIL, None, result)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Add one point to a trial's curve."""

        def add() -> None:
            with self._commit_sync.skipped(every_s=_SYNC_EPOCHS_S):
                self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, value)

        self._retry(add)

    def finish(self, number: int, state: TrialState, value: float | None, result: TrialResult) -> None:
        """End a trial; does nothing if it has ended with this state and value.

        Raises:
            ValueError: it has ended in another way.
        """

        def end() -> None:
            trial_id = self._trial_id(number)
            trial = self._storage.get_trial(trial_id)
            if not trial.state.is_finished():
                with self._commit_sync.skipped():
                    self._record(trial_id, result)
                self._storage.set_trial_state_values(trial_id, state, None if value is None else [value])
            elif (trial.state, trial.value) != (state, value):
                raise ValueError(f"trial {number} is not running")

        self._retry(end)

    def _record(self, trial_id: int, result: TrialResult) -> None:
        self._storage.set_trial_user_attr(trial_id, RECORD, plain(result.to_json()))

    def _fill(self, trial_id: int, overrides: Mapping[str, Any], parameters: FrozenTrial) -> None:
        self._storage.set_trial_system_attr(trial_id, _OWNER, self._token)
        self._storage.set_trial_user_attr(trial_id, "overrides", plain(overrides))  # decided from here on
        for name, value in parameters.params.items():  # those already stored stay as they are
            distribution = parameters.distributions[name]
            self._storage.set_trial_param(trial_id, name, distribution.to_internal_repr(value), distribution)

    def _create(self, number: int, trial: FrozenTrial) -> int:
        try:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        except KeyError:
            trial_id = self._storage.create_new_trial(self._study_id, template_trial=trial)
            if self._storage.get_trial_number_from_id(trial_id) != number:  # taken just before by another process
                self._record(trial_id, TrialResult(reason="another process runs this study"))
                self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
                raise study_in_use(self._retry.url) from None
            return trial_id
        if self._storage.get_trial_system_attrs(trial_id).get(_OWNER) != self._token:
            raise study_in_use(self._retry.url)
        return trial_id

    def _trial_id(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return self._ids[number]


def running_trial(overrides: Mapping[str, Any], parameters: FrozenTrial) -> FrozenTrial:
    """A running trial with its suggestions, for `TrialWriter.create`."""
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=parameters.params,
        distributions=parameters.distributions,
        user_attrs={"overrides": plain(overrides)},
        system_attrs=parameters.system_attrs,
    )


def waiting_trial(overrides: Mapping[str, Any], note: str | None, position: int | None) -> FrozenTrial:
    """A waiting trial, for `TrialWriter.create`; `position`: in the study's queue, None for others."""
    return optuna.trial.create_trial(
        state=TrialState.WAITING,
        user_attrs={} if note is None else {QUEUE_NOTE: note},
        system_attrs={FIXED: plain(overrides)} | ({} if position is None else {QUEUED: position}),
    )


def plain(value: Any) -> Any:
    """`value` as strict JSON values: NumPy numbers become Python's, NaN and infinities None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

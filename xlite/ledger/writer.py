"""A trial written to the database with a handful of calls instead of dozens, each safe to be cut off or repeated.

`optuna.Trial` makes a transaction for each parameter; here a trial is created with all of them at once, since sampling
is done on a copy in memory. What a call did is known by the trial's owner, so that a commit whose answer was lost is
not done twice, nor taken for another process's.
"""

import math
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from xlite.ledger.rdb import Syncing
from xlite.ledger.records import QUEUE_NOTE, RECORD, TrialResult
from xlite.ledger.retry import Retry
from xlite.ledger.study_lock import another_process
from xlite.samplers.sampling import FIXED

_SYNC_EPOCHS_S = 1.0
"""A loss of power may take epochs that were reported sooner than this after another; never a start or an end."""
_OWNER = "xlite:owner"
QUEUED = "xlite:queued"
"""Key of a trial's place in the study's queue."""


class TrialWriter:
    """Writes the trials of one study through Optuna's storage, with as few transactions as it allows."""

    def __init__(self, storage: optuna.storages.RDBStorage, study_id: int, url: str, patience: Retry) -> None:
        self._storage, self._study_id, self._url, self._patience = storage, study_id, url, patience
        self._syncing = Syncing(storage.engine)
        self._token = uuid.uuid4().hex
        self._ids: dict[int, int] = {}

    def create(self, number: int, trial: FrozenTrial) -> None:
        """Store a new trial, in one transaction.

        Raises:
            InputError: the number is taken, so another process is running this study too.
        """
        trial.system_attrs[_OWNER] = self._token
        self._ids[number] = self._patience(lambda: self._create(number, trial))

    def start(self, number: int, overrides: Mapping[str, Any], parameters: FrozenTrial) -> None:
        """Turn a waiting trial into a running one: its owner and configuration first, its state last.

        Cut off before the state, it waits still; what its overrides say is then run, whatever else would be sampled.

        Raises:
            InputError: another process started it.
        """

        def begin() -> None:
            trial_id = self._trial_id(number)
            if self._storage.get_trial(trial_id).state == TrialState.WAITING:
                with self._syncing.spared():
                    self._fill(trial_id, overrides, parameters)
                self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            if self._storage.get_trial_system_attrs(trial_id).get(_OWNER) != self._token:
                raise another_process(self._url)

        self._patience(begin)

    def refuse(self, number: int, overrides: Mapping[str, Any], reason: str) -> None:
        """Record a waiting trial as failed; its reason comes first, so that it is known for what it is if cut off."""
        result = TrialResult(reason=reason)
        self._patience(lambda: self._record(self._trial_id(number), result))
        self.start(number, overrides, optuna.trial.create_trial(state=TrialState.RUNNING))
        self.finish(number, TrialState.FAIL, None, result)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Add one point to a trial's curve."""

        def add() -> None:
            with self._syncing.spared(every_s=_SYNC_EPOCHS_S):
                self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, value)

        self._patience(add)

    def finish(self, number: int, state: TrialState, value: float | None, result: TrialResult) -> None:
        """Close a trial; nothing is done if it is closed already with this state and value.

        Raises:
            ValueError: it ended otherwise.
        """

        def end() -> None:
            trial_id = self._trial_id(number)
            there = self._storage.get_trial(trial_id)
            if not there.state.is_finished():
                with self._syncing.spared():
                    self._record(trial_id, result)
                self._storage.set_trial_state_values(trial_id, state, None if value is None else [value])
            elif (there.state, there.value) != (state, value):
                raise ValueError(f"trial {number} is not running")

        self._patience(end)

    def _record(self, trial_id: int, result: TrialResult) -> None:
        self._storage.set_trial_user_attr(trial_id, RECORD, plain(result.to_json()))

    def _fill(self, trial_id: int, overrides: Mapping[str, Any], parameters: FrozenTrial) -> None:
        self._storage.set_trial_system_attr(trial_id, _OWNER, self._token)
        self._storage.set_trial_user_attr(trial_id, "overrides", plain(overrides))  # from here on all is decided
        for name, value in parameters.params.items():  # one that is there already stays as it is
            distribution = parameters.distributions[name]
            self._storage.set_trial_param(trial_id, name, distribution.to_internal_repr(value), distribution)

    def _create(self, number: int, trial: FrozenTrial) -> int:
        try:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        except KeyError:
            trial_id = self._storage.create_new_trial(self._study_id, template_trial=trial)
            if self._storage.get_trial_number_from_id(trial_id) != number:  # another was quicker by milliseconds
                self._record(trial_id, TrialResult(reason="another process runs this study"))
                self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
                raise another_process(self._url) from None
            return trial_id
        if self._storage.get_trial_system_attrs(trial_id).get(_OWNER) != self._token:
            raise another_process(self._url)
        return trial_id

    def _trial_id(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return self._ids[number]


def running_trial(overrides: Mapping[str, Any], parameters: FrozenTrial) -> FrozenTrial:
    """A running trial with its suggestions, to be created."""
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=parameters.params,
        distributions=parameters.distributions,
        user_attrs={"overrides": plain(overrides)},
        system_attrs=parameters.system_attrs,
    )


def waiting_trial(overrides: Mapping[str, Any], note: str | None, place: int | None) -> FrozenTrial:
    """A trial that the next `ask` takes, to be created. `place`: in the study's queue, if it is from there."""
    return optuna.trial.create_trial(
        state=TrialState.WAITING,
        user_attrs={} if note is None else {QUEUE_NOTE: note},
        system_attrs={FIXED: plain(overrides)} | ({} if place is None else {QUEUED: place}),
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

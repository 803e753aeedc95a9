"""A study's trials in memory, asked for the next one: each gets an Optuna sampler of its own."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from xlite.errors import InputError, SpaceError
from xlite.samplers.history import History, Others
from xlite.samplers.proposals import make_sampler

Space = Callable[[optuna.Trial], Mapping[str, Any]]
NUM_STARTUP = 5
"""Ended trials before a model is fitted; half of Optuna's number, since local mutations go on exploring."""
FIXED = "fixed_params"
"""System attribute in which Optuna keeps an enqueued trial's parameters; private to it, and pinned by a test."""


class Sampling:
    """A copy in memory of a study's trials, updated with everything that is written to the database.

    The Gaussian process takes running trials into account, so that parallel trials differ. Optuna stores no sampler
    state, so each trial gets its own sampler, seeded from (seed, trial number): with one trial at a time a resumed
    study proposes what an uninterrupted one would.

    Args:
        trials: all of the study, by number; each takes 0.1 ms.
        seed: of the study.
        num_startup: ended trials before a model is fitted.
        others: of a study of several objectives, what each ended trial reached in all but the first, by number.
    """

    def __init__(
        self,
        trials: Sequence[FrozenTrial],
        *,
        seed: int,
        num_startup: int = NUM_STARTUP,
        others: Mapping[int, Others] = MappingProxyType({}),
    ) -> None:
        self._seed, self._num_startup = seed, num_startup
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(storage=self._storage, study_name="memory", direction="maximize")
        self._study.add_trials([_with_decided_overrides(trial) for trial in trials])
        self.num_trials = len(trials)
        self.history = History(self.trial)
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state == TrialState.RUNNING:
                self.history.add_running(trial.number)
            else:
                self.history.add_ended(trial, others.get(trial.number, ()))

    def add(self, trial: FrozenTrial) -> None:
        """Append a waiting trial to the queue that `start` takes from."""
        self._study.add_trial(trial)
        self.num_trials += 1

    def start(self) -> tuple[optuna.Trial, dict[str, Any] | None]:
        """The next trial, to be passed to a space, and its enqueued overrides if it was waiting."""
        trial = self._study.ask()
        self.num_trials = max(self.num_trials, trial.number + 1)
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        self._study.sampler = make_sampler(
            self.history, trial.number, num_startup=self._num_startup, seed=seed, study_seed=self._seed
        )
        self.history.add_running(trial.number)
        return trial, self.trial(trial.number).system_attrs.get(FIXED)

    def redraw(
        self, number: int, space: Space, is_new: Callable[[dict[str, Any]], bool], *, num_draws: int
    ) -> dict[str, Any] | None:
        """Other suggestions for the trial started last, drawn at random until they are new; None if none is.

        Raises:
            SpaceError: as `suggestions`.
        """
        seed = np.random.SeedSequence([self._seed, number, 1]).generate_state(1)[0]
        self._study.sampler = RandomSampler(seed=int(seed))
        for _ in range(num_draws):
            trial = self.trial(number)  # the storage's own object, not a copy; a test relies on that
            trial.params, trial.distributions = {}, {}
            if is_new(drawn := suggestions(space, optuna.Trial(self._study, self._id(number)))):
                return drawn
        return None

    def report(self, number: int, epoch: int, value: float) -> None:
        """Add a point to a running trial's curve."""
        self._storage.set_trial_intermediate_value(self._id(number), epoch, value)

    def finish(self, number: int, state: TrialState, value: float | None, others: Others = ()) -> None:
        """End a running trial; a failed one has no value. `others`: its objectives but the first, upward."""
        self._storage.set_trial_state_values(self._id(number), state, None if value is None else [value])
        self.history.add_ended(self.trial(number), others)

    def trial(self, number: int) -> FrozenTrial:
        """The trial as it stands.

        Raises:
            ValueError: no trial has this number.
        """
        try:
            return self._storage.get_trial(self._id(number))
        except KeyError:
            raise ValueError(f"there is no trial {number}") from None

    def _id(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name("memory")
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)


def _with_decided_overrides(trial: FrozenTrial) -> FrozenTrial:
    """A waiting trial whose start was interrupted keeps the overrides that were stored for it then."""
    if trial.state != TrialState.WAITING or "overrides" not in trial.user_attrs:
        return trial
    trial = copy(trial)
    trial.system_attrs = {**trial.system_attrs, FIXED: trial.user_attrs["overrides"]}
    return trial


def suggestions(space: Space, trial: optuna.Trial) -> dict[str, Any]:
    """What `space` returns for `trial`, checked to contain every parameter it suggested, unchanged.

    Raises:
        SpaceError: it does not, or it breaks a rule of Optuna's, or an enqueued value lies outside of it.
    """
    where = f"search space, trial {trial.number}"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Fixed parameter .* is out of range")  # an error below
            suggested = dict(space(trial))
        optuna.trial.create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions)
    except InputError:
        raise
    except ValueError as error:
        raise SpaceError(f"{where}: {error}".replace("\n", " ")) from error
    for name, value in trial.params.items():
        if name not in suggested or suggested[name] != value:
            returned = repr(suggested[name]) if name in suggested else "nothing under that key"
            raise SpaceError(
                f"{where}: it suggests {name!r} = {value!r}, so it must return that, but returns {returned}"
            )
    return suggested

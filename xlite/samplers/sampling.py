"""What to try next: a study in memory, and a sampler of Optuna's made anew for each trial."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from xlite.errors import InputError
from xlite.samplers.history import History
from xlite.samplers.proposals import make_sampler

Space = Callable[[optuna.Trial], Mapping[str, Any]]
NUM_STARTUP = 5
"""Ended trials before the sampler models; half of Optuna's number, since neighbours of the best go on exploring."""


class Sampling:
    """A copy in memory of a study's trials; it is asked and told what the database is told.

    The sampler takes running trials into account, so that parallel trials spread. Optuna stores no sampler state, so
    each trial gets a sampler of its own, seeded from (seed, trial number): with one trial at a time a continued study
    asks what an uninterrupted one would.
    """

    def __init__(self, trials: Sequence[FrozenTrial], *, seed: int, num_startup: int = NUM_STARTUP) -> None:
        """`trials`: all of the study, by number. Takes 0.1 ms each."""
        self._seed, self._num_startup = seed, num_startup
        self._storage = History()
        self._study = optuna.create_study(storage=self._storage, study_name="memory", direction="maximize")
        self._study.add_trials([_decided(trial) for trial in trials])
        self.num_trials = len(trials)
        for trial in self._study.get_trials(deepcopy=False):
            (self._storage.note_started if trial.state == TrialState.RUNNING else self._storage.note_ended)(trial)

    def add(self, trial: FrozenTrial) -> None:
        """Have a `start` take this waiting trial, those before it first."""
        self._study.add_trial(trial)
        self.num_trials += 1

    def start(self) -> tuple[optuna.Trial, dict[str, Any] | None]:
        """A new trial to suggest with, and what was enqueued for it."""
        trial = self._study.ask()
        self.num_trials = max(self.num_trials, trial.number + 1)
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        how = {"num_startup": self._num_startup, "seed": seed, "study_seed": self._seed}
        self._study.sampler = make_sampler(self._storage, trial.number, **how)
        self._storage.note_started(self.trial(trial.number))
        return trial, self.trial(trial.number).system_attrs.get(FIXED)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Add a point to a running trial's curve."""
        self._storage.set_trial_intermediate_value(self._id(number), epoch, value)

    def finish(self, number: int, state: TrialState, value: float | None) -> None:
        """Close a running trial."""
        self._storage.set_trial_state_values(self._id(number), state, None if value is None else [value])
        self._storage.note_ended(self.trial(number))

    def trial(self, number: int) -> FrozenTrial:
        """The trial as it stands.

        Raises:
            ValueError: there is none of this number.
        """
        try:
            return self._storage.get_trial(self._id(number))
        except KeyError:
            raise ValueError(f"there is no trial {number}") from None

    def _id(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name("memory")
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)


def _decided(trial: FrozenTrial) -> FrozenTrial:
    """A waiting trial that was cut off while it was started takes all that was decided for it then."""
    if trial.state != TrialState.WAITING or "overrides" not in trial.user_attrs:
        return trial
    trial = copy(trial)
    trial.system_attrs = {**trial.system_attrs, FIXED: trial.user_attrs["overrides"]}
    return trial


def suggestions(space: Space, trial: optuna.Trial) -> dict[str, Any]:
    """What `space` returns for `trial`, once it is seen to hold every parameter it suggested.

    Raises:
        InputError: it does not, or it breaks a rule of Optuna's, or an enqueued value lies outside of it.
    """
    what = f"search space, trial {trial.number}"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Fixed parameter .* is out of range")  # an error below
            suggested = dict(space(trial))
        optuna.trial.create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{what}: {error}".replace("\n", " ")) from error
    for name, value in trial.params.items():
        if name not in suggested or suggested[name] != value:
            returned = repr(suggested[name]) if name in suggested else "nothing under that key"
            raise InputError(
                f"{what}: it suggests {name!r} = {value!r}, so it must return that, but returns {returned}"
            )
    return suggested


FIXED = "fixed_params"
"""Optuna's key for what was enqueued."""

"""ASHA: its rungs, and how a continued study gets them back from the ledger."""

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from ray.tune.schedulers import ASHAScheduler

if TYPE_CHECKING:  # a worker needs no database
    from xlite.ledger import TrialRecord

REDUCTION_FACTOR = 3
INFORMATIVE_IMAGES = 3500
"""Trained on so many, trials stand nearly in the order in which they will end (Spearman 0.85 and more)."""
EPOCH_KEY, VALUE_KEY = "epoch", "value"
"""Keys of a trial's results: epochs done, and the best validation metric so far."""


def first_rung(max_epochs: int, held_back_epochs: int, num_images: int) -> int:
    """Epochs before any trial can be stopped: a fortieth of the budget, or 3,500 images; one at least at full strength.

    Where an epoch has tens of thousands of images the first one tells enough; where it has a thousand it does not, and
    a search of a dozen trials loses its best by it (benchmarks/early_epochs.py). At most half the budget, or 3.

    Args:
        held_back_epochs: of warm-up, or with a frozen backbone: they say little about what a trial will become.
        num_images: of the training part, one epoch.
    """
    informed = max(round(max_epochs / 40), math.ceil(INFORMATIVE_IMAGES / num_images))
    return min(max_epochs, max(held_back_epochs + 1, min(informed, max(3, max_epochs // 2))))


def rungs(max_epochs: int, grace_epochs: int) -> list[int]:
    """Epochs at which a trial is compared: grace, grace * 3, grace * 9, ... below the budget."""
    out, rung = [], grace_epochs
    while rung < max_epochs:
        out.append(rung)
        rung *= REDUCTION_FACTOR
    return out


def expected_epochs(max_epochs: int, grace_epochs: int) -> float:
    """Mean epochs of a trial when each rung lets one of REDUCTION_FACTOR go on; 0 grace: all run to the end."""
    mean, reach, done = 0.0, 1.0, 0
    for rung in [*(rungs(max_epochs, grace_epochs) if grace_epochs else []), max_epochs]:
        mean += reach * (rung - done)
        reach, done = reach / REDUCTION_FACTOR, rung
    return mean


def make_asha(max_epochs: int, grace_epochs: int) -> ASHAScheduler:
    """Ray's ASHA on best-so-far, one bracket: a trial outside the best third of its rung is stopped."""
    return ASHAScheduler(
        time_attr=EPOCH_KEY,
        metric=VALUE_KEY,
        mode="max",
        max_t=max_epochs,
        grace_period=grace_epochs,
        reduction_factor=REDUCTION_FACTOR,
        brackets=1,
    )


def replay(scheduler: ASHAScheduler, trials: Sequence["TrialRecord"]) -> None:
    """Fill the rungs with the curves of trials that ended before; Ray keeps no scheduler state of its own."""
    for record in sorted(trials, key=lambda trial: trial.number):
        _replay(scheduler, f"ledger-{record.number}", record.curve)


def replay_unfinished(scheduler: ASHAScheduler, trial_id: str, curve: Mapping[int, float]) -> None:
    """Fill the rungs with what a trial had reported before it was cut off, under the id it goes on with.

    Its last epoch is left out: the trial reports it again, since nobody knows whether it had been decided on.
    """
    _replay(scheduler, trial_id, {epoch: curve[epoch] for epoch in sorted(curve)[:-1]})


def forget(scheduler: ASHAScheduler | None, trial_id: str) -> None:
    """Take a trial out of the rungs: it comes again under another id, and is to count once."""
    for bracket in scheduler._brackets if scheduler else ():
        for _, recorded in bracket._rungs:
            recorded.pop(trial_id, None)


def _replay(scheduler: ASHAScheduler, trial_id: str, curve: Mapping[int, float]) -> None:
    state = np.random.get_state()  # noqa: NPY002  the scheduler draws its (only) bracket from the global generator
    stand_in = SimpleNamespace(trial_id=trial_id)
    scheduler.on_trial_add(None, stand_in)
    for epoch in sorted(curve):
        scheduler.on_trial_result(None, stand_in, {EPOCH_KEY: epoch, VALUE_KEY: curve[epoch]})
    scheduler.on_trial_remove(None, stand_in)
    np.random.set_state(state)  # noqa: NPY002

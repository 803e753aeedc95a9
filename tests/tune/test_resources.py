"""How a machine is divided among trials."""

from pathlib import Path

import pytest

from xlite.errors import InputError
from xlite.tune.options import StudyOptions
from xlite.tune.resources import plan_shares


def shares(*, cpus=2, gpus=0, **changes):
    options = StudyOptions(
        name="s", folder=Path(), storage="", task="t", space=Path(), num_trials=1, max_epochs=1, promote_epochs=1,
        teacher_epochs=1,
        seed=0, cache_dir=Path(), settings={}, **changes,
    )  # fmt: skip
    return plan_shares(options, num_cpus=cpus, num_gpus=gpus)


@pytest.mark.parametrize(
    ("machine", "concurrent", "share"),
    [
        ({"cpus": 2}, 2, 0.0),
        ({"cpus": 8, "cpus_per_trial": 3}, 2, 0.0),
        ({"cpus": 16, "gpus": 1}, 4, 0.25),
        ({"cpus": 16, "gpus": 1, "gpus_per_trial": 0.5}, 2, 0.5),
        ({"cpus": 16, "gpus": 2}, 8, 0.25),
        ({"cpus": 2, "gpus": 1}, 2, 0.5),
        ({"cpus": 16, "gpus": 1, "max_concurrent": 1}, 1, 1.0),
        ({"cpus": 16, "gpus": 1, "gpus_per_trial": 0.3}, 3, 0.3),
    ],
)
def test_the_machine_is_filled_and_not_overfilled(machine, concurrent, share):
    got = shares(**machine)
    assert (got.max_concurrent, got.gpus_per_trial) == (concurrent, share)
    assert got.max_concurrent * got.cpus_per_trial <= got.num_cpus
    assert got.max_concurrent * got.gpus_per_trial <= got.num_gpus or not got.num_gpus


def test_more_than_there_is_is_refused_by_name():
    with pytest.raises(InputError, match="--cpus-per-trial 4: this machine has 2"):
        shares(cpus_per_trial=4)
    with pytest.raises(InputError, match=r"--gpus-per-trial 0\.5: this machine has 0"):
        shares(gpus_per_trial=0.5)

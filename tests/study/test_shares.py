"""How a machine is divided among trials."""

from pathlib import Path

import pytest

from xlite.errors import InputError
from xlite.gpu.memory import DeviceMemory
from xlite.gpu.probe import Footprint
from xlite.gpu.share_classes import HEADROOM, SHARE_CLASSES, next_class, share_class, smallest_class, trials_on_one
from xlite.study.options import StudyOptions
from xlite.study.shares import plan_shares

GIB = 2**30
MEMORY = DeviceMemory(total_bytes=17 * GIB, usable_bytes=16 * GIB)


def shares(*, cpus=2, gpus=0, measured=None, overlaps=False, **changes):
    options = StudyOptions(
        name="s", folder=Path(), storage="", task="t", space=Path(), num_trials=1, max_epochs=1, promote_epochs=1,
        teacher_epochs=1,
        seed=0, cache_dir=Path(), settings={}, **changes,
    )  # fmt: skip
    return plan_shares(
        options, num_cpus=cpus, num_gpus=gpus, footprints=measured, memory=MEMORY if measured else None,
        overlaps=overlaps,
    )  # fmt: skip


def footprint(gib, context=0.0, fits=True):
    return Footprint(int(gib * GIB), int(context * GIB), 0.1, fits)


@pytest.mark.parametrize(
    ("machine", "concurrent", "share"),
    [
        ({"cpus": 2}, 2, 0.0),
        ({"cpus": 8, "cpus_per_trial": 3}, 2, 0.0),
        ({"cpus": 16, "gpus": 1}, 4, 0.25),
        ({"cpus": 16, "gpus": 1, "gpus_per_trial": 0.5}, 2, 0.5),
        ({"cpus": 16, "gpus": 2}, 8, 0.25),
        ({"cpus": 2, "gpus": 1}, 2, 0.5),
        ({"cpus": 3, "gpus": 1}, 3, 0.25),
        ({"cpus": 16, "gpus": 1, "max_concurrent": 1}, 1, 1.0),
        ({"cpus": 16, "gpus": 1, "gpus_per_trial": 0.3}, 3, 0.3),
        ({"cpus": 16, "gpus": 2, "gpus_per_trial": 0.4}, 4, 0.4),  # two on each: a share is not split over GPUs
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


@pytest.mark.parametrize("share", SHARE_CLASSES)
def test_a_footprint_that_just_fits_a_class_gets_it_and_one_above_gets_the_next(share):
    context = 0.5
    peak = (share * 16 - context) / HEADROOM
    assert share_class(footprint(peak - 0.01, context), MEMORY) == share
    if share < 1:
        assert share_class(footprint(peak + 0.01, context), MEMORY) == next_class(share)


def test_what_no_gpu_holds_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"trial 3 needs 18\.4 GiB of GPU memory and this GPU has 16\.0 GiB free") as e:
        share_class(footprint(16), MEMORY, subject="trial 3")
    assert "\n" not in str(e.value)
    with pytest.raises(InputError, match="needs more than"):
        share_class(footprint(4, fits=False), MEMORY)


def test_classes_end_at_the_whole_gpu():
    assert [next_class(share) for share in SHARE_CLASSES] == [*SHARE_CLASSES[1:], None]


def test_a_share_of_no_class_is_enlarged_to_the_next_class():
    """One that was given, or that an earlier version gave."""
    assert [next_class(share) for share in (1 / 6, 1 / 3, 0.9)] == [1 / 4, 1 / 2, 1]


def test_as_many_trials_fit_on_a_gpu_as_a_class_says():
    assert [trials_on_one(share) for share in SHARE_CLASSES] == [8, 4, 2, 1]
    assert [trials_on_one(share) for share in (1 / 6, 1 / 3, 0.9)] == [6, 3, 1]


@pytest.mark.parametrize(
    ("num_trials", "overlapping", "taking_turns"),
    [(1, 1, 1), (2, 1 / 2, 1 / 2), (3, 1 / 4, 1 / 4), (5, 1 / 8, 1 / 4), (40, 1 / 8, 1 / 4)],
)
def test_shares_too_small_for_the_cpus_to_fill_are_not_given(num_trials, overlapping, taking_turns):
    assert smallest_class(num_trials, overlaps=True) == overlapping
    assert smallest_class(num_trials, overlaps=False) == taking_turns


def test_each_configuration_gets_its_own_share():
    measured = {"small": footprint(1), "large": footprint(6, 0.5), "unknown": "the probe was killed"}
    got = shares(cpus=16, gpus=1, measured=measured, overlaps=True)
    assert got.by_footprint == {"small": 1 / 8, "large": 1 / 2, "unknown": 1.0}
    assert [got.share_of(key) for key in ("small", "large", "never met")] == [1 / 8, 1 / 2, 1.0]
    assert (got.max_concurrent, got.gpus_per_trial) == (8, 1.0)
    assert got.describe() == (
        "up to 8 trials at once, 1 CPU thread each; shares of a GPU by model and batch size: "
        "1/8 for 1, 1/2 for 1, 1 for 1"
    )


def test_two_cores_feed_two_trials_however_small():
    got = shares(cpus=2, gpus=1, measured={"small": footprint(1)}, overlaps=True)
    assert (got.max_concurrent, got.gpus_per_trial) == (2, 1 / 2)
    assert got.describe() == "2 trials at once, 1 CPU thread, 0.5 of a GPU each"


def test_a_share_the_person_gave_is_kept_whatever_was_measured():
    got = shares(cpus=16, gpus=1, measured={"small": footprint(1)}, gpus_per_trial=0.5)
    assert (got.max_concurrent, got.gpus_per_trial, got.by_footprint) == (2, 0.5, {})


def test_what_is_too_large_gets_the_whole_gpu_unless_everything_is():
    assert shares(cpus=4, gpus=1, measured={"a": footprint(1), "b": footprint(30)}).by_footprint["b"] == 1.0
    with pytest.raises(InputError, match=r"needs 34\.5 GiB"):
        shares(cpus=4, gpus=1, measured={"b": footprint(30), "c": footprint(40)})


def test_without_a_gpu_nothing_is_shared():
    got = shares(cpus=2, gpus=0, measured={"small": footprint(1)})
    assert (got.max_concurrent, got.gpus_per_trial, got.by_footprint) == (2, 0.0, {})

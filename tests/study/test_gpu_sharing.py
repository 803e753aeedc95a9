"""How trials share a GPU once they start: planned for taking turns, divided anew where MPS was asked for and works."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from xlite.console import Console
from xlite.gpu.limits import Sharing
from xlite.gpu.memory import DeviceMemory
from xlite.gpu.mps import Mps
from xlite.gpu.probe import TYPICAL_CONTEXT_BYTES, Footprint
from xlite.study import footprints
from xlite.study.footprints import divide, gpu_sharing
from xlite.study.options import StudyOptions
from xlite.study.shares import Shares

GIB = 2**30
MEMORY = DeviceMemory(80 * GIB, 79 * GIB)
MEASURED = {"small": Footprint(GIB, GIB // 2, 0.01), "large": Footprint(30 * GIB, GIB, 0.1), "unknown": "it died"}
PIPES = {"CUDA_MPS_PIPE_DIRECTORY": "/pipes"}


class Told(Console):
    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture
def machine(monkeypatch):
    """One GPU, 16 CPUs; machine(mps) is what a daemon will be found to be. Returns the daemons' beginnings and ends."""
    events = []

    def make(mps):
        @contextmanager
        def daemon(folder, *, num_gpus):
            events.append(("begin", folder, num_gpus))
            yield mps
            events.append("end")

        monkeypatch.setattr(footprints, "mps_daemon", daemon)
        return events

    monkeypatch.setattr(footprints, "device_memory", lambda: MEMORY)
    monkeypatch.setattr(footprints, "can_start", lambda num_gpus: "")
    monkeypatch.setattr("xlite.study.shares.available_cpus", lambda: 16)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    return make


def options(**changes):
    return StudyOptions(
        name="s", folder=Path("/r/s"), storage="", task="t", space=Path(), num_trials=1, max_epochs=1,
        promote_epochs=1, teacher_epochs=1, seed=0, cache_dir=Path(), settings={}, **changes,
    )  # fmt: skip


def test_without_mps_asked_for_no_daemon_is_tried_and_four_trials_take_turns(machine):
    events, told = machine(Mps(PIPES)), Told()
    planned = divide(options(), MEASURED)
    with gpu_sharing(options(), planned, MEASURED, told) as (shares, sharing):
        assert shares is planned and shares.max_concurrent == 4
        assert sharing == Sharing(MEMORY, GIB)
    assert events == [] and told.lines == []


def test_where_a_process_computes_through_mps_the_machine_is_divided_anew(machine):
    events, told = machine(Mps(PIPES)), Told()
    asked = options(mps=True)
    planned = divide(asked, MEASURED)
    with gpu_sharing(asked, planned, MEASURED, told) as (shares, sharing):
        assert (planned.max_concurrent, shares.max_concurrent) == (4, 8)
        assert shares.by_footprint == {"small": 1 / 8, "large": 1 / 2, "unknown": 1.0}
        assert sharing == Sharing(MEMORY, GIB, PIPES)
        assert events == [("begin", Path("/r/s/mps"), 1)]
    assert events[1:] == ["end"]
    (line,) = told.lines
    assert line.startswith("MPS runs, so trials on one GPU compute at the same time: up to 8 trials at once")


def test_where_none_does_the_plan_for_taking_turns_stays_and_one_line_says_why(machine):
    machine(Mps({}, "a process cannot compute through MPS (Error 805)"))
    told, asked = Told(), options(mps=True)
    planned = divide(asked, MEASURED)
    with gpu_sharing(asked, planned, MEASURED, told) as (shares, sharing):
        assert shares is planned and sharing == Sharing(MEMORY, GIB)
    assert told.lines == [
        "--mps: trials on one GPU take turns, as planned: a process cannot compute through MPS (Error 805)"
    ]


@pytest.mark.parametrize("changes", [{"address": "auto"}, {}], ids=["on a cluster", "no control program"])
def test_where_mps_cannot_be_tried_nothing_more_is_said_than_with_the_plan(machine, monkeypatch, changes):
    events, told = machine(Mps(PIPES)), Told()
    if not changes:
        monkeypatch.setattr(footprints, "can_start", lambda num_gpus: "it is not installed")
    asked = options(mps=True, **changes)
    with gpu_sharing(asked, divide(asked, MEASURED), MEASURED, told):
        assert events == [] and told.lines == []


def test_a_given_share_is_kept_and_a_cpu_is_not_shared(machine):
    machine(Mps(PIPES))
    asked = options(mps=True, gpus_per_trial=0.5)
    with gpu_sharing(asked, divide(asked, {}), {}, Told()) as (shares, sharing):
        assert (shares.gpus_per_trial, shares.max_concurrent) == (0.5, 2)
        assert sharing == Sharing(MEMORY, TYPICAL_CONTEXT_BYTES, PIPES)
    on_cpu = Shares(2, 0, 1, 0.0, 2)
    with gpu_sharing(asked, on_cpu, {}, Told()) as found:
        assert found == (on_cpu, None)

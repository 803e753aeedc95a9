"""One trial that fails never stops a study; many that fail for one reason do, with that reason."""

import pytest
import torch
from compare import rows_of
from harness import Place, Run, make_home

from xlite.models.artifact import load_artifact

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
HANG_LIMIT_S = 15
CONFIGURATIONS = """
from tiny_task import BREAKS_RECORDING, DIES, DIES_ONCE, DIVERGES, HANGS, LOSES_GPU, RAISES
SAME = {{"distill.alpha": 0.0, "optim.learning_rate": 3e-3}}
CONFIGURATIONS = [{{**SAME, "distill.temperature": fault}} for fault in {faults}]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return make_home(tmp_path_factory.mktemp("failing"))


def study(home, name, faults, *more, concurrent):
    (home / f"{name}.py").write_text(CONFIGURATIONS.format(faults=faults))
    more = ("--no-promote", "--trials", "9", *more)
    return Place(home, name, concurrent=concurrent, task="tiny_task:FAULTY", space=f"{name}.py", more=more)


def run(place):
    process = Run(place, environment={"XLITE_FAULTS_PLACE": str(place.root)})
    try:
        return process.wait(), process.output(), process.left_over()
    finally:
        process.end()


@pytest.fixture(scope="module")
def mixed(home):
    """Nine trials, two at a time, each but the first and the eighth with a fault of its own."""
    faults = "[1.0, RAISES, DIVERGES, HANGS, DIES, DIES_ONCE, LOSES_GPU, 1.5, BREAKS_RECORDING]"
    place = study(home, "mixed", faults, "--hang-limit", f"{HANG_LIMIT_S}s", concurrent=2)
    code, output, left_over = run(place)
    assert code == 0 and not left_over, output
    return place, {row.number: row for row in rows_of(place)}, output


@pytest.mark.parametrize(
    ("number", "reason", "epochs"),
    [
        (1, "ValueError: this trial raises on purpose", [1]),
        (2, "the loss is inf at epoch 2, step 1", [1]),
        (3, f"no epoch within {HANG_LIMIT_S} s; where it hung stands in hung.txt", [1]),
        (4, "its worker process died (out of memory, or killed)", [1, 2, 3]),  # each of three workers got one further
        (6, "RuntimeError: CUDA error: an illegal memory access was encountered", [1]),
    ],
    ids=["raises", "diverges", "hangs", "dies", "loses-gpu"],
)
def test_a_trial_that_fails_is_recorded_with_its_reason(mixed, number, reason, epochs):
    place, rows, output = mixed
    row = rows[number]
    assert row.state == "failed" and reason in row.reason and row.value is None
    assert reason in output
    assert sorted(row.curve) == epochs  # what was trained before the fault stands
    assert (place.study / "trials" / f"{number:05d}" / "trial.json").exists()


def test_where_a_trial_hung_can_be_read(mixed):
    traces = (mixed[0].study / "trials" / "00003" / "hung.txt").read_text()
    assert "Timeout" in traces and "tiny_task.py" in traces


def test_the_others_run_to_their_end(mixed):
    _, rows, output = mixed
    assert sorted(rows) == list(range(9)) and "[9/9]" in output
    # the eighth would have failed in a process that had lost its GPU
    assert [number for number, row in rows.items() if row.state == "complete"] == [0, 5, 7, 8]


def test_a_trial_whose_worker_was_killed_once_goes_on_with_the_same_curve(mixed):
    place, rows, _ = mixed
    assert (place.root / "died").exists()
    assert rows[5].state == "complete" and rows[5].curve == rows[0].curve  # the same but for what the fault is told by
    mended, whole = (load_artifact(place.study / "trials" / f"{n:05d}" / "student.safetensors")[0] for n in (5, 0))
    assert all(torch.equal(mended[key], whole[key]) for key in whole)


def test_a_trial_whose_recording_broke_its_process_goes_on_in_another_with_plain_steps(mixed):
    _, rows, _ = mixed
    row = rows[8]
    assert row.curve == rows[0].curve and row.summary.config["train.step"] == "plain"
    assert "steps cannot be recorded (made up): plain steps instead" in row.summary.notes

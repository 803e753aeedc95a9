"""What happens around a study: a second driver, Ctrl-C, a locked database, a full disk, a clock that jumps."""

import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress

import pytest
from compare import curve_gaps, rows_of
from harness import Place, Run, make_home

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
SPACE = """
CONFIGURATIONS = [{"distill.alpha": 0.0, "optim.learning_rate": rate} for rate in (1e-3, 2e-3)]
"""
EPOCHS = 400
LONG = ("--no-promote", "--max-epochs", str(EPOCHS), "--set", "train.patience=400")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = make_home(tmp_path_factory.mktemp("around"))
    (folder / "grid.py").write_text(SPACE)
    return folder


@pytest.fixture
def start():
    """Starts runs; what is left of them at the end of the test is ended."""
    runs = []

    def started(place):
        runs.append(Run(place))
        return runs[-1]

    yield started
    for run in runs:
        run.end()


def grid(home, name, *more):
    return Place(home, name, task="tiny_task:FAULTY", space="grid.py", more=more or LONG)


def until_epochs(run, number):
    assert run.wait_until(lambda: run.place.num_epochs() >= number), run.output()


def test_a_second_driver_is_turned_away_and_the_first_goes_on(home, start):
    first = start(grid(home, "two"))
    until_epochs(first, 1)
    second = start(first.place)
    assert second.wait() == 2, second.output()
    assert second.output().strip().splitlines()[-1] == (
        "error: study s: another process runs it; let it end, or choose another --study"
    )
    assert not second.left_over()
    until_epochs(first, first.place.num_epochs() + 2)
    first.kill("machine")
    rows = rows_of(first.place)
    assert [row.number for row in rows] == [0, 1] and rows[0].state == "running"


@pytest.mark.slow  # tests/ledger/test_patience.py has the wait itself
def test_a_locked_database_is_waited_for(home, start):
    run = start(grid(home, "locked"))
    until_epochs(run, 1)
    with closing(sqlite3.connect(run.place.study / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert run.wait_until(lambda: "database is locked; waiting up to 120 s" in run.output()), run.output()
        before = run.place.num_epochs()
        other.execute("ROLLBACK")
    until_epochs(run, before + 3)
    run.kill("machine")
    (row, _) = rows_of(run.place)
    assert (
        row.state == "running" and sorted(row.curve) == list(range(1, len(row.curve) + 1)) and len(row.curve) > before
    )


def test_ctrl_c_once_ends_cleanly_twice_at_once_and_the_study_goes_on(home, start):
    place = grid(home, "interrupted", "--no-promote", "--max-epochs", "60", "--set", "train.patience=60")
    once = start(place)
    until_epochs(once, 2)
    once.process.send_signal(signal.SIGINT)
    assert once.wait() == 130, once.output()
    assert "The same command with --study s continues" in once.output() and "Traceback" not in once.output()
    assert not once.left_over()
    done = place.num_epochs()

    twice = start(place)
    until_epochs(twice, done + 2)
    for _ in range(2):
        twice.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    assert twice.wait() == 130, twice.output()
    assert "Traceback" not in twice.output(), twice.output()
    assert not twice.left_over()

    last = start(place)
    assert last.wait() == 0, last.output()
    assert [(row.number, row.state, len(row.curve)) for row in rows_of(place)] == [
        (0, "complete", 60),
        (1, "complete", 60),
    ]
    assert not curve_gaps(place)


def fill(folder):
    """Take all the room there is; returns the file to remove."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


@pytest.fixture
def small_disk(home):
    """A study whose results lie on a disk of 30 MB of their own."""
    place = grid(home, "full", "--no-promote", "--max-epochs", "12", "--set", "train.patience=12")
    folder = place.root / "results"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_waited_for_and_no_trial_fails_for_it(small_disk, start):
    run = start(small_disk)
    until_epochs(run, 2)
    ballast = fill(small_disk.root / "results")
    assert shutil.disk_usage(ballast.parent).free == 0
    held_up = f"the disk of {small_disk.study / 'trials'}"
    assert run.wait_until(lambda: held_up in run.output(), limit_s=15), run.output()
    time.sleep(8)
    assert run.process.poll() is None and run.output().count(held_up) == 1, run.output()
    before = small_disk.num_epochs()
    ballast.unlink()
    until_epochs(run, before + 1)
    assert run.wait() == 0, run.output()
    assert [(row.number, row.state, len(row.curve)) for row in rows_of(small_disk)] == [
        (0, "complete", 12),
        (1, "complete", 12),
    ]
    assert not curve_gaps(small_disk) and not run.left_over()

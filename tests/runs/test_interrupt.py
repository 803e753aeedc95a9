"""Ctrl-C leaves a study that can be read and continued, and no process behind."""

import csv
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import REPO, run_runner

# tests/faults/test_surroundings.py has Ctrl-C in the default run; this one adds the baselines and what is left running.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
SPACE = """
BASELINE = {"distill.alpha": 0.0, "optim.learning_rate": 1e-3}
def space(trial):
    rate = trial.suggest_float("optim.learning_rate", 1e-4, 1e-2, log=True)
    return {"distill.alpha": 0.0, "optim.learning_rate": rate}
"""


@pytest.fixture
def command(tmp_path, tiny_nih):
    (tmp_path / "space.py").write_text(SPACE)
    teacher = tmp_path / "teacher"
    made = run_runner(
        "train_teacher", "--data", tiny_nih, "--cache-dir", tmp_path / "cache", "--image-size", 32, "--epochs", 1,
        "--backbone", "mobilenetv3_small_050", "--out", teacher,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    return [
        "--data", tiny_nih, "--results", tmp_path / "results", "--cache-dir", tmp_path / "cache", "--study", "s",
        "--space", tmp_path / "space.py", "--image-size", 32, "--teacher", teacher / "teacher.safetensors",
        "--no-promote",
    ]  # fmt: skip


def wait_for(condition, timeout_s=120):
    deadline = time.time() + timeout_s
    while time.time() < deadline:
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")


def test_after_ctrl_c_nothing_is_left_running_and_the_same_command_goes_on(command, tmp_path):
    command = [*command, "--trials", 3, "--max-epochs", 60, "--set", "train.patience=60"]
    started = subprocess.Popen(
        [sys.executable, REPO / "runners" / "tune_kd.py", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    trials = tmp_path / "results" / "s" / "trials"
    wait_for(lambda: len(list(trials.glob("*/trial.json"))) == 2)
    children = psutil.Process(started.pid).children(recursive=True)
    os.kill(started.pid, signal.SIGINT)
    output, _ = started.communicate(timeout=120)
    assert started.returncode == 130, output
    assert "The same command with --study s continues" in output
    assert "Traceback" not in output
    assert not psutil.wait_procs(children, timeout=20)[1]
    shown = run_runner("leaderboard", "--study", "s", "--results", tmp_path / "results")
    assert shown.returncode == 0, shown.stderr
    again = run_runner("tune_kd", *command)
    assert again.returncode == 0 and "3/3" in again.stdout, again.stdout + again.stderr
    with (tmp_path / "results" / "s" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["status"] in ("completed", "pruned") for row in rows) == 3
    assert sorted(int(row["trial"]) for row in rows) == list(range(len(rows)))  # no gap, no double
    assert {row["notes"] for row in rows if row["status"] == "failed"} <= {"interrupted"}

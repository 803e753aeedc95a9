"""Every benchmark that stands by itself runs to its end at toy sizes and prints its ratio."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPO

RUNS = {
    "kd_cost": ["--device", "cpu", "--quick"],
    "input": ["--device", "cpu", "--quick"],
    "loading": ["--quick"],
    "trial_memory": ["--quick", "--repeats", "1"],
    "twins": ["--quick"],
    "packing": ["--device", "cpu", "--quick"],
    "inference": ["--quick"],
    "predict_folder": ["--quick", "--repeats", "2"],
}


def run_benchmark(name: str, *arguments: str, **environment: str) -> str:
    """What it prints, once it has ended well."""
    done = subprocess.run(
        [sys.executable, str(REPO / "benchmarks" / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=580,
        cwd="/",
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_quick_run_ends_well_and_prints_its_ratios(name):
    lines = [line for line in run_benchmark(name, *RUNS[name]).splitlines() if line.startswith("ratio ")]
    assert lines and all("(goal: " in line for line in lines)
    assert any("reached)" in line or "missed)" in line for line in lines)
    values = [float(line.rpartition(" (goal: ")[0].rpartition(": ")[2]) for line in lines]
    assert all(value > 0 for value in values)


@pytest.mark.slow
def test_intervals_are_timed_and_their_coverage_counted():
    for section, first in (("speed", "what"), ("coverage", "patients"), ("difference", "seeds")):
        assert any(line.startswith(first) for line in run_benchmark("trust", section, "--quick").splitlines())


@pytest.mark.slow
def test_students_with_and_without_a_teacher_are_compared_and_nothing_is_run_twice(tmp_path):
    options = ["--quick", "--settings", "stm", "--ways", "kl", "--seeds", "1", "2", "--out", str(tmp_path)]
    first = run_benchmark("kd_helps", *options).splitlines()
    assert [line.partition(":")[0] for line in first[:4]] == [
        f"stm, seed {seed}, {way}" for seed in (1, 2) for way in ("alone", "kl")
    ]
    for answers in tmp_path.glob("stm/*/kl.npz"):  # of a way that is no more
        stored = dict(np.load(answers))
        np.savez(answers.with_name("gone.npz"), **{**stored, "answers": stored["answers"][::-1]})
        shutil.copy(answers.with_suffix(".json"), answers.with_name("gone.json"))
    again = run_benchmark("kd_helps", *options).splitlines()
    assert [line.split()[:3] for line in again] == [
        *(["setting", "way", "seeds"], ["stm", "gone", "2"], ["stm", "kl", "2"]),
        *(["setting", "way", "seeds"], ["stm", "gone", "2"]),
    ]
    assert again[2].split()[3:10] == first[5].split()[3:10]  # all but Holm's p

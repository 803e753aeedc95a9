"""The logs' baselines: the same tuner, the same leaderboard, phase baseline, resumable, no teacher trained."""

import csv

import pytest
from conftest import run_runner

pytestmark = pytest.mark.xdist_group("ray")
GRID = """
CONFIGURATIONS = [
    {"model.backbone": "mobilenetv3_small_050", "model.attention": a, "distill.alpha": 0.0, "optim.batch_size": 32}
    for a in ("none", "mhsa")
]
"""


def test_baselines_join_the_leaderboard_of_their_study_and_are_not_run_twice(tiny_nih, tmp_path):
    (tmp_path / "grid.py").write_text(GRID)
    places = ["--data", tiny_nih, "--results", tmp_path / "r", "--cache-dir", tmp_path / "c", "--image-size", 32]
    command = [*places, "--study", "s", "--space", tmp_path / "grid.py", "--epochs", 2, "--profile", "power-safe"]
    first = run_runner("train_baselines", *command)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Training the teacher" not in first.stdout and "1 trial at once" in first.stdout
    assert "best auc_macro" in first.stdout and "minutes" in first.stdout

    again = run_runner("train_baselines", *command)
    assert again.returncode == 0 and "2 trials are there, 0 to go" in again.stdout, again.stdout + again.stderr

    searched = run_runner(
        "tune_kd", *places, "--study", "s", "--space", tmp_path / "grid.py", "--max-epochs", 1, "--no-promote"
    )
    assert searched.returncode == 0, searched.stdout + searched.stderr
    with (tmp_path / "r" / "s" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == ["baseline"] * 4  # the searched ones have no teacher either
    baselines = rows[2:]
    assert {row["batch_size"] for row in baselines} == {"16"} and {row["rank"] for row in baselines} == {""}
    assert {row["epochs"] for row in baselines} == {"2"} and {row["status"] for row in baselines} == {"completed"}


@pytest.mark.slow
def test_baselines_measured_on_something_else_do_not_join(tiny_nih, tmp_path):
    (tmp_path / "grid.py").write_text(GRID)
    places = ["--data", tiny_nih, "--results", tmp_path / "r", "--cache-dir", tmp_path / "c", "--study", "s"]
    short = ["--space", tmp_path / "grid.py", "--image-size", 32]
    searched = run_runner("tune_kd", *places, *short, "--max-epochs", 1, "--no-promote")
    assert searched.returncode == 0, searched.stderr
    refused = run_runner("train_baselines", *places, *short[:2], "--epochs", 1, "--image-size", 48)
    assert refused.returncode == 2 and "measured on something else" in refused.stderr
    assert "image_size 32 there, 48 here" in refused.stderr


def test_a_space_that_is_no_grid_cannot_have_a_profile(tiny_nih, tmp_path):
    (tmp_path / "space.py").write_text("BASELINE = {}\ndef space(trial):\n    return {}\n")
    refused = run_runner(
        "train_baselines", "--data", tiny_nih, "--results", tmp_path / "r", "--cache-dir", tmp_path / "c",
        "--space", tmp_path / "space.py", "--profile", "power-safe",
    )  # fmt: skip
    assert refused.returncode == 2 and "only a grid" in refused.stderr and refused.stderr.count("\n") == 1

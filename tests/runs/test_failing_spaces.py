"""A search keeps its word on what it proposes, as real processes: --set, an exhausted space, a space that fails."""

import csv

import pytest
from conftest import read_json, run_runner

from xlite.ledger import Ledger, sqlite_url

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
SPACE = """
BASELINE = {"distill.alpha": 0.5, "distill.temperature": 2.0, "optim.batch_size": 32, "loss.name": "bce"}
def space(trial):
    chosen = {"distill.alpha": trial.suggest_categorical("distill.alpha", [0.0, 0.5, 1.0]),
              "optim.batch_size": trial.suggest_categorical("optim.batch_size", [16, 32]),
              "loss.name": trial.suggest_categorical("loss.name", ["bce", "focal"])}
    if chosen["distill.alpha"] > 0:
        chosen["distill.temperature"] = trial.suggest_float("distill.temperature", 2.0, 4.0, step=2.0)
    return chosen
"""


def tune(home, data, *more):
    return run_runner(
        "tune_kd", "--no-package",
        "--data", data, "--results", home / "results", "--cache-dir", home / "cache", "--study", "s",
        "--space", home / "space.py", "--max-epochs", 1, "--image-size", 32, "--max-concurrent", 1, *more,
    )  # fmt: skip


def rows(home):
    study = home / "results" / "s"
    with Ledger.open(sqlite_url(study / "study.db"), "s", create=False) as ledger:
        return ledger.rows()


def test_a_key_set_is_fixed_in_every_trial_and_an_exhausted_space_ends_the_search_in_order(tiny_nih, tmp_path):
    (tmp_path / "space.py").write_text(SPACE)
    command = ("--set", "distill.alpha=0", "--set", "model.backbone=lcnet_050", "--trials", 9)
    command += ("--promote-epochs", 1, "--promote-top", 1, "--promote-seeds", 1)
    done = tune(tmp_path, tiny_nih, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = [row.overrides for row in rows(tmp_path)]
    assert {chosen["distill.alpha"] for chosen in tried} == {0.0} and "distill.temperature" not in tried[0]
    assert sorted((chosen["optim.batch_size"], chosen["loss.name"]) for chosen in tried) == [
        *((16, "bce"), (16, "focal"), (32, "bce"), (32, "focal")),  # all there is, each once
    ]
    assert "Training the teacher" not in done.stdout and not (tmp_path / "cache" / "teachers").exists()
    assert "Nothing new is left to try: 4 distinct configurations are all of this space" in done.stdout
    assert "Promoted student" in done.stdout
    with (tmp_path / "results" / "s" / "leaderboard.csv").open() as file:
        board = list(csv.DictReader(file))
    assert {row["kd_alpha"] for row in board} == {"N/A"} and {row["cnn_backbone"] for row in board} == {"lcnet_050"}
    again = tune(tmp_path, tiny_nih, *command)
    assert again.returncode == 0 and "Nothing new is left to try: 4" in again.stdout, again.stdout + again.stderr
    assert len(rows(tmp_path)) == 4


@pytest.mark.slow
def test_a_space_that_fails_in_a_trial_is_one_line_and_continues_once_it_is_corrected(tiny_nih, tmp_path):
    space, study = tmp_path / "space.py", tmp_path / "results" / "s" / "study.json"
    begun = tmp_path / "results" / "s" / "trials" / "00000"  # not there yet when the space is checked
    rare = f"    if trial.number == 1 and Path({str(begun)!r}).exists():\n        chosen[1 / 0]\n    return chosen"
    space.write_text("from pathlib import Path" + SPACE.replace("    return chosen", rare))
    command = ("--trials", 2, "--set", "distill.alpha=0", "--set", "model.backbone=lcnet_050", "--no-promote")
    done = tune(tmp_path, tiny_nih, *command)
    where = f"{space}, line 10, trial 1: space(trial) failed: ZeroDivisionError: division by zero"
    assert (done.returncode, done.stderr) == (2, f"error: {where}\n"), done.stdout + done.stderr
    assert "Traceback" not in done.stdout and [row.state for row in rows(tmp_path)] == ["complete"]
    space.write_text(SPACE)
    done = tune(tmp_path, tiny_nih, *command)
    assert done.returncode == 0 and "1 trials are there, 1 to go" in done.stdout, done.stdout + done.stderr
    assert [row.state for row in rows(tmp_path)] == ["complete", "complete"]
    assert read_json(study)["meaning"]["space"]
    space.write_text(SPACE.replace("[16, 32]", "[8, 32]"))
    refused = tune(tmp_path, tiny_nih, *command)
    assert refused.returncode == 2 and "space was" in refused.stderr

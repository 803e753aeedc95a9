"""A search with three objectives as a person runs it: killed, continued, grown; its front everywhere it is shown."""

import csv
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from conftest import REPO, read_json, run_runner

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
SPACE = """
BASELINE = {"model.backbone": "mobilenetv3_small_050", "optim.learning_rate": 3e-3}
def space(trial):
    return {"model.backbone": trial.suggest_categorical("model.backbone", ["lcnet_050", "mobilenetv3_small_050"]),
            "distill.alpha": 0.0,
            "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-4, 1e-2, log=True)}
"""
COSTS = ["inference_time_ms", "inference_median_ms", "inference_p95_ms", "model_size_mb"]


def command(folder, data, *more):
    return (
        "tune_kd", "--no-package",
        "--data", data, "--results", folder / "results", "--cache-dir", folder / "cache", "--study", "s",
        "--space", folder / "space.py", "--max-epochs", 2, "--image-size", 32, "--set", "data.augmentation=light",
        "--no-promote", "--max-concurrent", 1, *more,
    )  # fmt: skip


def board(folder):
    with (folder / "results" / "s" / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def num_reported(database):
    if not database.exists():
        return 0
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        try:
            return connection.execute("SELECT count(*) FROM trial_intermediate_values").fetchone()[0]
        except sqlite3.OperationalError:
            return 0


def test_three_objectives_survive_a_kill_and_grow(tmp_path, tiny_nih):
    (tmp_path / "space.py").write_text(SPACE)
    objectives = ("--objectives", "auc,latency_ms,size_mb", "--latency-device", "cpu:1")
    words = [str(word) for word in command(tmp_path, tiny_nih, "--trials", 2, *objectives)]
    begun = subprocess.Popen(
        [sys.executable, REPO / "runners" / f"{words[0]}.py", *words[1:]], start_new_session=True, cwd=tmp_path
    )
    database, give_up = tmp_path / "results" / "s" / "study.db", time.monotonic() + 120
    while not num_reported(database) and begun.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    assert num_reported(database)

    done = run_runner(*command(tmp_path, tiny_nih, "--trials", 3))  # it keeps its objectives
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Objectives: auc_macro high, latency_ms low, size_mb low" in done.stdout and "Continuing s" in done.stdout
    rows = board(tmp_path)
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    ended = [row for row in rows if row["status"] == "completed"]
    assert "1" in {row["front"] for row in ended} and [row["knee"] for row in rows].count("knee") == 1
    for row in ended:
        assert row["objective_auc_macro"] == row["value"] and row["objective_size_mb"] == row["model_size_mb"]
        assert float(row["inference_time_ms"]) <= float(row["inference_median_ms"]) <= float(row["inference_p95_ms"])
    for backbone in {row["cnn_backbone"] for row in ended}:  # one student, one cost, before and after the kill
        costs = [[row[name] for name in COSTS] for row in ended if row["cnn_backbone"] == backbone]
        assert costs == [costs[0]] * len(costs)
    kept = read_json(tmp_path / "results" / "s" / "study.json")["meaning"]
    assert kept["objectives"] == ["auc_macro:max", "latency_ms:min", "size_mb:min"]
    assert kept["latency_device"] == "cpu:1"

    other = run_runner(*command(tmp_path, tiny_nih, "--trials", 3, "--objectives", "auc,size_mb"))
    assert other.returncode == 2 and "objectives was ['auc_macro:max', 'latency_ms:min', 'size_mb:min']" in other.stderr
    shown = run_runner("leaderboard", "--results", tmp_path / "results", "--study", "s")
    assert "1 knee" in shown.stdout
    told = run_runner("analyze", "--results", tmp_path / "results", "--study", "s")
    assert "Which students are worth considering?" in told.stdout and "Suggested: trial" in told.stdout

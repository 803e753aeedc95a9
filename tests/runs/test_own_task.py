"""A task of one's own, defined outside the library, runs through search, leaderboard and promotion."""

import csv

import numpy as np
import pytest
from conftest import read_json, run_runner

import xlite

MODULE = '''
"""Bars of numbers: which of three thirds of a row is the largest; the raw format is one text file an example."""

from dataclasses import dataclass

import numpy as np

from xlite.data.input_spec import InputSpec
from xlite.data.preprocess import Preprocess
from xlite.data.sources import ParsedDataset
from xlite.data.table import Item, Table
from xlite.tasks.target_spec import MULTICLASS
from xlite.tasks.task import Budget, Defaults, Task


@dataclass(frozen=True)
class BarPicture(Preprocess):
    image_size: int
    version: int = 1

    @property
    def input_spec(self):
        return InputSpec("image", (self.image_size, self.image_size))

    def read(self, item):
        heights = np.loadtxt(item.path)
        bars = np.repeat(heights, -(-self.image_size // 3))[: self.image_size]
        return np.tile(np.clip(bars, 0, 255).astype(np.uint8), (self.image_size, 1))


def read(folder, *, allow_missing, data, column_overrides):
    files = sorted(folder.glob("*.txt"))
    largest = [int(np.loadtxt(file).argmax()) for file in files]
    ids = np.array([file.stem for file in files])
    items = tuple(Item((file,)) for file in files)
    table = Table(ids, items, ids, np.eye(3, dtype=np.float32)[largest], ("left", "mid", "right"))
    return ParsedDataset(table, kind="multiclass")


BUDGET = Budget(teacher_epochs=2, num_trials=2, max_epochs=2, promote_epochs=3)
DEFAULTS = Defaults(
    space="images_kd_cpu.py", baselines="baselines_cpu.py", budget=BUDGET, demo_budget=BUDGET,
    config={"data.image_size": 32},
    teacher={"model.backbone": "mobilenetv3_small_075", "optim.learning_rate": 3e-3, "optim.schedule": "cosine"},
)
BARS = Task(
    name="bars", title="Bars", read=read, preprocess=lambda data, reading: BarPicture(data.image_size),
    defaults={"cpu": DEFAULTS, "cuda": DEFAULTS}, declared_target_spec=MULTICLASS,
)
'''


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_toy_task_from_raw_files_to_a_promoted_student(tmp_path, monkeypatch):
    (tmp_path / "toy_task.py").write_text(MODULE)
    raw = tmp_path / "raw"
    raw.mkdir()
    rng = np.random.default_rng(0)
    for i in range(90):
        np.savetxt(raw / f"{i:03}.txt", rng.uniform(20, 230, 3))
    done = run_runner(
        "tune_kd", "--task", "toy_task:BARS", "--data", raw, "--study", "s", "--results", tmp_path / "r",
        "--cache-dir", tmp_path / "c", "--promote-top", 1, "--promote-seeds", 1, PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (tmp_path / "r" / "s" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and rows[0]["phase"] == "final"
    assert {row["metric"] for row in rows} == {"balanced_accuracy"}
    metrics = read_json(tmp_path / "r" / "s" / "promoted" / "metrics.json")
    assert set(metrics["test"]["per_label"]) == {"left", "mid", "right"}
    assert float(rows[0]["test_value"]) == pytest.approx(metrics["test"]["metrics"]["balanced_accuracy"], abs=1e-4)
    monkeypatch.syspath_prepend(tmp_path)  # the model's description names toy_task:BarPicture
    answer = xlite.load(tmp_path / "r" / "s" / "promoted").predict(raw / "000.txt")
    assert set(answer) == {"left", "mid", "right"} and sum(answer.values()) == pytest.approx(1)

    refused = run_runner("tune_kd", "--task", "toy_task:BARS", "--study", "x", PYTHONPATH=str(tmp_path))
    assert refused.returncode == 2 and "there is no built-in data set" in refused.stderr

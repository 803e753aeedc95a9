"""What a study will take, said before it begins, from a few measured numbers."""

import re
import shutil
from collections import namedtuple
from types import SimpleNamespace

import psutil
import pytest
import torch
from conftest import write_nih_folder

from xlite.commands import tune_kd
from xlite.commands.cli import run as run_command
from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.errors import InputError
from xlite.gpu.probe import Footprint, Shapes, footprint_key
from xlite.models.limits import Cost
from xlite.study import foresee as foreseeing
from xlite.study.estimate import Estimate, epochs_s, gigabytes, trials_s
from xlite.study.foresee import _time_of, foresee
from xlite.study.step_cost import StepCost, measure_step, saved_bytes
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train.batch_loader import BatchLoader
from xlite.train.run import TrainingRun
from xlite.train.step import Learner

ALL = Estimate(360.0, (900.0, 900.0), (240.0, 240.0), 0.1e9, 0.3e9, num_processes=2, process_bytes=1.1e9)
ABOUT = "Estimate, within a factor of about 2: "


@pytest.mark.parametrize(
    ("estimate", "line"),
    [
        (ALL, "25 min (teacher 6.0, search 15, promotion 4.0), 0.4 GB of disk, 2 trial processes of 1.1 GB memory"),
        (
            Estimate(0.0, (9.0, 20.0), (3.0, 12.0), 3e6, 0.0, 1, 0.9e9),
            "12 to 32 s (search 9.0 to 20, promotion 3.0 to 12), 0.00 GB of disk, 1 trial process of 0.9 GB memory",
        ),
        (
            Estimate(0.0, (2e4, 2e4), (0.0, 0.0), 3e9, 0.0, 4, 2e9),
            "5.6 h (search 5.6), 3.0 GB of disk, 4 trial processes of 2.0 GB memory",
        ),
    ],
)
def test_one_line_says_time_disk_and_memory(estimate, line):
    assert estimate.describe() == ABOUT + line


def test_a_search_takes_its_trials_in_turn_and_at_least_a_whole_one():
    assert trials_s(99.5, num_trials=10, at_once=2) == pytest.approx(8 + 500)
    assert trials_s(99.5, num_trials=1, at_once=4) == pytest.approx(8 + 100)
    assert epochs_s(0.01, num_epochs=4, num_train=1000, num_val=300) == pytest.approx(44)
    assert gigabytes(2.14e9) == "2.1 GB" and gigabytes(34e6) == "0.03 GB" and gigabytes(12.4e9) == "12 GB"


def test_a_step_costs_what_is_fixed_and_what_its_examples_take():
    cost = StepCost(fixed_s=0.02, example_s=0.001, num_params=10**6, example_bytes=2e6)
    assert cost.epoch_s(100, batch_size=20) == pytest.approx(0.2)
    assert cost.peak_bytes(32) == pytest.approx(80e6)


CONFIG = RunConfig().override(
    {"model.backbone": "lcnet_050", "data.image_size": 32, "optim.batch_size": 8}, source="test"
)


def test_measuring_a_step_leaves_threads_and_random_numbers_as_they_were(tiny_dataset):
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    cost = measure_step(CONFIG, CHESTXRAY14, tiny_dataset, choose_device(kind="cpu"))
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads
    assert 0 < cost.epoch_s(8, 8) < 10 and cost.num_params > 10**5


def test_what_a_step_saves_grows_with_its_examples_alone(tiny_dataset):
    learner = Learner(run := TrainingRun(CONFIG, CHESTXRAY14, tiny_dataset, choose_device(kind="cpu")))
    learner.prepare(frozen=False, rate=1e-4)
    (batch, *_) = BatchLoader(run).batches(BatchLoader(run).plan(0))
    whole, half = saved_bytes(learner, batch), saved_bytes(learner, next(batch.micro_batches(2)))
    assert whole == pytest.approx(2 * half, rel=0.05)
    assert whole > 8 * (32 * 32 + 8 * 16 * 16) * 4  # more than the first layer's input and output


def test_on_a_gpu_a_probed_step_counts_and_else_the_slowest_students_by_latency(tiny_dataset):
    shapes = Shapes.of(tiny_dataset, "chestxray14", "multilabel", choose_device(kind="cpu"))
    other = CONFIG.override({"model.backbone": "mobilenetv3_small_050"}, source="test")
    footprints = {footprint_key(CONFIG, shapes, choose_device(kind="cpu")): Footprint(2**30, 0, step_s=0.8)}
    costs = SimpleNamespace(of=lambda model: Cost(1, 1.0, latency_ms=4.0 if model == CONFIG.model else 1.0))
    plan = SimpleNamespace(footprints=footprints, candidates=SimpleNamespace(shapes=shapes, costs=costs))
    measured = StepCost(fixed_s=0.0, example_s=0.2, num_params=1, example_bytes=1.0)
    example_s = _time_of(plan, CONFIG, measured)
    assert example_s(CONFIG) == pytest.approx(0.1)  # 0.8 s for a batch of 8
    assert example_s(other) == pytest.approx(0.05)


SPACE = """
BASELINE = {"model.backbone": "lcnet_050", "distill.alpha": 0.5}
def space(trial):
    return {"model.backbone": "lcnet_050", "distill.alpha": trial.suggest_float("distill.alpha", 0.1, 0.9)}
"""
MEMORY = r"Memory may not suffice: 1.0 GB are free, about [\d.]+ GB are needed; --max-concurrent 1 takes less"


def test_a_dry_run_says_it_and_what_the_machine_lacks(tmp_path, monkeypatch, capsys):
    write_nih_folder(tmp_path / "nih", 60)
    (tmp_path / "space.py").write_text(SPACE)
    free = namedtuple("usage", "total used free")(2**30, 2**30 - 17 * 2**20, 17 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: free)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**9))
    monkeypatch.setattr("xlite.study.shares.available_cpus", lambda: 4)
    words = f"--data {tmp_path}/nih --results {tmp_path}/r --cache-dir {tmp_path}/c --space {tmp_path}/space.py"
    with pytest.raises(SystemExit) as left:
        run_command(
            tune_kd.run, tune_kd.parser(), [*words.split(), "--image-size", "16", "--max-epochs", "2", "--dry-run"]
        )
    lines = capsys.readouterr().out.splitlines()
    assert left.value.code == 0, lines
    said = next(line for line in lines if line.startswith(ABOUT))
    assert re.search(
        r" s \(teacher [\d.]+, search [\d.]+, promotion [\d.]+ to [\d.]+\), [\d.]+ GB of disk, 4 trial proc", said
    )
    assert any(
        re.search(rf"^The disk of {tmp_path}.* may not suffice: 0.02 GB are free, about", line) for line in lines
    )
    assert any(re.fullmatch(MEMORY, line) for line in lines), lines


def test_a_loss_that_raises_leaves_the_estimate_out_and_a_mistake_is_told(tmp_path, monkeypatch):
    plan = SimpleNamespace(study=SimpleNamespace(options=SimpleNamespace(folder=tmp_path)))

    def estimated(error):
        def fails(*_, **__):
            raise error

        monkeypatch.setattr(foreseeing, "_estimate", fails)
        return foresee(plan, None, promotes=True)

    assert estimated(ValueError("of one's own loss")) == []
    with pytest.raises(InputError, match="no such file"):
        estimated(InputError("w.pt: no such file"))

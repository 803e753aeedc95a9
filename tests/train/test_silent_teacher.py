"""A run with a teacher that is silent about some labels and images."""

from dataclasses import replace

import numpy as np
import pytest

from xlite.config import RunConfig
from xlite.data.batches import ViewReader
from xlite.device import choose_device
from xlite.distill.bank import open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.teacher import Teacher
from xlite.distill.teachers.own import OwnModel
from xlite.models.build import build_model
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.batch_loader import BatchLoader
from xlite.train.loop import fit
from xlite.train.run import TrainingRun
from xlite.train.step import Learner

CPU = choose_device("fp32", kind="cpu")
SMALL = {
    "model.backbone": "mobilenetv3_small_050",
    "data.image_size": 32,
    "data.augmentation": "none",
    "model.dropout": 0.2,
    "optim.learning_rate": 3e-3,
    "train.epochs": 2,
}


class HalfSilent(Teacher):
    """Knows nothing of the third label, nor anything of every second image."""

    def answer(self, pixels, auxiliary, rows, *, device):
        logits = super().answer(pixels, auxiliary, rows, device=device)
        logits[:, 2] = np.nan
        logits[rows % 2 == 1] = np.nan
        return logits


def config(changes):
    return RunConfig().override({**SMALL, **changes}, source="test")


def bank_of(dataset, folder, kind=Teacher):
    model = build_model(config({}).model, num_labels=3, seed=5).eval().requires_grad_(False)
    teacher = kind((OwnModel(model, 32, {}, kind.__name__, dataset.input_spec),), dataset.input_spec)
    reader = ViewReader(dataset.open_pixels(), dataset.rows[:140], "none", 42)
    source = BankSource(teacher, reader, CPU, num_views=2)
    return open_or_build(source, data_key="d", logits_shape=(3,), folder=folder)


@pytest.fixture(scope="module")
def bank(tiny_dataset, tmp_path_factory):
    return bank_of(tiny_dataset, tmp_path_factory.mktemp("bank"))


def run_of(dataset, changes, bank):
    return TrainingRun(config(changes), TASK, dataset, CPU, bank)


def test_what_a_teacher_says_nothing_of_is_learnt_from_labels_alone(tiny_dataset, tmp_path):
    bank = bank_of(tiny_dataset, tmp_path, HalfSilent)
    assert bank.has_gaps
    train = next(fit(run_of(tiny_dataset, {"distill.alpha": 0.5}, bank))).train
    assert np.isfinite(train["loss"]) and train["soft"] > 0
    run = run_of(tiny_dataset, {"distill.alpha": 1.0}, bank)
    learner, loader = Learner(run), BatchLoader(run)
    batch, _ = loader.load(loader.plan(0)[0])
    logits = learner.forward(batch).detach().requires_grad_()
    learner.evaluate(logits, batch)[1].backward()
    silent = batch.teacher_logits.isnan()
    assert silent[:, 2].all() and silent.any(dim=0).all() and not silent.all()
    assert (logits.grad[silent] == 0).all() and (logits.grad[~silent] != 0).all()


def test_a_bank_without_gaps_is_not_searched_for_them(tiny_dataset, bank):
    assert not bank.has_gaps and replace(bank, has_gaps=True) != bank
    assert not Learner(run_of(tiny_dataset, {"distill.alpha": 0.5}, bank)).objective.has_gaps

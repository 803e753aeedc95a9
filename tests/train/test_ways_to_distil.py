"""Ways to distil, as a run uses them: features, silent teachers; resumed and in micro-batches."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from xlite.config import RunConfig
from xlite.data.batches import ViewReader
from xlite.device import choose_device
from xlite.distill.bank import open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.signals import Signals
from xlite.distill.teacher import Teacher
from xlite.distill.teachers.own import OwnModel
from xlite.errors import InputError
from xlite.losses.matching import feature_direction
from xlite.models.artifact import load_artifact, load_model
from xlite.models.build import build_model
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.batch_loader import BatchLoader
from xlite.train.checkpoint import checkpoint_files
from xlite.train.loop import fit
from xlite.train.resumable import train_resumable
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
FEATURES = {"distill.feature_weight": 0.7}


class HalfSilent(Teacher):
    """Knows nothing of the third label, nor anything of every second image."""

    def signals(self, pixels, auxiliary, rows, *, device):
        logits = super().signals(pixels, auxiliary, rows, device=device).logits
        logits[:, 2] = np.nan
        logits[rows % 2 == 1] = np.nan
        return Signals(logits, None)


def config(changes):
    return RunConfig().override({**SMALL, **changes}, source="test")


def bank_of(dataset, folder, kind=Teacher, **options):
    model = build_model(config({}).model, num_labels=3, seed=5).eval().requires_grad_(False)
    teacher = kind((OwnModel(model, 32, {}, kind.__name__, dataset.input_spec),), dataset.input_spec)
    reader = ViewReader(dataset.open_pixels(), dataset.rows[:140], "none", 42)
    return open_or_build(
        BankSource(teacher, reader, CPU, num_views=2), data_key="d", logits_shape=(3,), folder=folder, **options
    )


@pytest.fixture(scope="module")
def bank(tiny_dataset, tmp_path_factory):
    return bank_of(tiny_dataset, tmp_path_factory.mktemp("bank"), features=True)


def run_of(dataset, changes, bank):
    return TrainingRun(config(changes), TASK, dataset, CPU, bank)


def curve(dataset, changes, bank):
    return [(report.value, report.train) for report in fit(run_of(dataset, changes, bank))]


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({"distill.alpha": 0.6, "distill.temperature": 2.0}, {"soft": 0.6 * 4, "hard": 0.4}),
        (FEATURES, {"hard": 1.0, "features": 0.7}),
        ({**FEATURES, "distill.alpha": 1.0, "distill.temperature": 2.0}, {"soft": 4.0, "features": 0.7}),
    ],
)
def test_the_loss_is_the_weighted_sum_of_its_logged_terms(tiny_dataset, bank, changes, weights):
    train = next(fit(run_of(tiny_dataset, changes, bank))).train
    assert train["loss"] == pytest.approx(sum(weight * train[name] for name, weight in weights.items()), rel=1e-5)
    assert train["loss"] > 0 and all(np.isfinite(value) for value in train.values())


def test_the_features_of_student_and_teacher_come_to_point_the_same_way(tiny_dataset, bank):
    changes = {"distill.feature_weight": 1.0, "train.epochs": 5}
    distances = [report.train["features"] for report in fit(run_of(tiny_dataset, changes, bank))]
    assert distances[0] > 0.5 and distances[-1] < 0.5 * distances[0]


def test_features_need_a_teacher_and_a_bank_that_has_them(tiny_dataset, tmp_path):
    with pytest.raises(InputError, match=r"distill\.feature_weight=0\.7 needs a teacher; .* or set feature_weight=0"):
        next(fit(run_of(tiny_dataset, FEATURES, None)))
    with pytest.raises(InputError, match=r"distill\.feature_weight=0\.7: the teacher bank was built without features"):
        next(fit(run_of(tiny_dataset, FEATURES, bank_of(tiny_dataset, tmp_path))))


def finished(dataset, folder, changes, bank, epochs=None):
    run = train_resumable(run_of(dataset, changes, bank), folder=folder, stem="student", hyper_parameters={"a": 1})
    out = list(itertools.islice(run, epochs))
    run.close()
    return out


def test_the_projection_is_in_the_checkpoint_and_not_in_the_model(tiny_dataset, bank, tmp_path):
    finished(tiny_dataset, tmp_path, FEATURES, bank)
    saved = next(file for file in checkpoint_files(tmp_path, "student") if file.exists())
    with safe_open(saved, framework="pt") as file:
        assert "projection.weight" in file.keys()  # noqa: SIM118  not a dict
    state, _ = load_artifact(tmp_path / "student.safetensors")
    plain = build_model(config({}).model, num_labels=3, seed=0)
    assert state.keys() == plain.state_dict().keys()
    model, _ = load_model(tmp_path / "student.safetensors")
    assert model(torch.zeros(1, 32, 32, dtype=torch.uint8)).shape == (1, 3)


WAYS = {
    "features": FEATURES,
    "features and kl": {**FEATURES, "distill.alpha": 0.5, "optim.freeze_epochs": 1},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_run_equals_an_uninterrupted_one(tiny_dataset, bank, tmp_path, way):
    changes = {**WAYS[way], "train.epochs": 3}
    whole = finished(tiny_dataset, tmp_path / "whole", changes, bank)
    finished(tiny_dataset, tmp_path / "parts", changes, bank, epochs=1)
    rest = finished(tiny_dataset, tmp_path / "parts", changes, bank)
    assert [k.report.train for k in rest[1:]] == [k.report.train for k in whole[1:]]
    states = [load_artifact(tmp_path / name / "student.safetensors")[0] for name in ("whole", "parts")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("way", WAYS)
def test_the_step_on_fixed_buffers_gives_the_plain_curve(tiny_dataset, bank, way):
    plain, graph = ({**WAYS[way], "train.step": step} for step in ("plain", "graph"))
    assert curve(tiny_dataset, plain, bank) == curve(tiny_dataset, graph, bank)


def test_micro_batches_add_up_to_the_batch(tiny_dataset, bank):
    """Of features, too, without batch normalisation and dropout."""
    quiet = {"model.backbone": "convnext_atto", "model.dropout": 0.0}
    ways = {**FEATURES, "distill.alpha": 0.5, "optim.batch_size": 10}
    runs = [run_of(tiny_dataset, {**quiet, **ways, "train.micro_batches": n}, bank) for n in (1, 3)]
    loader = BatchLoader(runs[0])
    batch, _ = loader.load(loader.plan(0)[0])
    learners = [Learner(run) for run in runs]
    for learner in learners:
        learner.prepare(frozen=False, rate=1e-3)
    expected, got = (learner.step(batch) for learner in learners)
    torch.testing.assert_close(got.terms, expected.terms)
    torch.testing.assert_close(got.norm, expected.norm)
    for ours, theirs in zip(learners[1].groups, learners[0].groups, strict=True):
        torch.testing.assert_close(ours.value.grad, theirs.value.grad, rtol=1e-4, atol=1e-6)


def test_the_features_loss_is_that_of_the_projected_features(tiny_dataset, bank):
    run = run_of(tiny_dataset, FEATURES, bank)
    learner, loader = Learner(run), BatchLoader(run)
    batch, _ = loader.load(loader.plan(0)[0])
    assert batch.teacher_features.shape == (32, bank.num_features)
    learner.model.eval()
    _, pooled = learner.model.with_features(batch.images)
    expected = feature_direction(pooled @ learner.projection.weight.T, batch.teacher_features)
    _, loss = learner.evaluate(learner.forward(batch), batch)
    hard = learner.objective.supervised(learner.model(batch.images), batch.targets)
    torch.testing.assert_close(loss, hard + 0.7 * expected)


def test_what_a_teacher_says_nothing_of_is_learnt_from_labels_alone(tiny_dataset, tmp_path):
    bank = bank_of(tiny_dataset, tmp_path, HalfSilent)
    assert bank.has_gaps
    train = next(fit(run_of(tiny_dataset, {"distill.alpha": 0.5}, bank))).train
    assert np.isfinite(train["loss"]) and train["soft"] > 0
    run = run_of(tiny_dataset, {"distill.alpha": 1.0}, bank)
    learner, loader = Learner(run), BatchLoader(run)
    batch, _ = loader.load(loader.plan(0)[0])
    logits = learner.forward(batch)[0].detach().requires_grad_()
    learner.evaluate((logits,), batch)[1].backward()
    silent = batch.teacher_logits.isnan()
    assert silent[:, 2].all() and silent.any(dim=0).all() and not silent.all()
    assert (logits.grad[silent] == 0).all() and (logits.grad[~silent] != 0).all()


def test_a_bank_without_gaps_is_not_searched_for_them(tiny_dataset, bank):
    assert not bank.has_gaps and replace(bank, has_gaps=True) != bank
    assert not Learner(run_of(tiny_dataset, {"distill.alpha": 0.5}, bank)).objective.has_gaps

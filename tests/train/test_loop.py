"""The loop: seeded to the bit, best weights are copies, and nothing that is not finite reaches the optimiser."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from xlite.config import RunConfig
from xlite.data.batches import ViewReader
from xlite.device import choose_device
from xlite.distill.bank import open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.teacher import Teacher
from xlite.distill.teachers.own import OwnModel
from xlite.errors import InputError, TrainingFailed
from xlite.models.build import build_model
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.batch_loader import Batch, BatchLoader
from xlite.train.loop import fit
from xlite.train.run import TrainingRun
from xlite.train.step import Learner, check_finite

CPU = choose_device("fp32", kind="cpu")
SMALL = {
    "model.backbone": "mobilenetv3_small_050",
    "data.image_size": 32,
    "data.augmentation": "none",
    "train.epochs": 3,
    "model.dropout": 0.2,
    "optim.learning_rate": 3e-3,
}


def config(**changes):
    return RunConfig().override({**SMALL, **{k.replace("__", "."): v for k, v in changes.items()}}, source="test")


def run_of(dataset, cfg, device=CPU, **kwargs):
    return TrainingRun(cfg, TASK, dataset, device, **kwargs)


def curve(dataset, cfg, **kwargs):
    return [(r.value, r.train["loss"], r.val_loss) for r in fit(run_of(dataset, cfg, **kwargs))]


@pytest.fixture(scope="module")
def bank(tiny_dataset, tmp_path_factory):
    model = build_model(config().model, num_labels=3, seed=5).eval().requires_grad_(False)
    spec = tiny_dataset.input_spec
    teacher = Teacher((OwnModel(model, 32, {}, "teacher-key", spec),), spec)
    reader = ViewReader(tiny_dataset.open_pixels(), tiny_dataset.rows[:140], "none", 42)
    source, folder = BankSource(teacher, reader, CPU, num_views=2), tmp_path_factory.mktemp("bank")
    return open_or_build(source, data_key="tiny", logits_shape=(3,), folder=folder)


def test_the_same_configuration_gives_the_same_curve_to_the_bit(tiny_dataset):
    assert curve(tiny_dataset, config()) == curve(tiny_dataset, config())


def test_what_else_used_the_global_generator_does_not_matter(tiny_dataset):
    torch.manual_seed(1)
    first = curve(tiny_dataset, config())
    torch.manual_seed(2)
    torch.rand(100)
    assert curve(tiny_dataset, config()) == first


def test_another_seed_gives_another_curve(tiny_dataset):
    assert curve(tiny_dataset, config()) != curve(tiny_dataset, config(train__seed=1))


def test_another_process_gives_the_same_weights(tiny_dataset):
    code = f"""
import hashlib, pickle, sys
from xlite.train.loop import fit
from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train.run import TrainingRun
dataset = pickle.load(sys.stdin.buffer)
config = RunConfig().override({SMALL!r}, source="test")
digest = hashlib.sha256()
for report in fit(TrainingRun(config, CHESTXRAY14, dataset, choose_device("fp32", kind="cpu"))):
    digest.update(repr((report.value, report.train["loss"])).encode())
    for tensor in (report.best_state or {{}}).values():
        digest.update(tensor.numpy().tobytes())
print(digest.hexdigest())
"""
    import pickle

    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(tiny_dataset), capture_output=True)
    here = hashlib.sha256()
    for report in fit(run_of(tiny_dataset, config())):
        here.update(repr((report.value, report.train["loss"])).encode())
        for tensor in (report.best_state or {}).values():
            here.update(tensor.numpy().tobytes())
    assert done.stdout.decode().strip() == here.hexdigest(), done.stderr.decode()[-2000:]


def test_best_weights_are_copies_that_later_epochs_do_not_change(tiny_dataset):
    reports = fit(run_of(tiny_dataset, config()))
    first = next(reports)
    before = {name: tensor.clone() for name, tensor in first.best_state.items()}
    list(reports)
    assert all(torch.equal(before[name], tensor) for name, tensor in first.best_state.items())


def test_it_learns_what_is_there_to_learn(tiny_dataset):
    last = list(fit(run_of(tiny_dataset, config(train__epochs=12))))[-1]
    assert last.best_value > 0.9 and last.stop == "budget"


def test_distillation_needs_a_teacher(tiny_dataset):
    with pytest.raises(InputError, match=r"distill\.alpha=0\.5 needs a teacher"):
        next(fit(run_of(tiny_dataset, config(distill__alpha=0.5))))


def test_each_term_of_the_distillation_loss_is_logged_by_itself(tiny_dataset, bank):
    cfg = config(distill__alpha=0.6, distill__temperature=2.0, distill__focal_weight=0.3, loss__name="bce_focal")
    train = next(fit(run_of(tiny_dataset, cfg, bank=bank))).train
    assert {"loss", "hard", "soft", "bce", "focal", "kd_focal", "auc_macro"} <= set(train)
    expected = 0.6 * 4.0 * train["soft"] + 0.4 * train["hard"] + 0.3 * train["kd_focal"]
    assert train["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_optimiser_never_sees_what_is_not_finite(tiny_dataset, what):
    learner = Learner(run_of(tiny_dataset, config()))
    batch = Batch(CPU.put(np.array(tiny_dataset.open_pixels()[:8])), None, torch.zeros(8, 3), None)
    learner.prepare(frozen=False, rate=1e-3)
    learner.step(batch)  # so that the optimiser has a state to be damaged
    before = {name: tensor.clone() for name, tensor in learner.tensors().items() if "running" not in name}
    objective = learner.objective

    def broken(*args):
        parts = objective(*args)
        if what == "loss":
            return {**parts, "loss": parts["loss"] * float("nan")}
        return {**parts, "loss": torch.sqrt(parts["loss"] - parts["loss"].detach())}  # 0, with an infinite slope

    learner.objective = broken
    done = learner.step(batch)
    with pytest.raises(TrainingFailed, match=f"the {what}.* is (nan|inf) at epoch 1, step 3"):
        check_finite([done], epoch=1, first_step=3, rate=1e-3)
    after = learner.tensors()
    changed = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    assert [name for name in changed if not name.endswith("num_batches_tracked")] == []


@pytest.mark.parametrize("step", ["plain", "graph"])
def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(tiny_dataset, step):
    target_spec = TASK.target_spec
    calls = 0

    class NaNAtTheSixth:
        def __init__(self, objective):
            self.objective, self.supervised = objective, objective.supervised

        def __call__(self, *args):
            nonlocal calls
            calls += 1
            parts = self.objective(*args)
            return {**parts, "loss": parts["loss"] * (float("nan") if calls == 6 else 1.0)}

    task = replace(
        TASK,
        declared_target_spec=replace(
            target_spec, make_objective=lambda *args: NaNAtTheSixth(target_spec.make_objective(*args))
        ),
    )
    reports = fit(TrainingRun(config(train__step=step), task, tiny_dataset, CPU))  # 140 rows are 4 batches of 32
    assert np.isfinite(next(reports).train["loss"])
    with pytest.raises(TrainingFailed, match=r"the loss is nan at epoch 2, step 2 \(learning rate 0\.003\)"):
        next(reports)


def test_a_batch_that_cannot_be_normalised_ends_the_run_with_what_to_raise(tiny_dataset):
    with pytest.raises(TrainingFailed, match=r"one value of a channel; raise optim.batch_size or data.image_size"):
        next(fit(run_of(tiny_dataset, config(optim__batch_size=1))))


def test_bf16_autocast_learns_too(tiny_dataset):
    bf16 = choose_device("bf16", kind="cpu")
    last = list(fit(run_of(tiny_dataset, config(train__epochs=8), bf16)))[-1]
    assert bf16.autocast_dtype is torch.bfloat16 and last.best_value > 0.8


def test_the_test_part_cannot_be_read_while_selecting(tiny_dataset):
    with pytest.raises(PermissionError):
        tiny_dataset.part("test")
    assert len(tiny_dataset.unsealed().part("test")) == 30


def test_a_sampler_draws_rare_labels_more_often(tiny_dataset):
    weights = TASK.target_spec.sample_weights(tiny_dataset.targets[:140], "mean")
    feed = BatchLoader(run_of(tiny_dataset, config(data__sampler="mean")))
    np.testing.assert_array_equal(feed.weights, weights)
    assert TASK.target_spec.sample_weights(tiny_dataset.targets[:140], "none") is None


def test_micro_batches_add_up_to_the_batch(tiny_dataset):
    """Without batch normalisation and dropout a step in parts is the same step, unknown labels or not."""
    quiet = {"model__backbone": "convnext_atto", "model__dropout": 0.0, "loss__name": "bce_focal"}
    targets = torch.eye(10, 3)
    targets[:3, 1:] = torch.nan  # all in the first part
    batch = Batch(CPU.put(np.array(tiny_dataset.open_pixels()[:10])), None, targets, None)
    whole, parts = (Learner(run_of(tiny_dataset, config(train__micro_batches=n, **quiet))) for n in (1, 3))
    assert [len(part.targets) for part in batch.micro_batches(3)] == [3, 4, 3] and len(
        list(batch.micro_batches(99))
    ) == 10
    for learner in (whole, parts):
        learner.prepare(frozen=False, rate=1e-3)
    expected, got = whole.step(batch), parts.step(batch)
    torch.testing.assert_close(got.terms, expected.terms)
    torch.testing.assert_close(got.norm, expected.norm)
    torch.testing.assert_close(got.logits, expected.logits)
    for ours, theirs in zip(parts.groups, whole.groups, strict=True):
        torch.testing.assert_close(ours.value.grad, theirs.value.grad, rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_see_one_dropout_and_move_running_statistics_once(tiny_dataset):
    learner = Learner(run_of(tiny_dataset, config(train__micro_batches=2, model__dropout=0.5)))
    batch = Batch(CPU.put(np.array(tiny_dataset.open_pixels()[:8])), None, torch.eye(8, 3), None)
    learner.prepare(frozen=False, rate=1e-3)
    seen = []
    forward = learner.forward
    learner.forward = lambda part: seen.append(forward(part)) or seen[-1]
    learner.step(batch)
    assert len(seen) == 4 and all(torch.equal(a, b) for a, b in zip(seen[:2], seen[2:], strict=True))
    assert not torch.equal(seen[0], forward(next(batch.micro_batches(2))))  # another dropout, so it does drop out
    counts = {int(v) for name, v in learner.model.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {3}  # two parts, and the look just above


def test_the_step_on_fixed_buffers_gives_the_plain_curve(tiny_dataset, bank):
    cfg = config(distill__alpha=0.5)
    assert curve(tiny_dataset, cfg, bank=bank) == curve(
        tiny_dataset, cfg.override({"train.step": "graph"}, source="t"), bank=bank
    )

"""The loop: seeded to the bit, best weights are copies, and nothing that is not finite reaches the optimiser."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from xlite.config import RunConfig
from xlite.data.batches import ViewReader
from xlite.device import choose_device
from xlite.distill.bank import open_or_build
from xlite.distill.teacher import Teacher
from xlite.errors import InputError
from xlite.models.build import build_model
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.loop import TrainingFailed, _Batch, _Run, fit

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


def curve(dataset, cfg, **kwargs):
    return [(r.value, r.train["loss"], r.val_loss) for r in fit(cfg, TASK, dataset, device=CPU, **kwargs)]


@pytest.fixture(scope="module")
def bank(tiny_dataset, tmp_path_factory):
    model = build_model(config().model, num_labels=3, seed=5).eval().requires_grad_(False)
    teacher = Teacher((model,), (32,), ({},), "teacher-key")
    reader = ViewReader(tiny_dataset.open_pixels(), tiny_dataset.rows[:140], "none", 42)
    return open_or_build(
        teacher,
        reader,
        data_key="tiny",
        num_views=2,
        logits_shape=(3,),
        folder=tmp_path_factory.mktemp("bank"),
        device=CPU,
    )


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
dataset = pickle.load(sys.stdin.buffer)
config = RunConfig().override({SMALL!r}, source="test")
digest = hashlib.sha256()
for report in fit(config, CHESTXRAY14, dataset, device=choose_device("fp32", kind="cpu")):
    digest.update(repr((report.value, report.train["loss"])).encode())
    for tensor in (report.best_state or {{}}).values():
        digest.update(tensor.numpy().tobytes())
print(digest.hexdigest())
"""
    import pickle

    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(tiny_dataset), capture_output=True)
    here = hashlib.sha256()
    for report in fit(config(), TASK, tiny_dataset, device=CPU):
        here.update(repr((report.value, report.train["loss"])).encode())
        for tensor in (report.best_state or {}).values():
            here.update(tensor.numpy().tobytes())
    assert done.stdout.decode().strip() == here.hexdigest(), done.stderr.decode()[-2000:]


def test_best_weights_are_copies_that_later_epochs_do_not_change(tiny_dataset):
    reports = fit(config(), TASK, tiny_dataset, device=CPU)
    first = next(reports)
    before = {name: tensor.clone() for name, tensor in first.best_state.items()}
    list(reports)
    assert all(torch.equal(before[name], tensor) for name, tensor in first.best_state.items())


def test_it_learns_what_is_there_to_learn(tiny_dataset):
    last = list(fit(config(train__epochs=12), TASK, tiny_dataset, device=CPU))[-1]
    assert last.best_value > 0.9 and last.stop == "budget"


def test_distillation_needs_a_teacher(tiny_dataset):
    with pytest.raises(InputError, match=r"distill\.alpha=0\.5 needs a teacher"):
        next(fit(config(distill__alpha=0.5), TASK, tiny_dataset, device=CPU))


def test_each_part_of_the_distillation_loss_is_logged_by_itself(tiny_dataset, bank):
    cfg = config(distill__alpha=0.6, distill__temperature=2.0, distill__focal_weight=0.3, loss__name="bce_focal")
    train = next(fit(cfg, TASK, tiny_dataset, device=CPU, bank=bank)).train
    assert {"loss", "hard", "soft", "bce", "focal", "kd_focal", "auc_macro"} <= set(train)
    expected = 0.6 * 4.0 * train["soft"] + 0.4 * train["hard"] + 0.3 * train["kd_focal"]
    assert train["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_optimiser_never_sees_a_loss_that_is_not_finite(tiny_dataset):
    run = _Run(config(), TASK, tiny_dataset, CPU, None)
    before = [p.detach().clone() for p in run.model.parameters()]
    images = CPU.images(np.array(tiny_dataset.open_pixels()[:8]))
    logits = run.objective

    class Broken:
        def __call__(self, *args):
            parts = logits(*args)
            return {**parts, "loss": parts["loss"] * float("nan")}

    run.objective = Broken()
    with pytest.raises(TrainingFailed, match="the loss is nan at epoch 1, step 3"):
        run.step(_Batch(images, None, torch.zeros(8, 3), None), 1e-3, "epoch 1, step 3")
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def test_bf16_autocast_learns_too(tiny_dataset):
    bf16 = choose_device("bf16", kind="cpu")
    last = list(fit(config(train__epochs=8), TASK, tiny_dataset, device=bf16))[-1]
    assert bf16.autocast_dtype is torch.bfloat16 and last.best_value > 0.8


def test_the_test_part_cannot_be_read_while_selecting(tiny_dataset):
    with pytest.raises(PermissionError):
        tiny_dataset.part("test")
    assert len(tiny_dataset.unsealed().part("test")) == 30


def test_a_sampler_draws_rare_labels_more_often(tiny_dataset):
    weights = TASK.family.sample_weights(tiny_dataset.targets[:140], "mean")
    run = _Run(config(data__sampler="mean"), TASK, tiny_dataset, CPU, None)
    np.testing.assert_array_equal(run.weights, weights)
    assert TASK.family.sample_weights(tiny_dataset.targets[:140], "none") is None

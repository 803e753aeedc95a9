"""Parameters in one tensor: the same values, the same steps as with a state for each, and frozen ones stay still."""

import numpy as np
import pytest
import torch
from torch import nn

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.batch_loader import Batch
from xlite.train.flat_parameters import FlatParameters
from xlite.train.run import TrainingRun
from xlite.train.step import Learner

CPU = choose_device("fp32", kind="cpu")


def parameters():
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(3, 5, 2, 2).to(memory_format=torch.channels_last))
    return [nn.Parameter(torch.randn(7)), kernel, nn.Parameter(torch.randn(4, 6))]


def test_values_shapes_and_memory_order_stay_and_are_seen_from_both_sides():
    mine, before = parameters(), parameters()
    flat = FlatParameters(mine)
    for now, then in zip(mine, before, strict=True):
        assert torch.equal(now, then) and now.stride() == then.stride() and now.data_ptr() % 64 == 0
    assert flat.value.shape == (1024,)
    assert torch.count_nonzero(flat.value) == 7 + 60 + 24  # what lies between them is 0
    with torch.no_grad():
        flat.value.mul_(2)
    assert all(torch.equal(now, 2 * then) for now, then in zip(mine, before, strict=True))
    with torch.no_grad():
        mine[1].zero_()
    assert torch.count_nonzero(flat.value) == 7 + 24


def test_a_gradient_reaches_its_parameter_whatever_its_memory_order():
    mine = parameters()
    flat = FlatParameters(mine)
    wanted = [torch.randn(p.shape) for p in mine]  # contiguous, also for the kernel that is not
    before = [p.detach().clone() for p in mine]
    sum((p * w).sum() for p, w in zip(mine, wanted, strict=True)).backward()
    flat.take_gradients()
    assert all(p.grad is None for p in mine)
    torch.optim.SGD([flat.value], lr=1.0).step()
    for p, w, b in zip(mine, wanted, before, strict=True):
        assert torch.equal(p, b - w)


def test_a_missing_gradient_is_zero_also_after_one_that_was_there():
    mine = parameters()
    flat = FlatParameters(mine)
    sum(p.sum() for p in mine).backward()
    flat.take_gradients()
    mine[0].sum().backward()
    flat.take_gradients()
    assert flat.value.grad.tolist() == [1.0] * 7 + [0.0] * 1017
    flat.take_gradients()
    assert flat.value.grad is None  # nobody has one: the optimiser leaves the group alone


def config(**changes):
    settings = {
        "model.backbone": "mobilenetv3_small_050",
        "model.dropout": 0.0,
        "data.image_size": 32,
        "optim.weight_decay": 0.1,
        "optim.clip_norm": 0.5,
    }
    return RunConfig().override(settings | changes, source="test")


@pytest.fixture
def batches(tiny_dataset):
    pixels, targets = np.array(tiny_dataset.open_pixels()), torch.from_numpy(tiny_dataset.targets)
    return [Batch(CPU.put(pixels[at : at + 16]), None, targets[at : at + 16], None) for at in (0, 16, 32, 48)]


def test_steps_are_those_of_adamw_with_a_state_for_each_parameter(tiny_dataset, batches, monkeypatch):
    """Clipped by one norm, matrices and kernels decayed, biases and norms not."""
    learner = Learner(TrainingRun(config(), TASK, tiny_dataset, CPU))
    start = [p.detach().clone() for p in learner.model.parameters()]
    plain = [nn.Parameter(value.clone()) for value in start]
    decays = {True: 0.1, False: 0.0}
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in plain if (p.ndim > 1) == kind], "weight_decay": decays[kind]} for kind in decays],
        lr=1e-3,
    )
    gradients = {}
    take = FlatParameters.take_gradients

    def spy(self):
        gradients.update({id(p): p.grad.clone() for p in self.parameters})
        take(self)

    monkeypatch.setattr(FlatParameters, "take_gradients", spy)
    learner.prepare(frozen=False, rate=1e-3)
    norms = []
    for batch in batches:
        got = learner.step(batch).norm
        for mine, theirs in zip(plain, learner.model.parameters(), strict=True):
            mine.grad = gradients[id(theirs)]
        norms.append(nn.utils.clip_grad_norm_(plain, 0.5))
        optimizer.step()
        torch.testing.assert_close(got, norms[-1])
    assert min(norms) > 0.5  # clipped, each time
    for ours, theirs, before in zip(learner.model.parameters(), plain, start, strict=True):
        # four steps, each rounded at up to 2: 1.2e-7 each; a step is 1e-3, decay without right 1e-4 of a weight
        torch.testing.assert_close(ours - before, theirs - before, rtol=1e-4, atol=1e-6)


def test_a_frozen_backbone_neither_decays_nor_gets_moments(tiny_dataset, batches):
    learner = Learner(TrainingRun(config(**{"optim.freeze_epochs": 1}), TASK, tiny_dataset, CPU))
    before = {name: value.clone() for name, value in learner.model.named_parameters()}
    for frozen in (True, False):
        learner.prepare(frozen=frozen, rate=1e-3)
        learner.step(batches[0])
        moved = {name for name, value in learner.model.named_parameters() if not torch.equal(value, before[name])}
        has_state = {int(key.split(".")[1]) for key in learner.tensors() if key.startswith("optimizer.")}
        if frozen:
            assert moved and not any(name.startswith("backbone.") for name in moved)
            trained = {id(p) for number in has_state for p in learner.groups[number].parameters}
            assert trained == {id(p) for name, p in learner.model.named_parameters() if not name.startswith("backbone")}
        else:
            assert any(name.startswith("backbone.") for name in moved) and len(has_state) == 4


def test_every_parameter_of_a_student_gets_a_gradient(tiny_dataset, batches):
    """Else it would decay for nothing: its group has a gradient."""
    learner = Learner(TrainingRun(config(**{"model.attention": "mhsa"}), TASK, tiny_dataset, CPU))
    learner.prepare(frozen=False, rate=1e-3)
    learner.evaluate(learner.forward(batches[0]), batches[0])[1].backward()
    assert [name for name, p in learner.model.named_parameters() if p.grad is None] == []

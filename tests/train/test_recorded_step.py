"""The step that a CUDA graph records: what it may not do shows on PyTorch's meta device, where there is no GPU."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.losses.matching import feature_direction
from xlite.models.build import build_model, call, call_with_features
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.tasks.target_spec import MULTICLASS, MULTILABEL, ORDINAL
from xlite.train import loop, step
from xlite.train.batch_loader import Batch
from xlite.train.run import TrainingRun
from xlite.train.step import GraphStep, Learner, TrainingFailed

CPU = choose_device("fp32", kind="cpu")
NUM = 6
KD = {"distill.alpha": 0.5, "distill.focal_weight": 0.5, "model.dropout": 0.2}
LINES = {"model.architecture": "lines", "model.width": 16, "model.ffn_width": 16, "model.layers": 1}
SLICES = {"model.architecture": "slices", "model.num_slices": 3, "model.level_dim": 8}
PER_LABEL = {"loss.name": "bce_focal", "loss.focal_alpha_per_label": True}
CASES = {
    "weighted": (MULTILABEL, {"loss.name": "weighted_bce", "model.attention": "performer"}),
    "effective": (MULTILABEL, {"loss.name": "weighted_bce", "loss.weighting": "effective_number"}),
    "focal": (MULTILABEL, {**PER_LABEL, "model.attention": "mhsa"}),
    "classes": (MULTICLASS, {"loss.name": "cross_entropy", "loss.class_weights": "balanced", "loss.class_gamma": 2.0}),
    "slices": (ORDINAL, {**SLICES, "loss.name": "cross_entropy", "loss.class_weights": "1,2,4"}),
    "coral": (ORDINAL, {**SLICES, "loss.name": "coral", "model.head": "coral", "loss.class_weights": "1,2,4"}),
    "lines": (MULTICLASS, {**LINES, "loss.name": "cross_entropy", "loss.class_weights": "balanced"}),
    "window": (MULTICLASS, {**LINES, "loss.name": "cross_entropy", "model.normalise_lines": False}),
    "causal": (MULTICLASS, {**LINES, "loss.name": "coral", "model.head": "coral", "model.causal": True}),
}


class CopiesBetweenDevices(TorchDispatchMode):
    """Operations that bring data to the device. Those that ask what values are raise on the meta device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        places = {leaf.device.type for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)}
        name = function.overloadpacket.__name__
        if name == "lift_fresh" or (name in ("_to_copy", "copy_") and len(places) > 1):
            self.found.append(function)
        return out


def inputs(config):
    """A batch as the architecture takes it, and the shape of its targets."""
    if config.model.architecture == "lines":
        return torch.rand(NUM, 4, 32), torch.tensor([[4], [2], [1], [4], [3], [4]]), (NUM, 4, 3)
    if config.model.architecture == "slices":
        return torch.zeros(NUM, 3, 32, 32, 1, dtype=torch.uint8), torch.zeros(NUM, 1, dtype=torch.int64), (NUM, 3)
    return torch.zeros(NUM, 32, 32, dtype=torch.uint8), None, (NUM, 3)


@pytest.mark.parametrize("case", CASES)
def test_a_step_neither_waits_for_the_device_nor_copies_to_it(case):
    target_spec, changes = CASES[case]
    config = RunConfig().override({**KD, **changes}, source="test")
    images, auxiliary, shape = inputs(config)
    targets = np.eye(3, dtype=np.float32)[np.arange(np.prod(shape[:-1])) % 3].reshape(shape)
    objective = target_spec.make_objective(config, targets)
    size = {"num_labels": 3, "in_channels": 1, "image_size": 32}
    model = build_model(config.model, **size, seed=0).to("meta", memory_format=torch.channels_last)
    images, auxiliary = images.to("meta"), None if auxiliary is None else auxiliary.to("meta")
    truth, teacher = torch.from_numpy(targets).to("meta"), torch.zeros(shape, device="meta")
    watch = CopiesBetweenDevices()
    for mode in (nullcontext(), watch):  # weights go to the device in the first step, before anything is recorded
        with mode:
            objective(call(model, images, auxiliary).float(), truth, teacher)["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert watch.found == []


WAYS = ("kl", "mse", "correlation")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["weighted", "classes", "coral", "lines"])
def test_no_way_to_distil_waits_for_the_device_or_copies_to_it(case, way):
    """With gaps in the teacher's answers, a scheduled alpha, and features."""
    target_spec, changes = CASES[case]
    schedule = {"distill.loss": way, "distill.alpha_schedule": "falling"}
    config = RunConfig().override({**KD, **changes, **schedule}, source="test")
    images, auxiliary, shape = inputs(config)
    targets = np.eye(3, dtype=np.float32)[np.arange(np.prod(shape[:-1])) % 3].reshape(shape)
    objective = target_spec.make_objective(config, targets)
    objective.has_gaps, objective.alpha = True, torch.tensor(0.5, device="meta")
    size = {"num_labels": 3, "in_channels": 1, "image_size": 32}
    model = build_model(config.model, **size, seed=0).to("meta", memory_format=torch.channels_last)
    images, auxiliary = images.to("meta"), None if auxiliary is None else auxiliary.to("meta")
    truth, teacher = torch.from_numpy(targets).to("meta"), torch.zeros(shape, device="meta")
    features = torch.zeros(NUM, model.num_features, device="meta")
    watch = CopiesBetweenDevices()
    for mode in (nullcontext(), watch):
        with mode:
            logits, pooled = call_with_features(model, images, auxiliary)
            loss = objective(logits.float(), truth, teacher)["loss"] + feature_direction(pooled, features)
            loss.backward()
    assert watch.found == []


@pytest.fixture
def recorder(monkeypatch):
    """Stands in for CUDA where a step is recorded: runs it on the CPU; gives the capture's arguments."""
    told = {}

    @contextmanager
    def graph(cuda_graph, **arguments):
        told.update(arguments)
        yield

    fakes = {
        "Stream": lambda place: type("Stream", (), {"wait_stream": lambda self, other: None})(),
        "stream": lambda stream: nullcontext(),
        "CUDAGraph": lambda: object(),
        "graph": graph,
        "get_rng_state": lambda place: torch.get_rng_state(),
        "set_rng_state": lambda state, place: torch.set_rng_state(state),
    }
    fakes["current_stream"] = fakes["Stream"]
    for name, fake in fakes.items():
        monkeypatch.setattr(step.torch.cuda, name, fake)
    return told


def learner_and_batch(dataset):
    changes = {"model.dropout": 0.5, "data.image_size": 32}
    learner = Learner(TrainingRun(RunConfig().override(changes, source="test"), CHESTXRAY14, dataset, CPU))
    learner.prepare(frozen=False, rate=1e-3)
    batch = Batch(CPU.put(np.array(dataset.open_pixels()[:8])), None, torch.eye(8, 3), None)
    return learner, batch


@pytest.mark.parametrize("steps_before", [0, 2])
def test_recording_leaves_a_run_where_it_was(tiny_dataset, recorder, steps_before):
    learner, batch = learner_and_batch(tiny_dataset)
    plain, _ = learner_and_batch(tiny_dataset)
    for one in (learner, plain):
        torch.manual_seed(1)
        for _ in range(steps_before):
            one.step(batch)
    recorded = GraphStep(learner, batch)
    torch.manual_seed(2)
    recorded._record()
    learner.step(batch)
    torch.manual_seed(2)
    plain.step(batch)
    theirs = plain.tensors()
    assert learner.tensors().keys() == theirs.keys()
    assert [name for name, value in learner.tensors().items() if not torch.equal(value, theirs[name])] == []


def test_what_the_feed_does_meanwhile_does_not_end_a_recording(tiny_dataset, recorder):
    GraphStep(*learner_and_batch(tiny_dataset))._record()
    assert recorder == {"capture_error_mode": "thread_local"}


IN_CAPTURE = RuntimeError, "CUDA error: operation not permitted when stream is capturing\nMore."
AFTER_IT = RuntimeError, "CUDA error: operation failed due to a previous error during capture\nMore."
NO_MEMORY = torch.OutOfMemoryError, "CUDA out of memory."


@pytest.mark.parametrize(
    ("errors", "expected", "words"),
    [
        ([AFTER_IT], TrainingFailed, r"recorded \(CUDA error: .* during capture\); use train\.step=plain$"),
        ([IN_CAPTURE, AFTER_IT], TrainingFailed, r"recorded \(CUDA error: .* capturing\); use train\.step=plain$"),
        ([NO_MEMORY], torch.OutOfMemoryError, "out of memory"),
        ([NO_MEMORY, AFTER_IT], torch.OutOfMemoryError, "out of memory"),
        ([(RuntimeError, "shapes differ")], RuntimeError, "shapes differ"),
        ([(KeyError, "inner"), (RuntimeError, "shapes differ")], RuntimeError, "shapes differ"),
    ],
)
def test_what_ends_a_recording_is_told_for_what_it_is(tiny_dataset, recorder, monkeypatch, errors, expected, words):
    """A trial that ran out of memory has another attempt; one that cannot be recorded fails, with the way out."""
    recorded = GraphStep(*learner_and_batch(tiny_dataset))

    @contextmanager
    def graph(*args, **kwargs):
        yield
        (kind, text), *later = errors
        try:
            raise kind(text)
        finally:
            for kind, text in later:
                raise kind(text)

    monkeypatch.setattr(step.torch.cuda, "graph", graph)
    with pytest.raises(expected, match=words):
        recorded._record()


def test_a_batch_in_parts_is_not_recorded(tiny_dataset, monkeypatch):
    """It asks for the state of the random numbers, which no capture allows."""
    monkeypatch.setattr(loop, "GraphStep", None)
    changes = {"data.image_size": 32, "train.step": "graph", "train.micro_batches": 2, "train.epochs": 1}
    run = TrainingRun(RunConfig().override(changes, source="test"), CHESTXRAY14, tiny_dataset, CPU)
    (report,) = loop.fit(run)
    assert np.isfinite(report.train["loss"])

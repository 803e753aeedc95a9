"""The step that a CUDA graph records: what it may not do shows on PyTorch's meta device, where there is no GPU."""

import weakref
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.models.build import build_model, call
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.tasks.target_spec import MULTICLASS, MULTILABEL, ORDINAL
from xlite.train import loop, step
from xlite.train.batch_loader import Batch
from xlite.train.checkpoint import remove_checkpoints
from xlite.train.resumable import train_resumable
from xlite.train.run import TrainingRun
from xlite.train.step import GraphStep, Learner, RecordingFailed

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


@pytest.mark.parametrize("case", ["weighted", "classes", "coral", "lines"])
def test_gaps_neither_wait_for_the_device_nor_copy_to_it(case):
    target_spec, changes = CASES[case]
    config = RunConfig().override({**KD, **changes}, source="test")
    images, auxiliary, shape = inputs(config)
    targets = np.eye(3, dtype=np.float32)[np.arange(np.prod(shape[:-1])) % 3].reshape(shape)
    objective = target_spec.make_objective(config, targets)
    objective.has_gaps = True
    size = {"num_labels": 3, "in_channels": 1, "image_size": 32}
    model = build_model(config.model, **size, seed=0).to("meta", memory_format=torch.channels_last)
    images, auxiliary = images.to("meta"), None if auxiliary is None else auxiliary.to("meta")
    truth, teacher = torch.from_numpy(targets).to("meta"), torch.zeros(shape, device="meta")
    watch = CopiesBetweenDevices()
    for mode in (nullcontext(), watch):
        with mode:
            objective(call(model, images, auxiliary).float(), truth, teacher)["loss"].backward()
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
    fakes["get_sync_debug_mode"] = lambda: 0
    fakes["set_sync_debug_mode"] = told.setdefault("modes", []).append
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
    assert recorder["capture_error_mode"] == "thread_local"


IN_CAPTURE = "CUDA error: operation not permitted when stream is capturing"
AFTER_IT = "CUDA error: operation failed due to a previous error during capture\nMore."
NO_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize(
    ("in_it", "at_its_end", "reason", "fit"),
    [
        ("", AFTER_IT, AFTER_IT.splitlines()[0], False),
        (IN_CAPTURE, AFTER_IT, IN_CAPTURE, False),
        (NO_MEMORY, "", NO_MEMORY, True),
        (NO_MEMORY, AFTER_IT, NO_MEMORY, False),
    ],
)
def test_a_process_is_fit_where_a_failed_recording_could_be_ended(
    tiny_dataset, recorder, monkeypatch, in_it, at_its_end, reason, fit
):
    """Plain steps go on in it: the warm-up has just taken three, so there is memory for them."""
    learner, batch = learner_and_batch(tiny_dataset)
    recorded = GraphStep(learner, batch)
    plain_step, before = learner.step, {name: value.clone() for name, value in learner.model_tensors.items()}

    @contextmanager
    def graph(*args, **kwargs):
        if in_it:
            monkeypatch.setattr(learner, "step", fails)
        yield
        if at_its_end:
            raise RuntimeError(at_its_end)

    def fails(batch):
        learner.evaluate(learner.forward(batch), batch)[1].backward()
        raise (torch.OutOfMemoryError if in_it == NO_MEMORY else RuntimeError)(in_it)

    monkeypatch.setattr(step.torch.cuda, "graph", graph)
    with pytest.raises(RecordingFailed) as caught:
        recorded._record()
    assert str(caught.value) == f"steps cannot be recorded ({reason})"
    assert caught.value.process_is_fit == fit and recorded.graph is None
    if fit:
        assert all(torch.equal(before[name], value) for name, value in learner.model_tensors.items())
        assert all(parameter.grad is None for parameter in learner.model.parameters())  # else the next step adds to it
        assert torch.isfinite(plain_step(batch).terms).all()


def test_a_step_that_waits_for_the_device_is_found_out_before_it_is_recorded(tiny_dataset, recorder, monkeypatch):
    """It would end the capture, and then the process is of no use; the first step may wait."""
    learner, batch = learner_and_batch(tiny_dataset)
    recorded = GraphStep(learner, batch)
    plain_step, modes = learner.step, recorder["modes"]

    def waits(batch):
        out = plain_step(batch)
        if modes and modes[-1] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        return out

    monkeypatch.setattr(learner, "step", waits)
    monkeypatch.setattr(step.torch.cuda, "CUDAGraph", None)
    with pytest.raises(RecordingFailed, match=r"recorded \(called a synchronizing") as caught:
        recorded._record()
    assert caught.value.process_is_fit and modes == ["error", 0]  # it is the mode of the whole process


def test_an_error_of_plain_steps_is_none_of_recording(tiny_dataset, recorder, monkeypatch):
    learner, batch = learner_and_batch(tiny_dataset)
    recorded = GraphStep(learner, batch)

    def fails(batch):
        raise torch.OutOfMemoryError(NO_MEMORY)

    monkeypatch.setattr(learner, "step", fails)
    with pytest.raises(torch.OutOfMemoryError):
        recorded._record()


def test_a_batch_in_parts_is_not_recorded(tiny_dataset, monkeypatch):
    """It asks for the state of the random numbers, which no capture allows."""
    monkeypatch.setattr(loop, "GraphStep", None)
    changes = {"data.image_size": 32, "train.step": "graph", "train.micro_batches": 2, "train.epochs": 1}
    run = TrainingRun(RunConfig().override(changes, source="test"), CHESTXRAY14, tiny_dataset, CPU)
    (report,) = loop.fit(run)
    assert np.isfinite(report.train["loss"])


@pytest.mark.parametrize(
    ("changes", "on_gpu", "is_recorded"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"train.step": "plain"}, True, False),
        ({"train.step": "graph"}, False, True),
        ({"train.micro_batches": 2}, True, False),
    ],
)
def test_steps_are_recorded_on_a_gpu_unless_something_forbids_it(changes, on_gpu, is_recorded):
    assert RunConfig().override(changes, source="test").train.is_recorded(on_gpu=on_gpu) == is_recorded


class NotRecordable:
    """Stands in for a step that cannot be recorded, and counts how often that was tried."""

    fit, tries = True, 0

    def __init__(self, learner, example):
        type(self).tries += 1
        raise RecordingFailed("it waits", process_is_fit=self.fit)


@pytest.fixture
def not_recordable(monkeypatch):
    stand_in = type("Stub", (NotRecordable,), {})
    monkeypatch.setattr(loop, "GraphStep", stand_in)
    return stand_in


def run_of(dataset, **changes):
    changes = {"data.image_size": 32, "train.epochs": 2, **changes}
    return TrainingRun(RunConfig().override(changes, source="test"), CHESTXRAY14, dataset, CPU)


def test_a_run_that_cannot_be_recorded_takes_plain_steps_and_says_so_once(tiny_dataset, not_recordable, tmp_path):
    options = {"folder": tmp_path, "stem": "s"}
    results = list(train_resumable(run_of(tiny_dataset, **{"train.step": "graph"}), **options))
    plain = list(loop.fit(run_of(tiny_dataset)))
    assert [kept.report.train["loss"] for kept in results] == [report.train["loss"] for report in plain]
    assert not_recordable.tries == 1
    assert results[-1].summary.step_notes == ("steps cannot be recorded (it waits): plain steps instead",)


def test_a_process_that_is_not_fit_leaves_the_run_to_another_which_takes_plain_steps(
    tiny_dataset, not_recordable, tmp_path
):
    not_recordable.fit = False
    run, options = run_of(tiny_dataset, **{"train.step": "graph"}), {"folder": tmp_path, "stem": "s"}
    with pytest.raises(RecordingFailed):
        next(train_resumable(run, **options))
    results = list(train_resumable(run, **options))
    assert [kept.best_value for kept in results[-1:]] == [list(loop.fit(run_of(tiny_dataset)))[-1].best_value]
    assert results[-1].summary.step_notes == ("steps cannot be recorded (it waits): plain steps instead",)
    assert results[-1].summary.config["train.step"] == "plain" and not_recordable.tries == 1
    remove_checkpoints(tmp_path, "s")
    assert {path.name for path in tmp_path.iterdir()} == {"s.safetensors", "s.json"}


def test_a_step_is_recorded_again_when_the_backbone_is_no_longer_frozen(tiny_dataset, monkeypatch):
    """And what was recorded before is let go of first: both at once would take more memory than a probe sees."""
    frozen, kept = [], []

    class Recorded(GraphStep):
        def __init__(self, learner, example):
            super().__init__(learner, example)
            frozen.append(not next(learner.model.backbone.parameters()).requires_grad)
            kept.append(sum(each() is not None for each in made))
            made.append(weakref.ref(self))

    made = []
    monkeypatch.setattr(loop, "GraphStep", Recorded)
    list(loop.fit(run_of(tiny_dataset, **{"train.step": "graph", "optim.freeze_epochs": 1, "train.epochs": 3})))
    assert frozen == [True, False] and kept == [0, 0]

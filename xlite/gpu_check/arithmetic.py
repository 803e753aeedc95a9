"""Steps on whether a training step's numbers are right: against the CPU's, and recorded against plain."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device, choose_device
from xlite.gpu.probe import Shapes
from xlite.gpu_check.material import STUDENTS, TOY, batches, config_of, exact_device, images, relative, run_of
from xlite.gpu_check.place import Place
from xlite.train.batch_loader import Batch, BatchLoader
from xlite.train.run import TrainingRun
from xlite.train.step import GraphStep, Learner

TOLERANCE = 1e-3
RATE = 3e-3  # so high that a single update is far above its rounding
LOW_RATE = 3e-4  # ten steps of ConvNeXt at RATE multiply any difference by thousands


def one_step(place: Place) -> str:
    """A step in float32 here and on the CPU, AdamW's formula on its gradients, and plain steps that never wait."""
    dataset = images(place.folder, px=place.pick(64, 32), num_train=160, num_val=16, distinct=64)
    largest = 0.0
    # Without ReLU and maximum pooling, where rounding may decide which way a gradient goes.
    for backbone, attention in ((TOY, "mhsa"), ("convnext_atto", "none")):
        model = {"model__backbone": backbone, "model__attention": attention, "model__dropout": 0.0}
        here, there = (
            _first_step(run_of(dataset, exact_device(kind), **model, optim__batch_size=16))
            for kind in (place.device, "cpu")
        )
        for what in ("loss", "norm", "logits", "gradients"):
            difference = relative(here[what], there[what])
            largest = max(largest, difference)
            place.must(f"{backbone}, {what} against the CPU's", difference, at_most=TOLERANCE)
        place.must(f"{backbone}, AdamW against its formula, over the rate", float(here["update"]), at_most=TOLERANCE)
    _check_waiting(run_of(dataset, choose_device(kind=place.device), optim__batch_size=16))
    return f"largest difference {largest:.1e}; no plain step waits"


def _first_step(run: TrainingRun) -> dict[str, Tensor]:
    """What one step gives; "update" is how far AdamW's is from its formula, over the rate."""
    learner = Learner(run)
    learner.prepare(frozen=False, rate=RATE)
    before = [group.value.detach().double() for group in learner.groups]
    out = learner.step(batches(run, 1)[0])
    gradients, far = [], []
    for start, group, own in zip(before, learner.groups, learner.optimizer.param_groups, strict=True):
        assert group.value.grad is not None
        gradient = group.value.grad.double()
        after = start * (1 - RATE * own["weight_decay"]) - RATE * gradient / (gradient.abs() + own["eps"])
        gradients.append(gradient)
        far.append((group.value.detach().double() - after).abs().max() / RATE)
    told = {"loss": out.terms[0], "norm": out.norm, "logits": out.logits}
    return {**told, "gradients": torch.cat(gradients), "update": torch.stack(far).max()}


def _check_waiting(run: TrainingRun) -> None:
    """Five plain steps in which waiting for the device is an error, and five with batches from the loader."""
    learner, loader = Learner(run), BatchLoader(run)
    learner.prepare(frozen=False, rate=RATE)
    given = batches(run, 2)
    for batch in given:  # what is done once only, e.g. choosing kernels, may wait
        learner.step(batch)
    if not run.device.on_gpu:
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(5):
            learner.set_rate(RATE / (number + 1))
            learner.step(given[number % 2])
        for batch in loader.batches(loader.plan(1)[:5]):
            learner.step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def recorded(place: Place) -> str:
    """Over the models of a search: the same steps, taken plainly and recorded."""
    exact, trial = exact_device(place.device), choose_device(kind=place.device)
    dataset = images(place.folder, px=place.pick(64, 32), num_train=32, num_val=8, distinct=40)
    cases = dict(_cases(place, dataset, exact))
    for name, run in cases.items():
        _compare(place, name, run, TOLERANCE)
    if trial.autocast_dtype is not None:  # as trials run; rounding is coarse, and kernels need not repeat
        for name, run in cases.items():
            if name.endswith("none") or "slices" in name:
                _compare(place, f"{name}, bf16", replace(run, device=trial), 0.02)
    masks = _masks_differ(run_of(dataset, exact, model__dropout=0.5, optim__batch_size=8))
    place.must("dropout's masks differ between replays", masks)
    place.must("without dropout, replays are equal", not _masks_differ(next(iter(cases.values()))))
    return f"{len(cases)} models"


def _cases(place: Place, dataset: Dataset, device: Device) -> Iterator[tuple[str, TrainingRun]]:
    """Runs without dropout, and their names."""
    still = {"model__dropout": 0.0, "optim__batch_size": 8, "distill__alpha": 0.5, "data__augmentation": "none"}
    for backbone in place.pick(STUDENTS, (TOY,)):
        for attention in ("none", "mhsa", "performer"):
            model = {"model__backbone": backbone, "model__attention": attention}
            yield f"{backbone}, {attention}", run_of(dataset, device, **still, **model)
    px = dataset.input_spec.image_size
    others = {
        "slices, first epoch frozen": (
            Shapes("lumbar_spine", "ordinal", InputSpec("slices", (3, px, px, 1), "|u1", ("level",), (4,)), (3,), 8),
            {"model__architecture": "slices", "model__num_slices": 3, "optim__freeze_epochs": 1},
        ),
        "causal scan lines": (
            Shapes(
                "stm_scanlines", "multiclass", InputSpec("lines", (32, px), "<f2", ("num_lines",), (32,)), (32, 4), 8
            ),
            {"model__architecture": "lines", "model__causal": True, "model__width": 64, "model__ffn_width": 64},
        ),
    }
    for name, (shapes, changes) in others.items():
        folder = place.folder / name
        folder.mkdir()
        made = shapes.make(folder, 32)
        config = config_of(made, **still, **changes, loss__name="cross_entropy")
        yield name, TrainingRun(config, shapes.resolved_task(), made, device)


def _compare(place: Place, name: str, run: TrainingRun, tolerance: float) -> None:
    """A first step, then four with changing batches, plain and recorded; with a frozen backbone first, where it is."""
    plain, recorded = Learner(run), Learner(run)
    given = batches(run, 2)
    largest, moved, intact = 0.0, 0.0, True
    for frozen in (True, False) if run.config.optim.freeze_epochs else (False,):
        for learner in (plain, recorded):
            learner.prepare(frozen=frozen, rate=LOW_RATE)
            first = learner.step(given[0])
        before = {key: value.clone() for key, value in recorded.tensors().items()}
        random_state = run.device.random_state()
        graph = GraphStep(recorded, given[1])
        intact = intact and torch.equal(random_state, run.device.random_state()) and _equal(before, recorded.tensors())
        for batch in (given[1], given[0], given[1], given[0]):
            ours, theirs = graph.step(batch), plain.step(batch)
            largest = max(
                largest,
                relative(ours.terms, theirs.terms, floor=1.0),
                relative(ours.norm, theirs.norm, floor=1.0),
                relative(ours.logits, theirs.logits, floor=1.0),
            )
        moved = max(moved, relative(theirs.logits, first.logits, floor=1.0))
    place.must(f"{name}: recorded against plain", largest, at_most=tolerance)
    place.must(f"{name}: state bit-equal after recording", intact)
    place.must(f"{name}: what the steps changed meanwhile", moved, at_least=5 * TOLERANCE)


def _equal(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())


def _masks_differ(run: TrainingRun) -> bool:
    """Whether two replays on one batch, with a learning rate of 0, give different logits."""
    learner = Learner(run)
    batch: Batch = batches(run, 1)[0]
    learner.prepare(frozen=False, rate=0.0)
    learner.step(batch)
    graph = GraphStep(learner, batch)
    first, second = graph.step(batch).logits, graph.step(batch).logits
    return not torch.equal(first, second)

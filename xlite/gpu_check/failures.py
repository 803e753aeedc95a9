"""Steps on what goes wrong: a process that must be fit for the next trial, and a trial that is interrupted."""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xlite.data.dataset import Dataset
from xlite.device import is_out_of_memory, release_memory
from xlite.errors import TrainingFailed
from xlite.gpu_check.material import batches, exact_device, images, run_of
from xlite.gpu_check.place import Place, Wrong
from xlite.train.batch_loader import Batch
from xlite.train.loop import EpochReport, fit
from xlite.train.resumable import epochs_of, train_resumable
from xlite.train.run import TrainingRun
from xlite.train.step import GraphStep, Learner, RecordingFailed, StepOutput, check_finite

TOLERANCE = 1e-3
_HEADROOM_BYTES = 256 * 2**20  # left to a process that is to run out of memory


def failures(place: Place) -> str:
    """Each failure in turn, in one process; a trial before them all and after each gives the same numbers."""
    device = exact_device(place.device)
    dataset = images(place.folder, px=place.pick(64, 32), num_train=96, num_val=64, distinct=160)

    def trial(step: str) -> list[float]:
        return [report.train["loss"] for report in fit(_small(dataset, device, train__step=step, train__epochs=2))]

    before = {step: trial(step) for step in place.pick(("plain", "graph"), ("graph",))}
    causes: dict[str, Callable[[TrainingRun], None]] = {"the learning rate is infinite": _infinite_rate}
    if place.on_gpu:
        causes |= {
            "memory runs out in a plain step": _out_of_memory,
            "a step waits for the device": _waiting_step,
            "memory runs out while recording": _out_of_memory_in_capture,  # the last: it may leave the process unfit
        }
    for cause, act in causes.items():
        try:
            act(_small(dataset, device))
        except RecordingFailed as failure:
            place.number(f"{cause}: the process is fit", failure.process_is_fit)
            if not failure.process_is_fit:  # a search would go on in another
                break
        release_memory()
        for step, losses in before.items():
            after = trial(step)
            far = max(abs(a - b) for a, b in zip(after, losses, strict=True))
            place.must(f"{cause}, then a trial with step={step}: loss against before", far, at_most=TOLERANCE)
    left_out = "" if place.on_gpu else "; captures and memory: not measured, no GPU"
    return f"after {len(causes)} failures trials are as before{left_out}"


def _small(dataset: Dataset, device: Any, **changes: Any) -> TrainingRun:
    return run_of(dataset, device, **{"optim__batch_size": 16, "train__patience": 4, **changes})


def _ready(run: TrainingRun) -> tuple[Learner, Batch]:
    learner = Learner(run)
    learner.prepare(frozen=False, rate=1e-3)
    return learner, batches(run, 1)[0]


def _waiting_step(run: TrainingRun) -> None:
    """A step that asks for a value, which is found out before it is recorded."""
    learner, batch = _ready(run)
    honest = learner.evaluate

    def asks(logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        values, loss = honest(logits, batch)
        loss.item()
        return values, loss

    learner.evaluate = asks  # type: ignore[method-assign]
    try:
        GraphStep(learner, batch)
    except RecordingFailed as failure:
        if not failure.process_is_fit:
            raise Wrong(f"it was not found out before it was recorded: {failure}") from failure
        raise
    raise Wrong("a step that waits for the device was recorded")


def _out_of_memory_in_capture(run: TrainingRun) -> None:
    """A step that asks for more than the process may have, but only while it is recorded."""
    learner, batch = _ready(run)
    honest = learner.step

    def greedy(batch: Batch) -> StepOutput:
        if torch.cuda.is_current_stream_capturing():
            torch.empty(4 * _HEADROOM_BYTES, dtype=torch.uint8, device=run.device.torch_device)
        return honest(batch)

    learner.step = greedy  # type: ignore[method-assign]
    _runs_out(lambda: GraphStep(learner, batch))  # raises RecordingFailed, as plain steps may have the memory


def _out_of_memory(run: TrainingRun) -> None:
    """A plain step on a batch that is too large for what the process may have."""
    learner, batch = _ready(run)
    large = Batch(*(None if t is None else torch.cat([t] * 4096) for t in vars(batch).values()))  # type: ignore[arg-type]
    _runs_out(lambda: learner.step(large))


def _runs_out(act: Callable[[], object]) -> None:
    """`act` under a limit a little above what is in use; it must say that memory ran out."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + _HEADROOM_BYTES) / total)
    try:
        act()
    except Exception as error:
        if not is_out_of_memory(error):
            raise Wrong(f"memory ran out and the error is {type(error).__name__}: {error}") from error
        if isinstance(error, RecordingFailed):
            raise
        return
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    raise Wrong("memory did not run out")


def _infinite_rate(run: TrainingRun) -> None:
    """Weights become infinite in the first step; the second is refused."""
    learner, batch = _ready(run)
    learner.set_rate(float("inf"))
    steps = [learner.step(batch), learner.step(batch)]
    try:
        check_finite(steps, epoch=1, first_step=1, rate=float("inf"))
    except TrainingFailed:
        return
    raise Wrong("infinite weights went unnoticed")


def resumed(place: Place) -> str:
    """Four epochs, with dropout and views, straight through and resumed from disk after two."""
    device = exact_device(place.device)
    dataset = images(place.folder, px=place.pick(64, 32), num_train=place.pick(512, 64), num_val=64, distinct=160)
    equal = []
    for step in place.pick(("plain", "graph"), ("graph",)):
        run = _small(dataset, device, model__attention="mhsa", train__step=step, train__epochs=4)
        straight, expected = _epochs(run, place.folder / f"{step}, straight", 4)
        begun, _ = _epochs(run, place.folder / f"{step}, resumed", 2)
        ended, found = _epochs(run, place.folder / f"{step}, resumed", 2)
        both = list(zip([*begun, *ended], straight, strict=True))
        far = max(abs(a.train[term] - b.train[term]) for a, b in both for term in ("loss", run.task.metric))
        place.must(f"{step}: training against straight through", far, at_most=TOLERANCE)
        far = max(abs(a.value - b.value) for a, b in both)
        place.must(f"{step}: validation against straight through", far, at_most=0.01)
        equal.append(all(torch.equal(value, expected[name]) for name, value in found.items()))
        place.number(f"{step}: bit-equal", equal[-1])
    return "bit-equal" if all(equal) else "equal within the tolerance, not to the bit"


def _epochs(run: TrainingRun, folder: Path, num: int) -> tuple[list[EpochReport], Mapping[str, Tensor]]:
    """The next epochs, as a process would train them that ends then, and what it would resume from."""
    reports: list[EpochReport] = []
    with closing(train_resumable(run, folder=folder, stem="student", hyper_parameters={})) as steps:  # type: ignore[type-var]
        for epoch in epochs_of(steps):
            if epoch.report is not None:
                reports.append(epoch.report)
            if len(reports) == num:
                state = reports[-1].progress().tensors
                return reports, {name: value.clone() for name, value in state.items()}
    raise Wrong(f"{len(reports)} epochs instead of {num}")

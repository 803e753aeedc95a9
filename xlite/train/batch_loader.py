"""Batches on the device, prefetched while earlier ones are trained on."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from xlite.data.batches import Draw, draws
from xlite.device import gpu_stream
from xlite.train.run import TrainingRun

Item = TypeVar("Item")
Made = TypeVar("Made")

PREFETCH = 2
"""Batches made ahead: one is ready while the next is made. More would only take memory."""
MAX_STEPS_AHEAD = 4
"""Steps that the host may queue on a GPU: enough to hide its own delays, and as many as a memory probe takes in a row
(`NUM_STEPS` of `xlite.gpu.probe_worker`). Each holds its batch until it is done."""


@dataclass(frozen=True)
class Batch:
    """Tensors on the device: inputs as the model takes them, targets and the teacher's logits (B, ..., L)."""

    images: Tensor
    auxiliary: Tensor | None
    targets: Tensor
    teacher_logits: Tensor | None

    def tensors(self) -> list[Tensor]:
        """All that are not None, in a fixed order."""
        return [tensor for tensor in vars(self).values() if tensor is not None]

    def micro_batches(self, count: int) -> "Iterator[Batch]":
        """The batch split into `count` micro-batches of nearly equal size; fewer if it has fewer examples."""
        edges = np.linspace(0, len(self.targets), min(count, len(self.targets)) + 1).round().astype(int).tolist()
        for start, end in itertools.pairwise(edges):
            yield Batch(*(None if t is None else t[start:end] for t in vars(self).values()))  # type: ignore[arg-type]


def made_ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Generator[Made]:
    """What `make` returns for each item, in order; a thread of its own makes PREFETCH of them ahead."""
    with ThreadPoolExecutor(1, thread_name_prefix="feed") as thread:
        pending: deque[Future[Made]] = deque()
        try:
            for item in items:
                pending.append(thread.submit(make, item))
                if len(pending) > PREFETCH:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


class BatchLoader:
    """Draws batches of the training part; a thread of its own augments them and sends them to the device.

    The batches and their order are a function of (seed, epoch).
    """

    def __init__(self, run: TrainingRun) -> None:
        config, dataset = run.config, run.dataset
        self.config, self.device, self.bank, self.spec = config, run.device, run.bank, dataset.input_spec
        self.num_views = run.bank.num_views if run.bank else run.num_views or config.train.epochs
        self.targets = run.train_targets
        self.weights = run.task.target_spec.sample_weights(self.targets, config.data.sampler)
        self.views = run.train_views
        self.stream = gpu_stream("copies", run.device.torch_device) if run.device.on_gpu else None

    def plan(self, epoch: int) -> list[Draw]:
        """Rows and views of each batch of an epoch (0-based)."""
        return list(
            draws(
                len(self.targets),
                epoch=epoch,
                batch_size=self.config.optim.batch_size,
                num_views=self.num_views,
                seed=self.config.train.seed,
                weights=self.weights,
            )
        )

    def batches(self, plan: Sequence[Draw]) -> Iterator[Batch]:
        """The planned batches, in order."""
        with closing(made_ahead(self.load, plan)) as loaded:
            for batch, copied in loaded:
                yield self.receive(batch, copied)

    def load(self, draw: Draw) -> tuple[Batch, torch.cuda.Event | None]:
        """One batch; on a GPU its copy is complete once the event has happened."""
        teacher = pixels = None
        if self.bank is not None:
            pixels, teacher = self.bank.read(draw.positions, draw.views)
        if pixels is None:
            pixels = self.views.read(draw.positions, draw.views)
        with torch.cuda.stream(self.stream):  # nothing without a stream
            images, auxiliary = self.device.inputs(self.spec, pixels, self.views.auxiliary_of(draw.positions))
            targets = self.device.put(self.targets[draw.positions])
            answers = None if teacher is None else self.device.put(teacher)
            batch = Batch(images, auxiliary, targets, answers)
            return batch, self.stream.record_event() if self.stream else None

    def receive(self, batch: Batch, copied: torch.cuda.Event | None) -> Batch:
        """The batch, ready for use by the current stream."""
        if copied is not None:
            stream = torch.cuda.current_stream(self.device.torch_device)
            stream.wait_event(copied)
            for tensor in batch.tensors():
                tensor.record_stream(stream)  # else its memory could be reused before the step is done
        return batch


class RunAhead:
    """Keeps the host at most `MAX_STEPS_AHEAD` steps ahead of a GPU.

    Its events sleep while they are waited for: spinning would take the core of a loader.
    """

    def __init__(self) -> None:
        self.steps: deque[torch.cuda.Event] = deque()

    def after_step(self) -> None:
        """A step was queued on the current stream; waits until few enough are unfinished."""
        event = torch.cuda.Event(blocking=True)
        event.record()
        self.steps.append(event)
        if len(self.steps) > MAX_STEPS_AHEAD:
            self.steps.popleft().synchronize()

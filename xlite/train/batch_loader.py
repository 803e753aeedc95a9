"""Batches on the device, prefetched while earlier ones are trained on."""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xlite.config import RunConfig
from xlite.data.batches import Draw, ViewReader, draws
from xlite.data.dataset import Dataset
from xlite.device import Device
from xlite.distill.bank import Bank
from xlite.tasks.task import Task

PREFETCH = 2
"""Batches made in advance: one ready while the next is made; more would only take memory."""


@dataclass(frozen=True)
class Batch:
    """Tensors on the device; auxiliary inputs and teacher logits are None if there are none.

    images, auxiliary: as the model takes them; targets: (B, ..., L); teacher_logits: of that shape.
    """

    images: Tensor
    auxiliary: Tensor | None
    targets: Tensor
    teacher_logits: Tensor | None

    def tensors(self) -> list[Tensor]:
        """Those that are not None, in a fixed order."""
        return [t for t in (self.images, self.auxiliary, self.targets, self.teacher_logits) if t is not None]

    def micro_batches(self, count: int) -> "Iterator[Batch]":
        """The batch split into `count` micro-batches of nearly equal size; fewer if it has fewer examples."""
        edges = np.linspace(0, len(self.targets), min(count, len(self.targets)) + 1).round().astype(int).tolist()
        for start, end in itertools.pairwise(edges):
            yield Batch(*(None if t is None else t[start:end] for t in vars(self).values()))  # type: ignore[arg-type]


class BatchLoader:
    """Draws batches of the training split and, in a thread of its own, augments them and sends them to the device.

    The batches and their order are a function of (seed, epoch).

    Args:
        bank: teacher logits, and perhaps augmented pixels; None without distillation.
        num_views: augmented views per example.
    """

    def __init__(
        self, config: RunConfig, task: Task, dataset: Dataset, device: Device, bank: Bank | None, num_views: int
    ) -> None:
        train = dataset.part("train")
        self.config, self.device, self.bank, self.num_views = config, device, bank, num_views
        self.spec, self.targets = dataset.input_spec, dataset.targets[train]
        self.auxiliary = dataset.auxiliary_of(train)
        self.weights = task.target_spec.sample_weights(self.targets, config.data.sampler)
        self.views = ViewReader(
            dataset.open_pixels(), dataset.rows[train], config.data.augmentation, config.train.seed, task.augment
        )
        self.stream = torch.cuda.Stream(device.torch_device) if device.on_gpu else None

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
        with ThreadPoolExecutor(1, thread_name_prefix="feed") as thread:
            pending: deque[Future[tuple[Batch, torch.cuda.Event | None]]] = deque()
            try:
                for draw in plan:
                    pending.append(thread.submit(self.load, draw))
                    if len(pending) > PREFETCH:
                        yield self.receive(pending.popleft())
                while pending:
                    yield self.receive(pending.popleft())
            finally:
                for future in pending:
                    future.cancel()

    def load(self, draw: Draw) -> tuple[Batch, torch.cuda.Event | None]:
        """One batch; on a GPU its copy is complete once the event has happened."""
        teacher = pixels = None
        if self.bank is not None:
            pixels, teacher = self.bank.read(draw.positions, draw.views)
        if pixels is None:
            pixels = self.views.read(draw.positions, draw.views)
        auxiliary = None if self.auxiliary is None else self.auxiliary[draw.positions]
        if self.stream is None:
            return self.send(pixels, auxiliary, self.targets[draw.positions], teacher), None
        with torch.cuda.stream(self.stream):
            batch = self.send(pixels, auxiliary, self.targets[draw.positions], teacher)
            return batch, self.stream.record_event()

    def send(
        self, pixels: np.ndarray, auxiliary: np.ndarray | None, targets: np.ndarray, teacher: np.ndarray | None
    ) -> Batch:
        """The arrays on the device."""
        images, auxiliary_inputs = self.device.inputs(self.spec, pixels, auxiliary)
        return Batch(
            images, auxiliary_inputs, self.device.put(targets), None if teacher is None else self.device.put(teacher)
        )

    def receive(self, future: "Future[tuple[Batch, torch.cuda.Event | None]]") -> Batch:
        """The batch, ready for use by the current stream."""
        batch, copied = future.result()
        if copied is not None:
            stream = torch.cuda.current_stream(self.device.torch_device)
            stream.wait_event(copied)
            for tensor in batch.tensors():
                tensor.record_stream(stream)  # else its memory could be reused before the step is done
        return batch

"""What training a model costs in time and memory, from a few small steps on this machine."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xlite.config import RunConfig
from xlite.data.batches import Draw
from xlite.data.dataset import Dataset
from xlite.device import Device, keep_freed_memory, release_memory, torch_threads
from xlite.gpu.probe import probe_config
from xlite.tasks.task import Task
from xlite.train.batch_loader import Batch, BatchLoader
from xlite.train.run import TrainingRun
from xlite.train.step import Learner

SMALL, LARGE = 2, 8
"""Images (of stacks: at least two) in the steps that are timed; their difference tells work from overhead."""
SPEED_UP = 0.85
"""n CPU threads are n ** SPEED_UP times as fast as one: 1.8 for two."""
ENOUGH_S = 0.1
"""A small step that takes so long is nearly all work: the large one is left out."""
MAX_STEPS, LONG_S = 6, 0.2
"""Steps of a size that are timed; after so long no more than two."""
STATE_BYTES = 16
"""Of a parameter in training: itself, its gradient and AdamW's two averages, float32."""


@dataclass(frozen=True)
class StepCost:
    """Of training one model on one device.

    Attributes:
        fixed_s, example_s: seconds of a step, and of each example in it.
        num_params: of the model.
        example_bytes: of an example's activations, which the forward pass keeps for the backward pass.
    """

    fixed_s: float
    example_s: float
    num_params: int
    example_bytes: float

    def epoch_s(self, num_examples: int, batch_size: int) -> float:
        """Seconds of an epoch's steps."""
        return num_examples * (self.example_s + self.fixed_s / batch_size)

    def peak_bytes(self, batch_size: int) -> float:
        """Of a step, without the process's own."""
        return STATE_BYTES * self.num_params + batch_size * self.example_bytes


def measure_step(config: RunConfig, task: Task, dataset: Dataset, device: Device) -> StepCost:
    """Train a few steps of 2 and 8 images, from random weights and without distillation.

    On a CPU one thread is timed, and `SPEED_UP` tells the time of more.
    """
    config = probe_config(config).override({"train.micro_batches": 1}, source="estimate")
    run = TrainingRun(config, task, dataset, device)
    small_size = min(SMALL, len(run.train_targets))
    large_size = min(max(SMALL, LARGE // dataset.input_spec.num_slices), len(run.train_targets))
    keep_freed_memory()  # as training does
    with torch_threads(1), torch.random.fork_rng(devices=[]):
        learner, loader = Learner(run), BatchLoader(run)
        learner.prepare(frozen=False, rate=config.optim.learning_rate)
        small = _batch(loader, small_size)
        example_bytes = saved_bytes(learner, small) / small_size
        small_s, slowdown = _step_s(learner, small)
        fixed_s, example_s = 0.0, small_s / small_size
        if small_s < ENOUGH_S and large_size > small_size:
            large_s, slowdown = _step_s(learner, _batch(loader, large_size))
            example_s = max(0.0, large_s - small_s) / (large_size - small_size)
            fixed_s = max(0.0, small_s - small_size * example_s)
    factor = 1.0 if device.on_gpu else slowdown / config.train.threads**SPEED_UP
    num_params = sum(parameter.numel() for parameter in learner.model.parameters())
    del learner, loader
    release_memory()
    return StepCost(fixed_s * factor, example_s * factor, num_params, example_bytes)


def saved_bytes(learner: Learner, batch: Batch) -> int:
    """What a step's forward pass keeps for its backward pass, beside the parameters; takes that step."""
    known = {parameter.untyped_storage().data_ptr() for parameter in learner.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        learner.step(batch)
    return sum(kept.values())


def _batch(loader: BatchLoader, size: int) -> Batch:
    (batch,) = loader.batches([Draw(np.arange(size), np.zeros(size, dtype=np.int64))])
    return batch


def _step_s(learner: Learner, batch: Batch) -> tuple[float, float]:
    """The fastest of some steps after a first one, which chooses kernels and allocates; and how busy the machine is.

    On a CPU the first is of the thread's own time, and the second the clock's time of all over their own.
    """
    on_gpu, place = learner.device.on_gpu, learner.device.torch_device
    own_s: list[float] = []
    wall_s = 0.0
    while len(own_s) < 2 or (len(own_s) < MAX_STEPS and sum(own_s) < LONG_S):
        if on_gpu:
            torch.cuda.synchronize(place)
        started_s, own_started_s = time.perf_counter(), time.thread_time()
        learner.step(batch)
        if on_gpu:
            torch.cuda.synchronize(place)
        passed_s = time.perf_counter() - started_s
        wall_s += passed_s
        own_s.append(passed_s if on_gpu else time.thread_time() - own_started_s)
    return min(own_s[1:]), max(1.0, wall_s / sum(own_s))

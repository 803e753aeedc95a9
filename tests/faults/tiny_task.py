"""NIH's layout as a task of one's own: slow enough to be killed in every part, with trials that fail on demand."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from xlite.data.decode import ImagePreprocess
from xlite.data.views import augment
from xlite.gpu.limits import Sharing
from xlite.losses.objectives import DistillObjective, multilabel_objective
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.tasks.task import Budget
from xlite.train.step import RecordingFailed

SLOW_IMAGE_S, SLOW_VIEW_S = 0.03, 0.01
RAISES, DIVERGES, HANGS, DIES, DIES_ONCE, LOSES_GPU = 11.0, 12.0, 13.0, 14.0, 15.0, 16.0
"""Temperatures, which mean nothing without distillation: a trial that has one meets this fault in its second epoch."""
SLOW, SLOW_STEP_S = 17.0, 0.4
"""Another one: nothing happens but that its steps take this long."""
BREAKS_RECORDING = 18.0
"""Another one: in its second epoch its process turns out not to be fit for recorded steps; plain ones work."""
PLACE, SHARED = "XLITE_FAULTS_PLACE", "XLITE_FAULTS_SHARED"
"""In the environment: folder where trials leave word of what befell them; whether all processes share an MPS server."""


@dataclass(frozen=True)
class SlowImage(ImagePreprocess):
    """A reader that takes its time, so that a kill meets the pixel cache half-built."""

    def read(self, item):
        time.sleep(SLOW_IMAGE_S)
        return super().read(item)


def slow_augment(pixels, rows, views, *, preset, seed):
    """Takes its time too: teacher training and bank building call it, trials read the bank."""
    time.sleep(SLOW_VIEW_S * len(rows))
    return augment(pixels, rows, views, preset=preset, seed=seed)


def neighbour_runs():
    """Whether a slow trial has trained for a while."""
    return (Path(os.environ[PLACE]) / "neighbour").exists()


def a_fault_happened():
    """Whether any process lost its made-up GPU."""
    return (Path(os.environ[PLACE]) / "faults").stat().st_size > 0


def wait_for(condition):
    """So that it is no chance whom a fault meets; for 60 s at most."""
    deadline_s = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.02)


class Gpu:
    """What a process has of a GPU that is made up: lost with its first fault, or that of any client of its server."""

    is_lost, before = False, -1

    @classmethod
    def use(cls, *, fails):
        """Raise as PyTorch does once the context is lost; the file has a byte for each fault."""
        faults = Path(os.environ[PLACE]) / "faults"
        faults.touch()
        cls.before = faults.stat().st_size if cls.before < 0 else cls.before
        if fails and not cls.is_lost:
            if SHARED in os.environ:
                wait_for(neighbour_runs)
            with faults.open("a") as file:
                file.write(".")
        cls.is_lost |= fails or (SHARED in os.environ and faults.stat().st_size > cls.before)
        if cls.is_lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nand much advice")


class SharedGpu(Sharing):
    """Shares of it."""

    def enter(self, share):
        """There is nothing to hold it to."""


class FaultyObjective(DistillObjective):
    """Fails in the second epoch as the temperature says; 48 images, two in three of them trained on, are two steps."""

    def __init__(self, objective, config):
        self.__dict__.update(objective.__dict__)
        self.fault, self.is_plain, self.num_steps = config.distill.temperature, config.train.step == "plain", 0

    def __call__(self, logits, targets, teacher_logits):
        self.num_steps += 1
        if self.num_steps == 3 and self.fault == RAISES:
            raise ValueError("this trial raises on purpose")
        if self.num_steps == 3 and self.fault == HANGS:
            time.sleep(3600)
        if self.num_steps == 3 and self.fault == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.num_steps == 5 and self.fault == DIES_ONCE and not (word := Path(os.environ[PLACE]) / "died").exists():
            word.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.num_steps == 3 and self.fault == BREAKS_RECORDING and not self.is_plain:
            raise RecordingFailed("made up", process_is_fit=False)
        if PLACE in os.environ:
            Gpu.use(fails=self.num_steps == 3 and self.fault == LOSES_GPU)
        if self.fault == SLOW:
            time.sleep(SLOW_STEP_S)
            if SHARED in os.environ and self.num_steps == 3:
                (Path(os.environ[PLACE]) / "neighbour").touch()
                wait_for(a_fault_happened)
        parts = super().__call__(logits, targets, teacher_logits)
        if self.num_steps == 3 and self.fault == DIVERGES:
            parts["loss"] = parts["loss"] * torch.tensor(float("inf"))
        return parts


def faulty_objective(config, targets):
    return FaultyObjective(multilabel_objective(config, targets), config)


BUDGET = Budget(teacher_epochs=3, num_trials=6, max_epochs=5, promote_epochs=3)
DEFAULTS = replace(
    CHESTXRAY14.defaults["cpu"],
    budget=BUDGET,
    config={"data.image_size": 32, "data.augmentation": "light", "optim.batch_size": 16},
    teacher={"model.backbone": "mobilenetv3_small_050", "optim.learning_rate": 3e-3, "train.threads": 1},
)
TASK = replace(
    CHESTXRAY14,
    name="tiny",
    preprocess=lambda data, reading: SlowImage(data.image_size),
    augment=slow_augment,
    defaults={"cpu": DEFAULTS, "cuda": DEFAULTS},
    write_phantom=None,
)
FAULTY = replace(
    TASK,
    name="faulty",
    augment=augment,
    declared_target_spec=replace(CHESTXRAY14.target_spec, make_objective=faulty_objective),
)

"""A training run: everything that its numbers depend on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlite.config import ModelConfig, RunConfig, flatten, identity_values
from xlite.data.batches import ViewReader
from xlite.data.dataset import Dataset
from xlite.device import Device
from xlite.distill.bank import Bank
from xlite.models.normalise import describe_normalisation
from xlite.models.origins import Origins, origin_key
from xlite.tasks.task import Task

STEP_KEYS = ("train.step", "train.micro_batches")
"""How steps are taken, which changes rounding and batch normalisation at most: a run that ran out of memory is resumed
with others."""


def trained_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """`identity_values` of a flat configuration without `STEP_KEYS`."""
    return {key: value for key, value in identity_values(values).items() if key not in STEP_KEYS}


@dataclass(frozen=True)
class TrainingRun:
    """What is trained, on what, and where.

    Attributes:
        bank: the teacher's answers for the training part; needed when `distill.needs_teacher`.
        num_views: epoch e shows view e mod num_views; the bank's where there is one, default one for each epoch.
        origins: the weights its model may start from; None takes the first source's, and identifies none.
        views_seed: of the augmented views, which a bank answers for; None: `train.seed`.
    """

    config: RunConfig
    task: Task
    dataset: Dataset
    device: Device
    bank: Bank | None = None
    num_views: int | None = None
    origins: Origins | None = None
    views_seed: int | None = None

    @property
    def train_views(self) -> ViewReader:
        """The augmented views of the training part."""
        seed = self.config.train.seed if self.views_seed is None else self.views_seed
        return self.task.train_views(self.dataset, self.config.override({"train.seed": seed}, source="views"))

    @property
    def train_targets(self) -> np.ndarray:
        """(R, ..., L) targets of the training part."""
        return self.dataset.targets[self.dataset.part("train")]

    def identity(self) -> dict[str, Any]:
        """JSON values: two runs with the same ones have the same numbers, up to rounding."""
        return {
            "config": trained_values(flatten(self.config)),
            "data": self.dataset.train_hash(),
            "split": self.dataset.split_hash,
            "bank": self.bank.folder.name if self.bank else None,
            "num_views": self.bank.num_views if self.bank else self.num_views,
            "device": [self.device.torch_device.type, str(self.device.autocast_dtype)],
            **({} if self.views_seed is None else {"views_seed": self.views_seed}),
            **start_identity(self.config.model, self.origins),
            **describe_normalisation(self.config.model),
        }


def start_identity(model: ModelConfig, origins: Origins | None) -> dict[str, Any]:
    """What a run's identity says of the weights it starts from; empty for random ones, and where `origins` is None."""
    key = origin_key(model)
    origin = origins.get(key) if origins is not None and key is not None else None
    return {"weights": origin.sha256} if origin else {}

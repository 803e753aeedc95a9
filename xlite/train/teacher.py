"""Training a teacher: the same loop without distillation, kept where the next study finds it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xlite.config import RunConfig, flatten
from xlite.data.dataset import Dataset
from xlite.device import choose_device
from xlite.models.artifact import load_artifact
from xlite.tasks.task import Task
from xlite.train.loop import EpochReport, fit
from xlite.train.record import save_model


@dataclass(frozen=True)
class TrainedTeacher:
    """A teacher's weights file and the best validation metric of its training."""

    file: Path
    value: float
    epoch: int
    was_there: bool


def train_teacher(
    config: RunConfig,
    task: Task,
    dataset: Dataset,
    *,
    folder: Path,
    stem: str = "teacher",
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainedTeacher:
    """Train and save `<stem>.safetensors` and `.json` of the best epoch; both appear only when training is over."""
    device = choose_device(config.train.precision)
    best: EpochReport | None = None
    for report in fit(config, task, dataset, device=device):
        if report.best_state is not None:
            best = report
        if on_epoch:
            on_epoch(report)
    assert best is not None
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, stem, best, config=config, task=task, dataset=dataset, value=best.value)
    return TrainedTeacher(folder / f"{stem}.safetensors", best.value, best.epoch, was_there=False)


def default_teacher(
    config: RunConfig,
    task: Task,
    dataset: Dataset,
    *,
    folder: Path,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainedTeacher:
    """The teacher of this configuration on this training part: found below `folder`, or trained there."""
    identity = {"config": flatten(config), "data": dataset.train_hash(), "split": dataset.split_hash, "task": task.name}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    place = folder / key
    file = place / "teacher.safetensors"
    if (place / "teacher.json").exists():
        _, description = load_artifact(file)
        return TrainedTeacher(file, description["value"], description["epoch"], was_there=True)
    return train_teacher(config, task, dataset, folder=place, on_epoch=on_epoch)

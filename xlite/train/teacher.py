"""Trains a teacher, with the same loop and without distillation, where the next study finds it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xlite.config import RunConfig, flatten, identity_values
from xlite.data.dataset import Dataset
from xlite.device import choose_device
from xlite.errors import InputError, TrainingFailed
from xlite.models.artifact import load_artifact, save_artifact
from xlite.models.origins import Origins
from xlite.storage.files import fingerprint
from xlite.storage.locks import locked
from xlite.tasks.task import Task
from xlite.train.checkpoint import remove_checkpoints
from xlite.train.resumable import EpochResult
from xlite.train.retry import train_to_the_end
from xlite.train.run import TrainingRun, start_identity

_TRAINING = "training"  # stem of the files until training is over


@dataclass(frozen=True)
class TrainedTeacher:
    """A teacher's weights file, its best validation metric, and whether it was trained before."""

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
    on_epoch: Callable[[EpochResult], None] | None = None,
    waiting: Callable[[], None] = lambda: None,
    origins: Origins | None = None,
) -> TrainedTeacher:
    """Train and save `teacher.safetensors` and `.json` of the best epoch; both appear only when training is over.

    The same call resumes where an ended process stopped, and returns at once if an undamaged teacher of this
    configuration, data and split is in `folder`.

    Args:
        waiting: called every 0.2 s while another process trains there.
        origins: as in `TrainingRun`.
    """
    identity = _identity(config, task, dataset, origins)
    with locked(folder, waiting=waiting):
        there = _whole(folder, identity)
        if there is not None:
            return there
        run = TrainingRun(config, task, dataset, choose_device(config.train.precision), origins=origins)
        for kept in train_to_the_end(run, folder=folder, stem=_TRAINING):
            if on_epoch:
                on_epoch(kept)
        state, description = load_artifact(folder / f"{_TRAINING}.safetensors")
        notes = {"step_notes": list(kept.summary.step_notes)} if kept.summary.step_notes else {}
        save_artifact(folder, "teacher", state, {**description, "trained_as": identity, **notes})
        remove_checkpoints(folder, _TRAINING)
        for ending in (".safetensors", ".json"):
            (folder / f"{_TRAINING}{ending}").unlink(missing_ok=True)
    return TrainedTeacher(folder / "teacher.safetensors", description["value"], description["epoch"], was_there=False)


def default_teacher(
    config: RunConfig,
    task: Task,
    dataset: Dataset,
    *,
    folder: Path,
    on_epoch: Callable[[EpochResult], None] | None = None,
    origins: Origins | None = None,
) -> TrainedTeacher:
    """The teacher of this configuration on this training part: found below `folder`, or trained there.

    Raises:
        TrainingFailed: it cannot be trained.
    """
    place = folder / _identity(config, task, dataset, origins)
    try:
        return train_teacher(config, task, dataset, folder=place, on_epoch=on_epoch, origins=origins)
    except TrainingFailed as failure:
        raise TrainingFailed(f"teacher {config.model.backbone}: {failure}; give another with --teacher") from None


def _identity(config: RunConfig, task: Task, dataset: Dataset, origins: Origins | None) -> str:
    """16 hex digits over everything a teacher is a function of, but validation's labels, which chose its epoch."""
    values = identity_values(flatten(config))
    parts = {"config": values, "data": dataset.train_hash(), "split": dataset.split_hash, "task": task.name}
    return fingerprint({**parts, **start_identity(config.model, origins)})


def _whole(folder: Path, identity: str) -> TrainedTeacher | None:
    """The teacher in `folder` if it is this one and undamaged; a damaged one is trained again."""
    file = folder / "teacher.safetensors"
    if not file.with_suffix(".json").exists():
        return None
    try:
        _, description = load_artifact(file)
    except InputError:
        return None
    if description.get("trained_as") != identity:
        return None
    return TrainedTeacher(file, description["value"], description["epoch"], was_there=True)

"""What a study and its promotion share: the base configuration, the teacher, the teacher bank."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xlite.config import RunConfig
from xlite.console import Console
from xlite.data.dataset import Dataset
from xlite.device import Device, choose_device
from xlite.distill.bank import Bank, open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.teacher import Teacher, load_teacher
from xlite.study.options import Study
from xlite.tasks.task import Task
from xlite.train.resumable import EpochResult
from xlite.train.teacher import default_teacher


@dataclass(frozen=True)
class StudyTeacher:
    """The study's teacher; `value` is its validation metric, NaN when its file does not say."""

    teacher: Teacher
    value: float
    names: str

    @property
    def shown_value(self) -> str:
        """Four digits, or "unknown"."""
        return "unknown" if math.isnan(self.value) else f"{self.value:.4f}"


def obtain_teacher(study: Study, dataset: Dataset, console: Console) -> StudyTeacher:
    """The files given, or the task's default teacher, trained unless it is there already.

    Args:
        dataset: with the full training part, of which a search may use a subset.
    """
    options, device = study.options, choose_device(study.base.train.precision)
    files = options.teacher_files
    if not files:
        config = study.teacher_config()
        what = f"Training the teacher {config.model.backbone}"
        with console.progress(what, "epochs", total=config.train.epochs) as progress:

            def on_epoch(report: EpochResult) -> None:
                progress(report.epoch, config.train.epochs)

            place = options.cache_dir / "teachers"
            trained = default_teacher(
                config, study.task, dataset, folder=place, on_epoch=on_epoch, origins=study.origins
            )
            files = (trained.file,)
    loaded = load_study_teacher(files, study.task, dataset, device, allow_other_split=options.allow_other_split)
    console.say(f"Teacher {loaded.names}: validation {study.task.metric} {loaded.shown_value}")
    return loaded


def load_study_teacher(
    files: Sequence[Path], task: Task, dataset: Dataset, device: Device, *, allow_other_split: bool
) -> StudyTeacher:
    """Load teacher files for this data; the value of a single one is what its file says.

    Raises:
        InputError: see `load_teacher`.
    """
    kind = task.target_spec.kind
    teacher = load_teacher(files, dataset, kind=kind, device=device, allow_other_split=allow_other_split)
    value = float(teacher.descriptions[0].get("value", math.nan)) if len(files) == 1 else math.nan
    names = " + ".join(description["model"]["backbone"] for description in teacher.descriptions)
    return StudyTeacher(teacher, value, names)


def num_views(max_epochs: int) -> int:
    """Views in a study's bank: so many that a search trial sees none more than twice."""
    return math.ceil(max_epochs / 2)


def obtain_bank(study: Study, teacher: Teacher, dataset: Dataset, console: Console, *, features: bool = False) -> Bank:
    """The bank of a study; search and promotion use the same views. `features`: whether the teacher's are needed."""
    folder = study.options.cache_dir / "banks"
    return teacher_bank(teacher, study.task, dataset, study.base, folder=folder, console=console, features=features)


def teacher_bank(
    teacher: Teacher,
    task: Task,
    dataset: Dataset,
    config: RunConfig,
    *,
    folder: Path,
    console: Console,
    features: bool = False,
) -> Bank:
    """The teacher's answers for every view of the training part; as many views as `config`'s epochs need."""
    views, device = task.train_views(dataset, config), choose_device(config.train.precision)
    with console.progress("Asking the teacher about every view", "views") as progress:
        return open_or_build(
            BankSource(teacher, views, device, num_views(config.train.epochs)),
            data_key=dataset.train_hash(),
            logits_shape=dataset.targets.shape[1:],
            folder=folder,
            features=features,
            progress=progress,
        )

"""What a study and its promotion share: the base configuration, the teacher, the teacher bank."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from xlite.config import RunConfig
from xlite.console import Console
from xlite.data.dataset import Dataset
from xlite.device import Device, choose_device
from xlite.distill.bank import Bank, open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.teacher import Teacher, file_kind, load_teacher
from xlite.distill.teacher_checks import TeacherValue, check_range, trained_on_note, validation_value
from xlite.distill.teachers.own import OwnModel
from xlite.errors import InputError
from xlite.storage.files import fingerprint, read_json, write_json
from xlite.study.options import Study, TeacherRequest
from xlite.tasks.task import Task
from xlite.train.resumable import EpochResult
from xlite.train.teacher import default_teacher


@dataclass(frozen=True)
class StudyTeacher:
    """The study's teacher; `value` is its validation metric, NaN when it is not known."""

    teacher: Teacher
    value: float


def obtain_teacher(study: Study, dataset: Dataset, console: Console) -> StudyTeacher:
    """The files given, or the task's default teacher, trained unless it is there already.

    Args:
        dataset: with the full training part, of which a search may use a subset.
    """
    request, cache_dir = study.options.teacher, study.options.cache_dir
    if request.files:
        return load_study_teacher(request, study.task, dataset, study.base, cache_dir=cache_dir, console=console)
    device = choose_device(study.base.train.precision)
    config = study.teacher_config()
    with console.progress(
        f"Training the teacher {config.model.backbone}", "epochs", total=config.train.epochs
    ) as progress:

        def on_epoch(report: EpochResult) -> None:
            progress(report.epoch, config.train.epochs)

        place = cache_dir / "teachers"
        trained = default_teacher(config, study.task, dataset, folder=place, on_epoch=on_epoch, origins=study.origins)
    teacher = load_teacher([trained.file], dataset, kind=study.task.target_spec.kind, device=device)
    value = _stored_value(teacher, dataset)
    _tell(teacher, study.task, value, dataset, console)
    return StudyTeacher(teacher, value.value)


def load_study_teacher(
    request: TeacherRequest, task: Task, dataset: Dataset, config: RunConfig, *, cache_dir: Path, console: Console
) -> StudyTeacher:
    """Load the files of a teacher, check that it looks at the images, and say what it is and how good.

    What was measured is kept in `cache_dir`, so that nothing is asked again when a study continues.

    Args:
        config: decides the training views and the precision.

    Raises:
        InputError: see `load_teacher` and `check_range`.
    """
    device = choose_device(config.train.precision)
    teacher = load_teacher(
        request.files,
        dataset,
        kind=task.target_spec.kind,
        device=device,
        answers=request.answers,
        weights=request.weights,
        allow_other_split=request.allow_other_split,
    )
    for note in (note for member in teacher.members for note in member.notes):
        console.say(note)
    value = _measured(teacher, task, dataset, config, device, cache_dir / "teachers", console)
    _tell(teacher, task, value, dataset, console)
    return StudyTeacher(teacher, value.value)


def tell_what_it_has_seen(request: TeacherRequest, dataset: Dataset, console: Console) -> None:
    """Say whether a given teacher may have been trained on images that are judged here.

    Models of ours know their split, and are refused when it is another one.

    Raises:
        InputError: by its list, a teacher was.
    """
    foreign = [file.name for file in request.files if file_kind(file) != "own"]
    if request.trained_on:
        allowed = request.allow_other_split
        console.say(trained_on_note(request.trained_on, dataset, allow_overlap=allowed))
    elif foreign:
        console.say(
            f"{', '.join(foreign)}: whether validation or test images were trained on is not known; "
            "--teacher-trained-on LIST checks it"
        )


def _measured(
    teacher: Teacher, task: Task, dataset: Dataset, config: RunConfig, device: Device, place: Path, console: Console
) -> TeacherValue:
    """The teacher's validation metric, once it has passed `check_range`; both as recorded in `place`, if they are."""
    identity = {
        "teacher": teacher.key,
        "data": dataset.content_hash(),
        "split": dataset.split_hash,
        "augmentation": config.data.augmentation,
        "precision": str(device.autocast_dtype),
        "metric": task.metric,
    }
    record = place / f"measured-{fingerprint(identity)}.json"
    try:
        known = read_json(record)
        value = math.nan if known["value"] is None else float(known["value"])
        return TeacherValue(value, int(known["num_images"]), int(known["num_labels"]))
    except (InputError, KeyError, TypeError, ValueError):  # not yet, or damaged
        pass
    exclusive = task.target_spec.kind != "multilabel"
    check_range(teacher, dataset, task.train_views(dataset, config), device=device, exclusive=exclusive)
    value_of = _stored_value(teacher, dataset)
    if math.isnan(value_of.value):
        with console.progress("Asking the teacher about the validation images", "images") as progress:
            value_of = validation_value(teacher, dataset, task.target_spec, device=device, progress=progress)
    place.mkdir(parents=True, exist_ok=True)
    finite = value_of.value if math.isfinite(value_of.value) else None
    write_json(record, {**identity, **asdict(value_of), "value": finite})
    return value_of


def _stored_value(teacher: Teacher, dataset: Dataset) -> TeacherValue:
    """What the file of a single model of ours says, if it was trained on this split; else NaN."""
    value = math.nan
    match teacher.members:
        case (OwnModel(match=None) as model,) if model.description.get("split_hash") == dataset.split_hash:
            value = float(model.description.get("value", math.nan))
    return TeacherValue(value, len(dataset.part("val")), len(dataset.labels))


def _tell(teacher: Teacher, task: Task, measured: TeacherValue, dataset: Dataset, console: Console) -> None:
    """One line: what it is, and its value."""
    shown = "unknown" if math.isnan(measured.value) else f"{measured.value:.4f}"
    num_labels, num_images = len(dataset.labels), len(dataset.part("val"))
    over = ""
    if (measured.num_labels, measured.num_images) != (num_labels, num_images):
        over = f" (over {measured.num_labels} of {num_labels} labels, {measured.num_images:,} of {num_images:,} images)"
    console.say(f"Teacher {teacher.names}: validation {task.metric} {shown}{over}")


def num_views(max_epochs: int) -> int:
    """Views in a study's bank: so many that a search trial sees none more than twice."""
    return math.ceil(max_epochs / 2)


def obtain_bank(study: Study, teacher: Teacher, dataset: Dataset, console: Console) -> Bank:
    """The bank of a study; search and promotion use the same views."""
    folder = study.options.cache_dir / "banks"
    return teacher_bank(teacher, study.task, dataset, study.base, folder=folder, console=console)


def teacher_bank(
    teacher: Teacher, task: Task, dataset: Dataset, config: RunConfig, *, folder: Path, console: Console
) -> Bank:
    """The teacher's answers for every view of the training part; as many views as `config`'s epochs need."""
    views, device = task.train_views(dataset, config), choose_device(config.train.precision)
    with console.progress("Asking the teacher about every view", "views") as progress:
        return open_or_build(
            BankSource(teacher, views, device, num_views(config.train.epochs)),
            data_key=dataset.train_hash(),
            logits_shape=dataset.targets.shape[1:],
            folder=folder,
            progress=progress,
        )

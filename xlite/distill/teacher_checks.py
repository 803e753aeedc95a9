"""What is checked of a teacher before anything trains: that it looks at the image, how good it is, what it has seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xlite.console import ProgressCallback
from xlite.data.batches import ViewReader
from xlite.data.dataset import Dataset
from xlite.data.held_out import HELD_OUT
from xlite.device import Device
from xlite.distill.bank_build import BATCH_SIZES, side_by_side
from xlite.distill.teacher import Teacher
from xlite.distill.teachers.image_ids import rows_of
from xlite.distill.teachers.own import OwnModel
from xlite.distill.teachers.values import LEAST_SPREAD, constant_labels
from xlite.errors import InputError
from xlite.tasks.target_spec import TargetSpec

NUM_SAMPLED = 64
"""Training views that show whether a teacher's answers depend on the image."""
_EQUAL = 1e-5  # of our own models, whose input is in the right range, however little they have learnt


@dataclass(frozen=True)
class TeacherValue:
    """A teacher's validation metric.

    Attributes:
        value: NaN if it cannot be computed.
        num_images, num_labels: with an answer, among those of the validation part.
    """

    value: float
    num_images: int
    num_labels: int


def check_range(teacher: Teacher, dataset: Dataset, views: ViewReader, *, device: Device, exclusive: bool) -> None:
    """Ask each member about some training views.

    Args:
        views: of the training part.
        exclusive: whether labels are classes.

    Raises:
        InputError: a member gives every image the same answer, as one does whose input is in the wrong range.
    """
    num_rows = len(views.rows)
    positions = np.unique(np.linspace(0, num_rows - 1, min(NUM_SAMPLED, num_rows)).astype(int))
    pixels, rows = views.read(positions, np.zeros_like(positions)), views.rows[positions]
    for member in teacher.members:
        logits = member.answer(pixels, views.auxiliary_of(positions), rows, device=device)
        least = _EQUAL if isinstance(member, OwnModel) else LEAST_SPREAD
        if flat := constant_labels(logits, dataset.labels, exclusive=exclusive, least_spread=least):
            raise InputError(
                f"teacher {member.name}: {len(positions)} images have the same answer for {', '.join(flat)}; is its "
                "input in the range that it was trained on? If so, leave these labels out, or train it again"
            )


def validation_value(
    teacher: Teacher,
    dataset: Dataset,
    target_spec: TargetSpec,
    *,
    device: Device,
    progress: ProgressCallback | None = None,
) -> TeacherValue:
    """The metric that selection maximises, of the teacher on the validation part: what it does not answer is left out.

    Args:
        progress: called with (images done, images).
    """
    positions, pixels = dataset.part("val"), dataset.open_pixels()
    size = max(1, BATCH_SIZES[device.torch_device.type] // dataset.input_spec.num_slices)

    def ask(start: int) -> np.ndarray:
        chosen = positions[start : start + size]
        rows = dataset.rows[chosen]
        return teacher.answer(pixels[rows], dataset.auxiliary_of(chosen), rows, device=device)

    parts = []
    for part in side_by_side(ask, range(0, len(positions), size), device):
        parts.append(part)
        if progress is not None:
            progress(min(len(parts) * size, len(positions)), len(positions))
    logits = np.concatenate(parts)
    silent = np.isnan(logits)
    entries = ~silent.reshape(len(logits), -1, logits.shape[-1])
    num_images, num_labels = int(entries.any(axis=(1, 2)).sum()), int(entries.any(axis=(0, 1)).sum())
    targets = np.where(silent, np.nan, dataset.targets[positions])
    try:
        answers = target_spec.probabilities(np.where(silent, 0, logits))
        value = target_spec.judge(answers, targets, dataset.labels).scalars[target_spec.score]
    except InputError:  # what it answers has one class only
        value = float("nan")
    return TeacherValue(value, num_images, num_labels)


def trained_on_note(lists: Sequence[Path], dataset: Dataset, *, allow_overlap: bool) -> str:
    """A line on the images that a foreign teacher was trained on.

    Args:
        lists: text files of image ids or groups (patients), one a line.
        dataset: with all parts.
        allow_overlap: accept that they meet validation or test.

    Raises:
        InputError: a list cannot be read, or meets validation, test or what is held out.
    """
    names = [name for file in lists for name in _lines(file)]
    meets = np.isin(dataset.groups, names)
    found = rows_of(names, dataset.ids)
    meets[found[found >= 0]] = True
    in_part = {part: int(meets[positions].sum()) for part, positions in dataset.parts.items()}
    told = f"the teacher was trained on {in_part['val']:,} validation and {in_part['test']:,} test images of this data"
    if held_out := in_part.get(HELD_OUT):
        told += f", and on {held_out:,} that are held out"
    overlaps = sum(in_part.values()) > in_part["train"]
    where = ", ".join(str(file) for file in lists)
    if overlaps and not allow_overlap:
        raise InputError(
            f"--teacher-trained-on {where}: {told}, so that their figures would flatter it and its students; take "
            "another teacher, or allow it with --allow-other-split"
        )
    if overlaps:
        return f"Leakage allowed: {told}"
    if not in_part["train"]:
        return (
            f"--teacher-trained-on: none of {len(names):,} lines is an image or a patient of this data (an image here: "
            f"{dataset.ids[0]}, a patient: {dataset.groups[0]})"
        )
    return f"--teacher-trained-on: {in_part['train']:,} training images, none of validation and test"


def _lines(file: Path) -> list[str]:
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise InputError(f"--teacher-trained-on {file}: no such file; name the place where it is") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--teacher-trained-on {file}: cannot be read ({error})") from None
    if not any(names):
        raise InputError(f"--teacher-trained-on {file}: empty; write the id of an image or a patient on each line")
    return [name for name in names if name]

"""What `kd_helps.py` compares: settings, fixed before they were run, and ways to distil."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A student, its teacher, and data.

    Attributes:
        common: dotted configuration keys of all trainings, over the CPU's BASELINE of the task.
        teacher, student: their own keys, over `common`.
        labelled: share of the training patients whose labels are known, to teacher and student; the teacher answers
            for all images.
        on_real_images: on `--data`, else on the task's phantoms.
    """

    task: str
    epochs: int
    teacher_epochs: int
    common: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    student: Mapping[str, Any] = field(default_factory=dict)
    labelled: float = 1.0
    on_real_images: bool = False


_CHEST = {"data.image_size": 128, "optim.batch_size": 32}
_LITE_TEACHER = {
    "model.backbone": "tf_efficientnet_lite0",
    "model.pretrained": True,
    "optim.learning_rate": 1e-3,
    "optim.schedule": "cosine",
}
_SMALL = {"model.backbone": "mobilenetv3_small_050", "optim.learning_rate": 3e-3}

SETTINGS = {
    # a small, fast student from random weights under a teacher from ImageNet weights
    "nih_small": Setting("chestxray14", 16, 6, _CHEST, _LITE_TEACHER, _SMALL, on_real_images=True),
    # the same where a fifth of the patients are labelled, to both
    "nih_fifth": Setting("chestxray14", 16, 12, _CHEST, _LITE_TEACHER, _SMALL, 0.2, on_real_images=True),
    # a student from ImageNet weights, under a larger one of the same family
    "nih_pretrained": Setting(
        "chestxray14",
        6,
        6,
        _CHEST,
        _LITE_TEACHER | {"model.backbone": "tf_efficientnet_lite2"},
        _LITE_TEACHER,
        on_real_images=True,
    ),
    "lumbar": Setting("lumbar_spine", 10, 10),
    "stm": Setting("stm_scanlines", 40, 30),
}

WAYS: Mapping[str, Mapping[str, Any]] = {
    "alone": {},
    "kl": {"distill.alpha": 0.7, "distill.temperature": 4.0},
}
"""Keys of a student by way; "alone" has no teacher."""

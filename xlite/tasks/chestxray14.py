"""NIH ChestX-ray14: 14 findings, several at once, from grey chest radiographs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlite.config import DataConfig
from xlite.console import ProgressCallback
from xlite.data.decode import ImagePreprocess
from xlite.data.phantom.chest_dataset import phantom_folder, write_phantom
from xlite.data.sources import ParsedDataset
from xlite.data.sources.nih import read_nih
from xlite.tasks.target_spec import MULTILABEL
from xlite.tasks.task import Budget, Defaults, Task

PHANTOM_IMAGES = 1000
PHANTOM_PX = 256
PRETRAINED_BUDGET = Budget(teacher_epochs=6, num_trials=6, max_epochs=6, promote_epochs=6)
"""On a CPU with pretrained weights: some 40 minutes for 1,100 training images on two cores, estimated from epochs."""


def _read(folder: Path, *, allow_missing: bool, data: DataConfig, column_overrides: Mapping[str, Any]) -> ParsedDataset:
    return read_nih(folder, allow_missing=allow_missing)


def _preprocess(data: DataConfig, reading: ParsedDataset) -> ImagePreprocess:
    return ImagePreprocess(image_size=data.image_size)


def _write_phantom(root: Path, progress: ProgressCallback | None) -> Path:
    folder = phantom_folder(root, num_images=PHANTOM_IMAGES, image_px=PHANTOM_PX, seed=0)
    write_phantom(folder, num_images=PHANTOM_IMAGES, image_px=PHANTOM_PX, seed=0, progress=progress)
    return folder


CHESTXRAY14 = Task(
    name="chestxray14",
    title="NIH ChestX-ray14, 14 findings",
    read=_read,
    preprocess=_preprocess,
    declared_target_spec=MULTILABEL,
    write_phantom=_write_phantom,
    defaults={
        "cpu": Defaults(
            space="kd_cpu.py",
            baselines="baselines_cpu.py",
            budget=Budget(teacher_epochs=8, num_trials=16, max_epochs=15, promote_epochs=15),
            demo_budget=Budget(teacher_epochs=6, num_trials=10, max_epochs=10, promote_epochs=10),
            config={"data.image_size": 64},
            teacher={
                "model.backbone": "resnet10t",
                "model.pretrained": False,
                "optim.learning_rate": 1e-3,
                "optim.schedule": "cosine",
            },
        ),
        "cpu_pretrained": Defaults(
            space="kd_lite_cpu.py",
            baselines="baselines_lite_cpu.py",
            budget=PRETRAINED_BUDGET,
            demo_budget=PRETRAINED_BUDGET,
            config={
                "data.image_size": 160,
                "model.backbone": "tf_efficientnet_lite0",
                "model.pretrained": True,
                "optim.learning_rate": 1e-3,
                "optim.schedule": "cosine",
            },
            teacher={
                "model.backbone": "tf_efficientnet_lite2",
                "model.pretrained": True,
                "optim.learning_rate": 1e-3,
                "optim.schedule": "cosine",
            },
        ),
        "cuda": Defaults(
            space="kd.py",
            baselines="baselines.py",
            budget=Budget(teacher_epochs=20, num_trials=32, max_epochs=20, promote_epochs=50),
            demo_budget=Budget(teacher_epochs=8, num_trials=16, max_epochs=8, promote_epochs=8),
            config={"data.image_size": 224},
            teacher={
                "model.backbone": "densenet121",
                "model.pretrained": True,
                "optim.learning_rate": 1e-4,
                "optim.schedule": "cosine",
                "optim.warmup_epochs": 1,
            },
        ),
    },
)

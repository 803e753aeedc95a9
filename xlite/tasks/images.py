"""Any folder of labelled images: classes as folders, or a table beside them; the data says what the labels are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlite.config import DataConfig
from xlite.data.decode import ImagePreprocess
from xlite.data.sources import ParsedDataset
from xlite.data.sources.folder import read_images
from xlite.data.sources.folder_options import FolderOptions
from xlite.tasks.task import Budget, Defaults, Task


def _read(folder: Path, *, allow_missing: bool, data: DataConfig, column_overrides: Mapping[str, Any]) -> ParsedDataset:
    return read_images(folder, allow_missing=allow_missing, options=FolderOptions.of(column_overrides))


def _preprocess(data: DataConfig, reading: ParsedDataset) -> ImagePreprocess:
    """Grey images with CLAHE, as radiographs want it; colour as it is, since contrast there is part of the finding."""
    clip = 2.0 if reading.channels == 1 else 0.0
    return ImagePreprocess(image_size=data.image_size, channels=reading.channels, clahe_clip=clip)


IMAGES = Task(
    name="images",
    title="Labelled images",
    read=_read,
    preprocess=_preprocess,
    declared_target_spec=None,
    takes_columns=True,
    keeps_own_split=True,
    defaults={
        "cpu": Defaults(
            space="images_kd_cpu.py",
            baselines="baselines_cpu.py",
            budget=Budget(teacher_epochs=8, num_trials=16, max_epochs=15, promote_epochs=15),
            demo_budget=Budget(teacher_epochs=8, num_trials=16, max_epochs=15, promote_epochs=15),
            config={"data.image_size": 64},
            teacher={
                "model.backbone": "resnet10t",
                "model.pretrained": False,
                "optim.learning_rate": 1e-3,
                "optim.schedule": "cosine",
            },
        ),
        "cuda": Defaults(
            space="images_kd.py",
            baselines="baselines.py",
            budget=Budget(teacher_epochs=20, num_trials=32, max_epochs=20, promote_epochs=50),
            demo_budget=Budget(teacher_epochs=20, num_trials=32, max_epochs=20, promote_epochs=50),
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

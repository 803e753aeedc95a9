"""Any folder of labelled images: classes as folders, or a table beside them; the data says what the labels are."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xlite.config import DataConfig
from xlite.data.decode import ImagePreprocess
from xlite.data.sources import ParsedDataset
from xlite.data.sources.folder import read_images
from xlite.data.sources.folder_options import FolderOptions
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.tasks.task import Task

_CPU, _CPU_PRETRAINED, _CUDA = (CHESTXRAY14.defaults[kind] for kind in ("cpu", "cpu_pretrained", "cuda"))


def _read(folder: Path, *, allow_missing: bool, data: DataConfig, column_overrides: Mapping[str, Any]) -> ParsedDataset:
    return read_images(folder, allow_missing=allow_missing, options=FolderOptions.of(column_overrides))


def _preprocess(data: DataConfig, reading: ParsedDataset) -> ImagePreprocess:
    """CLAHE for grey images, as for radiographs; none in colour, where contrast is part of the finding."""
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
        "cpu": replace(_CPU, space="images_kd_cpu.py", demo_budget=_CPU.budget),
        "cpu_pretrained": replace(_CPU_PRETRAINED, space="images_kd_lite_cpu.py"),
        "cuda": replace(_CUDA, space="images_kd.py", demo_budget=_CUDA.budget),
    },
)

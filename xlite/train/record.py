"""What is kept of a run beside its curve: the best epoch's metrics, times, notes; plain JSON values."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlite.config import RunConfig, flatten
from xlite.data.dataset import Dataset
from xlite.metrics import Evaluation, collapse_note
from xlite.models.artifact import save_artifact
from xlite.tasks.task import Task
from xlite.train.loop import EpochReport


class RunRecord:
    """Follows a run's reports; `summary()` describes it as of its best epoch."""

    def __init__(self, config: RunConfig, *, metric: str, device_name: str) -> None:
        self.config, self.metric, self.device_name = config, metric, device_name
        self.best: EpochReport | None = None
        self.epochs = 0
        self.seconds: dict[str, float] = {}
        self.curve: list[float] = []

    def add(self, report: EpochReport) -> None:
        """Take in one epoch."""
        if report.best_epoch == report.epoch:
            self.best = report
        self.epochs = report.epoch
        self.curve.append(report.value)
        for name, value in report.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    def summary(self) -> dict[str, Any]:
        """JSON-ready: config, metrics and losses at the best epoch, seconds by kind, notes."""
        summary: dict[str, Any] = {
            "config": flatten(self.config),
            "device": self.device_name,
            "epochs": self.epochs,
            "seconds": round(sum(self.seconds.values()), 3),
            "seconds_by_kind": {name: round(value, 3) for name, value in self.seconds.items()},
            "curve": [round(value, 6) for value in self.curve],
        }
        if self.best is not None:
            summary |= {
                "best_epoch": self.best.epoch,
                "train_loss": finite(self.best.train["loss"]),
                "train_parts": finite(self.best.train),
                "val_loss": finite(self.best.val_loss),
                "gap": finite(self.best.train[self.metric] - self.best.value),
                "images_per_s": round(self.best.images_per_s, 1),
                **describe(self.best.val),
            }
        return summary


def describe(evaluation: Evaluation) -> dict[str, Any]:
    """{"metrics", "per_label", "undefined", "notes"} of an evaluation; NaN becomes null."""
    collapse = collapse_note(evaluation)
    return {
        "metrics": finite(evaluation.scalars),
        "per_label": finite(evaluation.per_label),
        "undefined": list(evaluation.undefined),
        "notes": [*evaluation.notes, *([collapse] if collapse else [])],
    }


def finite(value: Any) -> Any:
    """The same value with every NaN and infinity as None, since JSON has neither."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def save_model(
    folder: Path, stem: str, report: EpochReport, *, config: RunConfig, task: Task, dataset: Dataset, **more: Any
) -> None:
    """Save the best weights of `report` with all that is needed to rebuild the model; `more` joins the description."""
    assert report.best_state is not None
    save_artifact(
        folder,
        stem,
        report.best_state,
        {
            "format": 1,
            "task": task.name,
            "target_kind": task.family.kind,
            "labels": list(dataset.labels),
            "model": config.model.model_dump(),
            "in_channels": dataset.in_channels,
            "image_size": dataset.image_size,
            "split_hash": dataset.split_hash,
            "preprocess": dict(dataset.preprocess),
            "config": flatten(config),
            "epoch": report.epoch,
            "validation": describe(report.val),
            **more,
        },
    )


def undefined_line(undefined: Sequence[str], part: str) -> str:
    """One line that names the labels a mean does not contain."""
    return f"Not in the mean on {part}, for want of both classes there: {', '.join(undefined)}"

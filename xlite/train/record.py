"""What is kept of a run beside its curve: the best epoch's metrics, times, notes; plain JSON values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from xlite.config import RunConfig, flatten
from xlite.data.dataset import Dataset
from xlite.metrics.multilabel import Evaluation, collapse_note
from xlite.tasks.task import Task
from xlite.train.loop import EpochReport

_OF_BEST = (
    *("best_epoch", "train_loss", "train_parts", "val_loss", "gap", "images_per_s"),
    *("metrics", "per_label", "undefined", "notes"),
)
"""Keys of a summary that describe the best epoch."""


class RunRecord:
    """Follows a run's reports; `summary()` describes it as of its best epoch.

    Args:
        earlier: the summary of an earlier process, which this one goes on from.
    """

    def __init__(
        self, config: RunConfig, *, metric: str, device_name: str, earlier: Mapping[str, Any] | None = None
    ) -> None:
        self.config, self.metric, self.device_name = config, metric, device_name
        earlier = earlier or {}
        self.epochs: int = earlier.get("epochs", 0)
        self.seconds: dict[str, float] = dict(earlier.get("seconds_by_kind", {}))
        self.curve: list[float] = list(earlier.get("curve", []))
        self.best = {key: earlier[key] for key in _OF_BEST if key in earlier}

    def add(self, report: EpochReport) -> None:
        """Take in one epoch."""
        if report.best_epoch == report.epoch:
            self.best = {
                "best_epoch": report.epoch,
                "train_loss": finite(report.train["loss"]),
                "train_parts": finite(report.train),
                "val_loss": finite(report.val_loss),
                "gap": finite(report.train[self.metric] - report.value),
                "images_per_s": round(report.images_per_s, 1),
                **describe(report.val),
            }
        self.epochs = report.epoch
        self.curve.append(report.value)
        for name, value in report.seconds.items():
            self.spend(name, value)

    def spend(self, kind: str, seconds: float) -> None:
        """Count seconds of some kind."""
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds

    def summary(self) -> dict[str, Any]:
        """JSON-ready: config, metrics and losses at the best epoch, seconds by kind, notes."""
        return {
            "config": flatten(self.config),
            "device": self.device_name,
            "epochs": self.epochs,
            "seconds": round(sum(self.seconds.values()), 3),
            "seconds_by_kind": {name: round(value, 3) for name, value in self.seconds.items()},
            "curve": list(self.curve),
            **self.best,
        }


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


def describe_model(
    report: EpochReport, *, config: RunConfig, task: Task, dataset: Dataset, **more: Any
) -> dict[str, Any]:
    """All that is needed to rebuild and use the model of this epoch, JSON-ready; `more` joins it."""
    spec = dataset.input_spec
    highest = {"auxiliary_max": list(spec.auxiliary_max)} if spec.auxiliary_max else {}
    return {
        "format": 1,
        "task": task.name,
        "target_kind": task.target_spec.kind,
        "labels": list(dataset.labels),
        "model": config.model.model_dump(),
        "in_channels": spec.channels,
        "image_size": spec.image_size,
        **highest,
        "split_hash": dataset.split_hash,
        "preprocess": dict(dataset.preprocess),
        "config": flatten(config),
        "epoch": report.epoch,
        "value": report.value,
        "validation": describe(report.val),
        **more,
    }


def undefined_line(undefined: Sequence[str], part: str) -> str:
    """One line that names the labels a mean does not contain."""
    return f"Not in the mean on {part}, for want of both classes there: {', '.join(undefined)}"

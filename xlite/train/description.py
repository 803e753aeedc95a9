"""What an epoch's report becomes on disk: a part of the run's summary, and the description of its model."""

from dataclasses import replace
from typing import Any

from xlite.config import RunConfig, flatten
from xlite.data.dataset import Dataset
from xlite.tasks.task import Task
from xlite.train.loop import EpochReport
from xlite.train.summary import RunSummary, finite, summary_of


def after_epoch(summary: RunSummary, report: EpochReport, *, metric: str) -> RunSummary:
    """A run's summary after one more epoch. `metric`: the task's."""
    if report.best_epoch == report.epoch:
        summary = replace(
            summary,
            **vars(summary_of(report.val)),
            best_epoch=report.epoch,
            train_loss=finite(report.train["loss"]),
            train_parts=finite(report.train),
            val_loss=finite(report.val_loss),
            gap=finite(report.train[metric] - report.value),
            images_per_s=round(report.images_per_s, 1),
        )
    return replace(summary, epochs=report.epoch, curve=(*summary.curve, report.value)).with_seconds(report.seconds)


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
        "validation": summary_of(report.val).to_json(),
        **more,
    }

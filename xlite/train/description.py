"""From an epoch's report to the run's summary and the model's description, as they are stored."""

import math
from dataclasses import replace
from typing import Any

from xlite.config import flatten
from xlite.errors import TrainingFailed
from xlite.models.normalise import describe_normalisation
from xlite.train.loop import EpochReport
from xlite.train.run import TrainingRun
from xlite.train.summary import RunSummary, finite, summary_of


def after_epoch(summary: RunSummary, report: EpochReport, *, metric: str) -> RunSummary:
    """A run's summary after one more epoch. `metric`: the task's.

    Raises:
        TrainingFailed: the metric is not finite, as one of one's own may be; no epoch or trial is ranked by that.
    """
    if not math.isfinite(report.value):
        raise TrainingFailed(f"{metric} on validation is {report.value} at epoch {report.epoch}")
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


def describe_model(report: EpochReport, run: TrainingRun) -> dict[str, Any]:
    """JSON values: all that is needed to rebuild and use the model of this epoch."""
    config, task, dataset, spec = run.config, run.task, run.dataset, run.dataset.input_spec
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
        **describe_normalisation(config.model),
        "split_hash": dataset.split_hash,
        "preprocess": dict(dataset.preprocess),
        "config": flatten(config),
        "epoch": report.epoch,
        "value": report.value,
        "validation": summary_of(report.val).to_json(),
    }

"""Promotion: the winner retrained on all training data, its epoch chosen on validation, tested once, packaged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.device import Device, choose_device
from xlite.distill.bank import Bank
from xlite.files import write_json
from xlite.ledger import Ledger, TrialRecord
from xlite.metrics import Evaluation, bootstrap_interval
from xlite.models.artifact import load_student
from xlite.models.cost import count_cost, measure_latency
from xlite.tasks.task import Task
from xlite.train.events import EventWriter
from xlite.train.inference import predict_logits
from xlite.train.loop import EpochReport, fit
from xlite.train.record import RunRecord, describe, finite, save_model

STEM = "model"


@dataclass(frozen=True)
class Promotion:
    """A finished promotion.

    Attributes:
        folder: holds model.safetensors and model.json (enough to rebuild it), metrics.json and thresholds.json.
        interval: 95% bootstrap interval of the test metric, patients resampled.
    """

    folder: Path
    epoch: int
    validation: Evaluation
    test: Evaluation
    thresholds: dict[str, float]
    interval: tuple[float, float]


def promotion_config(base: RunConfig, winner: TrialRecord, *, epochs: int) -> RunConfig:
    """The winner's configuration over a new budget; threads as in the search, since they are part of the result."""
    return base.override({**winner.overrides, "train.epochs": epochs}, source=f"trial {winner.number}")


def promote(
    config: RunConfig,
    task: Task,
    dataset: Dataset,
    bank: Bank | None,
    ledger: Ledger,
    *,
    winner: TrialRecord,
    folder: Path,
    threshold_method: Literal["f1", "youden"] = "f1",
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Promotion:
    """Retrain, choose the epoch and the thresholds on validation, then read the test split once.

    Args:
        dataset: with the full training part.
        folder: `promoted/` of the study; each file is replaced whole.
    """
    device = choose_device(config.train.precision)
    folder.mkdir(parents=True, exist_ok=True)
    record = _retrain(config, task, dataset, bank, device=device, winner=winner, folder=folder, on_epoch=on_epoch)
    model = device.move(load_student(folder / f"{STEM}.safetensors")[0])
    probabilities = {
        part: _probabilities(model, task, data, part, device)
        for part, data in (("val", dataset), ("test", dataset.unsealed()))
    }
    targets = {part: dataset.targets[dataset.parts[part]] for part in probabilities}
    validation, test = (task.evaluate(probabilities[p], targets[p], dataset.labels) for p in ("val", "test"))
    thresholds, notes = task.choose_thresholds(
        probabilities["val"], targets["val"], dataset.labels, method=threshold_method
    )
    interval = bootstrap_interval(
        task.bootstrap,
        probabilities["test"],
        targets["test"],
        dataset.groups[dataset.parts["test"]],
        num_resamples=500,
        seed=config.train.seed,
    )
    at_thresholds = {p: _at_thresholds(task, probabilities[p], targets[p], dataset, thresholds) for p in probabilities}
    write_json(folder / "thresholds.json", {"method": threshold_method, "thresholds": thresholds, "notes": list(notes)})
    reads = len(ledger.finals()) + 1
    summary = record.summary()
    write_json(
        folder / "metrics.json",
        {
            "metric": task.metric,
            "epoch": summary["best_epoch"],
            "validation": {**describe(validation), "at_thresholds": at_thresholds["val"]},
            "test": {
                **describe(test),
                "at_thresholds": at_thresholds["test"],
                "interval_95": list(interval),
                "num_images": len(targets["test"]),
                "reads_of_test_in_this_study": reads,
            },
        },
    )
    _record_final(
        ledger,
        summary,
        config,
        dataset,
        device,
        model,
        winner=winner,
        task=task,
        validation=validation,
        test=test,
        interval=interval,
        reads=reads,
    )
    return Promotion(folder, summary["best_epoch"], validation, test, thresholds, interval)


def _retrain(
    config: RunConfig,
    task: Task,
    dataset: Dataset,
    bank: Bank | None,
    *,
    device: Device,
    winner: TrialRecord,
    folder: Path,
    on_epoch: Callable[[EpochReport], None] | None,
) -> RunRecord:
    record = RunRecord(config, metric=task.metric, device_name=device.name)
    events = EventWriter(folder, winner.overrides, metric=task.metric)
    best: EpochReport | None = None
    for report in fit(config, task, dataset, device=device, bank=bank if config.distill.alpha > 0 else None):
        record.add(report)
        events.add(report)
        if report.best_state is not None:
            best = report
        if on_epoch:
            on_epoch(report)
    events.close()
    assert best is not None
    save_model(folder, STEM, best, config=config, task=task, dataset=dataset, trial=winner.number)
    return record


def _probabilities(model: nn.Module, task: Task, dataset: Dataset, part: Any, device: Device) -> np.ndarray:
    rows = dataset.rows[dataset.part(part)]
    return task.probabilities(predict_logits(model, dataset.open_pixels(), rows, device=device))


def _at_thresholds(
    task: Task, probabilities: np.ndarray, targets: np.ndarray, dataset: Dataset, thresholds: Mapping[str, float]
) -> dict[str, Any]:
    """F1, precision and recall with each label's own threshold."""
    limits = np.array([thresholds[label] for label in dataset.labels])
    decided = task.evaluate((probabilities >= limits).astype(np.float64), targets, dataset.labels)
    kept = ("f1", "precision", "recall")
    return finite(
        {
            "scalars": {k: v for k, v in decided.scalars.items() if k.startswith(kept)},
            "per_label": {name: {k: row[k] for k in kept if k in row} for name, row in decided.per_label.items()},
        }
    )


def _record_final(
    ledger: Ledger,
    summary: dict[str, Any],
    config: RunConfig,
    dataset: Dataset,
    device: Device,
    model: nn.Module,
    *,
    winner: TrialRecord,
    task: Task,
    validation: Evaluation,
    test: Evaluation,
    interval: tuple[float, float],
    reads: int,
) -> None:
    cost = count_cost(config.model, num_labels=len(dataset.labels), in_channels=dataset.in_channels)
    latency = measure_latency(model, dataset.image_size, device=device.place, threads=config.train.threads)
    ledger.add_final(
        {
            **summary,
            **describe(validation),
            "cost": {"num_params": cost.num_params, "size_mb": cost.size_mb, "latency_ms": latency},
            "test": {**describe(test), "interval_95": list(interval), "reads": reads},
            "promoted_from": winner.number,
        },
        value=validation.scalars[task.metric],
    )

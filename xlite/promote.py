"""Promotion: the winner retrained on all training data, its epoch chosen on validation, tested once, packaged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from xlite.config import RunConfig
from xlite.data.dataset import Dataset, Part
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
    val = _judge(model, task, dataset, "val", device)
    test = _judge(model, task, dataset.unsealed(), "test", device)
    thresholds, notes = task.choose_thresholds(val.probabilities, val.targets, dataset.labels, method=threshold_method)
    groups = dataset.groups[dataset.parts["test"]]
    interval = bootstrap_interval(
        task.bootstrap, test.probabilities, test.targets, groups, num_resamples=500, seed=config.train.seed
    )
    reads = len(ledger.finals()) + 1
    summary = record.summary()
    test_about = {**describe(test.evaluation), "interval_95": list(interval), "reads_of_test_in_this_study": reads}
    write_json(folder / "thresholds.json", {"method": threshold_method, "thresholds": thresholds, "notes": list(notes)})
    write_json(
        folder / "metrics.json",
        {
            "metric": task.metric,
            "epoch": summary["best_epoch"],
            "validation": {**describe(val.evaluation), "at_thresholds": val.decided(task, dataset.labels, thresholds)},
            "test": {**test_about, "at_thresholds": test.decided(task, dataset.labels, thresholds)},
        },
    )
    cost = count_cost(config.model, num_labels=len(dataset.labels), in_channels=dataset.in_channels)
    latency = measure_latency(model, dataset.image_size, device=device.place, threads=config.train.threads)
    about = {**summary, **describe(val.evaluation), "cost": {**asdict(cost), "latency_ms": latency}}
    ledger.add_final(
        {**about, "test": test_about, "promoted_from": winner.number}, value=val.evaluation.scalars[task.metric]
    )
    return Promotion(folder, summary["best_epoch"], val.evaluation, test.evaluation, thresholds, interval)


@dataclass(frozen=True)
class _Judged:
    """What a model says of one part: probabilities and targets (N, L), and the metrics."""

    probabilities: np.ndarray
    targets: np.ndarray
    evaluation: Evaluation

    def decided(self, task: Task, labels: Sequence[str], thresholds: Mapping[str, float]) -> dict[str, Any]:
        """F1, precision and recall with each label's own threshold."""
        limits = np.array([thresholds[label] for label in labels])
        decided = task.evaluate((self.probabilities >= limits).astype(np.float64), self.targets, labels)
        kept = ("f1", "precision", "recall")
        return finite(
            {
                "scalars": {k: v for k, v in decided.scalars.items() if k.startswith(kept)},
                "per_label": {name: {k: row[k] for k in kept if k in row} for name, row in decided.per_label.items()},
            }
        )


def _judge(model: nn.Module, task: Task, dataset: Dataset, part: Part, device: Device) -> _Judged:
    positions = dataset.part(part)
    logits = predict_logits(model, dataset.open_pixels(), dataset.rows[positions], device=device)
    probabilities, targets = task.probabilities(logits), dataset.targets[positions]
    return _Judged(probabilities, targets, task.evaluate(probabilities, targets, dataset.labels))


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

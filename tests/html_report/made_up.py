"""Studies of any size for the report, made by the ledger itself in seconds."""

import random
from pathlib import Path
from typing import Any

import optuna

from xlite.ledger import Ledger, TrialResult, sqlite_url
from xlite.models.limits import Cost
from xlite.storage.files import write_json
from xlite.train.summary import RunSummary

MAX_EPOCHS, RUNG = 9, 3
BACKBONES = ("mobilenetv3_small_050", "mobilenetv3_small_075", "lcnet_050")


def space(trial: optuna.Trial) -> dict[str, Any]:
    """Numbers, choices, and a key that only one branch has."""
    chosen: dict[str, Any] = {
        "model.backbone": trial.suggest_categorical("model.backbone", BACKBONES),
        "model.attention": trial.suggest_categorical("model.attention", ["none", "mhsa", "performer"]),
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.4),
        "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-4, 1e-2, log=True),
        "optim.batch_size": trial.suggest_int("optim.batch_size", 16, 64, step=16),
        "loss.name": trial.suggest_categorical("loss.name", ["bce", "focal"]),
        "distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0),
        "distill.temperature": trial.suggest_float("distill.temperature", 1.0, 16.0, log=True),
    }
    if chosen["loss.name"] == "focal":
        chosen["loss.focal_gamma"] = trial.suggest_float("loss.focal_gamma", 0.5, 3.0)
    return chosen


def write_study(
    folder: Path,
    num_trials: int,
    *,
    failing: bool = False,
    reason: str = "loss is nan",
    objectives: tuple[str, ...] = (),
) -> Path:
    """A study in `folder`: of nine trials four are complete, three pruned at the rung, one runs and one failed.

    Args:
        failing: every trial fails, with this reason.
    """
    folder.mkdir(parents=True)
    rng = random.Random(0)
    metadata = {"metric": "auc_macro", "task": "chestxray14", "kind": "multilabel", "objectives": list(objectives)}
    url = sqlite_url(folder / "study.db")
    with Ledger.open(url, folder.name, create=True, num_startup=10**6, metadata=metadata) as ledger:
        for number in range(num_trials):
            overrides = ledger.ask(space).overrides
            state = (
                "failed"
                if failing or number % 9 == 8
                else "running"
                if number % 9 == 7
                else "pruned"
                if number % 9 in (2, 4, 6)
                else "complete"
            )
            top = 0.6 + 0.2 * overrides["distill.alpha"] * (1 - overrides["model.dropout"]) + rng.uniform(0, 0.02)
            epochs = RUNG if state == "pruned" else 0 if state == "failed" else MAX_EPOCHS
            curve = [top - 0.2 / (epoch + 1) for epoch in range(1, epochs + 1)]
            for epoch, value in enumerate(curve, start=1):
                ledger.report(number, epoch, value)
            if state == "running":
                continue
            kinds = {"step": 8.0 * epochs, "evaluation": float(epochs)}
            summary = RunSummary(
                epochs=epochs, curve=tuple(curve), best_epoch=epochs, seconds=9.0 * epochs, seconds_by_kind=kinds,
                device="cpu", device_seconds=9.0 * epochs, metrics={"auc_macro": max(curve, default=0.0)}, gap=0.02,
            )  # fmt: skip
            size = 1.3 + BACKBONES.index(overrides["model.backbone"]) + rng.uniform(0, 0.1)
            cost = Cost(int(size * 1e6 / 4), size, 2 * size + rng.uniform(0, 0.5), 0.1)
            if state == "failed":
                ledger.finish(number, "failed", value=None, result=TrialResult(reason=reason, cost=cost))
            else:
                result = TrialResult(summary=summary, cost=cost)
                ledger.finish(number, state, value=max(curve), result=result)  # type: ignore[arg-type]
    return folder


def promoted(folder: Path, labels: tuple[str, ...]) -> None:
    """A package's .json files beside a study, with these labels."""
    (folder / "promoted").mkdir()
    per_label = {
        label: {"num_positive": 20 + i, "num_known": 100, "auc": 0.6 + i / 20, "pr_auc": 0.3, "f1": 0.4}
        for i, label in enumerate(labels)
    }
    ends = {label: {"auc": {"low": 0.5, "high": 0.9, "note": ""}} for label in labels}
    part = {"metrics": {"auc_macro": 0.7}, "per_label": per_label}
    interval = {"interval_95": [0.65, 0.75], "intervals_95": {"scalars": {}, "per_label": ends}}
    values = {"metric": "auc_macro", "models": ["model.safetensors"], "train": part, "validation": part}
    write_json(folder / "promoted" / "metrics.json", {**values, "test": {**part, **interval}})
    thresholds = {label: {"threshold": 0.3, "basis": "observed"} for label in labels}
    write_json(folder / "promoted" / "thresholds.json", {"labels": thresholds, "notes": []})
    bins = [{"low": 0, "high": 1, "mean_predicted": 0.3, "observed": 0.4, "count": 9}]
    write_json(folder / "promoted" / "reliability.json", {"test": {"after": dict.fromkeys(labels, bins)}})
    curve = {"roc": [[0, 0.2, 1], [0, 0.7, 1]], "pr": [[0, 0.5, 1], [1, 0.5, 0.2]]}
    counts = [[10 if i == j else 3 for j in range(len(labels))] for i in range(len(labels))]
    confusion = {"rows": labels, "columns": labels, "counts": counts, "totals": [20] * len(labels)}
    write_json(folder / "promoted" / "curves.json", {"labels": dict.fromkeys(labels, curve), "confusion": confusion})

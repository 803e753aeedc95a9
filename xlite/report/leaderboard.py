"""The leaderboard: a ranked view of the ledger's rows, as a table, a CSV file and a picture for the terminal.

Promotions come first, unranked: they saw other data, and the test split. Search rows follow, ranked by `ranking_key`,
with several objectives by the rank of domination before the value; running, waiting and failed ones without a rank.
Baselines come last, best first, unranked: they had other budgets.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from xlite.config import is_taught, model_name
from xlite.console import FittedTable
from xlite.ledger import Ledger, Objective, Objectives, PromotionRecord, TrialRecord, knee_of, ranking_key
from xlite.ledger.objectives import ranks_of, values_of
from xlite.metrics.columns import LABEL_COLUMNS, MetricColumns, columns_of
from xlite.storage.files import write_text
from xlite.storage.text import csv_text, escape_cell

FIRST_COLUMNS = (
    *("experiment_id", "date", "phase", "model_name", "cnn_backbone", "attention_type", "kd_temperature", "kd_alpha"),
    *("batch_size", "learning_rate", "epochs", "train_loss", "val_auc_macro", "val_f1_macro", "test_auc_macro"),
    *("test_f1_macro", "inference_time_ms", "model_size_mb", "status", "notes"),
)
_SEARCH_COLUMNS = (
    *("rank", "trial", "metric", "value", "best_epoch", "loss", "schedule", "sampler", "dropout", "weight_decay"),
)
_RUN_COLUMNS = (
    *("test_value", "inference_spread_ms", "inference_median_ms", "inference_p95_ms", "num_params", "seconds"),
    *("device_seconds", "seed", "threads", "device", "gap"),
    *("search_value", "retrained_value", "retrained_spread", "retrained_seeds", "test_reads"),
)
_TEXT = {
    *("experiment_id", "date", "phase", "model_name", "cnn_backbone", "attention_type", "status", "notes"),
    *("metric", "loss", "schedule", "sampler", "device", "knee"),
}
_WHOLE = {"batch_size", "epochs", "rank", "trial", "best_epoch", "num_params", "seed", "threads"}
_WHOLE |= {"retrained_seeds", "test_reads", "front", "objective_params"}
_MIXED = {"kd_temperature", "kd_alpha"}  # a number, or N/A
_DIGITS = {"learning_rate": ".6g", "weight_decay": ".6g", "kd_temperature": ".6g", "kd_alpha": ".6g", "dropout": ".6g"}
_OBJECTIVE = "objective_"
_SHOWN_ANYWAY = (_OBJECTIVE + "latency_ms", _OBJECTIVE + "size_mb")
_DIGITS |= dict.fromkeys(("inference_time_ms", "inference_spread_ms", "model_size_mb", *_SHOWN_ANYWAY), ".2f")
_DIGITS |= dict.fromkeys(("inference_median_ms", "inference_p95_ms"), ".2f")
_DIGITS |= {"seconds": ".1f", "device_seconds": ".1f"}
_STATUS = {"complete": "completed"}
DROPPED_FIRST = ("lr", "attention", "loss", "epochs", "status", "backbone", "test", "MB", "ms", "alpha", "T")
"""Columns that a narrow terminal's leaderboard does without, in this order; rank, trial and val always stay."""


def leaderboard_of(ledger: Ledger) -> pd.DataFrame:
    """The leaderboard of a study as it stands; its metadata says "metric", "config" (flat) and "columns"."""
    rows = [*ledger.finals(), *ledger.rows(), *ledger.baselines()]
    metadata = ledger.metadata
    return leaderboard_frame(
        rows,
        study=ledger.name,
        metric=metadata.get("metric", "auc_macro"),
        base=metadata.get("config"),
        columns=columns_of(metadata),
        objectives=ledger.objectives,
    )


def leaderboard_frame(
    rows: Sequence[TrialRecord],
    *,
    study: str,
    metric: str = "auc_macro",
    base: Mapping[str, Any] | None = None,
    columns: MetricColumns = LABEL_COLUMNS,
    objectives: Objectives = (),
) -> pd.DataFrame:
    """The leaderboard of search rows and promotions, best first.

    Args:
        rows: from `Ledger.finals` and `Ledger.rows`, in any order.
        study: its name; rows are called <study>_00012 and <study>_final_0.
        metric: what `value` is; where "val_<metric>" is a column, it stands there too.
        base: the study's flat configuration, for rows whose record has none yet.
        columns: the metrics of its targets.
        objectives: the study's, if there are several.

    Returns:
        FIRST_COLUMNS, ours, then val_<per_label>_<label> for each label of any row. With several objectives ours end
        with "front" (the rank by domination), "knee", and objective_<name> of each. Missing: "" in text, NA in numbers.
    """
    finals = sorted((row for row in rows if row.phase == "final"), key=lambda row: row.number)
    ranks = ranks_of(rows, objectives)
    search = sorted((row for row in rows if row.phase == "search"), key=lambda row: _front_first(row, ranks))
    baselines = sorted((row for row in rows if row.phase == "baseline"), key=ranking_key)
    cells = [_cells(row, study, metric, base or {}, columns) for row in (*finals, *search, *baselines)]
    for rank, row_cells in enumerate(cells[len(finals) : len(finals) + len(search)], start=1):
        if row_cells["status"] in ("completed", "pruned"):
            row_cells["rank"] = rank
    if objectives:
        knee = knee_of(rows, objectives)
        for row, row_cells in zip((*finals, *search, *baselines), cells, strict=True):
            row_cells.update(_objective_cells(row, objectives, ranks, knee))
    names = dict.fromkeys(_columns(columns)) | dict.fromkeys(_objective_columns(objectives))
    names |= dict.fromkeys(name for row_cells in cells for name in row_cells)
    frame = pd.DataFrame({name: _column(name, [c.get(name) for c in cells]) for name in names})
    frame.attrs["objectives"] = [_objective_column(each) for each in objectives]
    frame.attrs["phases"] = [row.phase for row in (*finals, *search, *baselines)]
    return frame


def write_leaderboard(path: Path, frame: pd.DataFrame) -> None:
    """Write `frame` as CSV (UTF-8), in one step: a reader meets the old file or the new one.

    Text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    columns = [[_printed(str(name), cell) for cell in column] for name, column in frame.items()]
    rows = [[escape_cell(str(name)) for name in frame.columns], *zip(*columns, strict=True)]
    write_text(path, csv_text(rows, escaped=True))


def render(frame: pd.DataFrame, top: int | None = None) -> FittedTable:
    """The leaderboard for the terminal: every promotion and baseline, and the `top` first search rows (None: all)."""
    columns = {
        "rank": "rank",
        "trial": "trial",
        "status": "status",
        "backbone": "cnn_backbone",
        "attention": "attention_type",
        "loss": "loss",
        "T": "kd_temperature",
        "alpha": "kd_alpha",
        "lr": "learning_rate",
        "epochs": "epochs",
        "val": "value",
        "test": "test_value",
        "ms": "inference_time_ms",
        "MB": "model_size_mb",
    }
    if objectives := frame.attrs["objectives"]:
        columns |= {name.removeprefix(_OBJECTIVE): name for name in objectives[1:] if name not in _SHOWN_ANYWAY}
        columns = {"rank": "rank", "front": "front", **columns}
    phases = dict(zip(frame.index, frame.attrs["phases"], strict=True))
    searched = pd.Series([phase == "search" for phase in phases.values()], index=frame.index)
    shown = frame if top is None else frame[~searched | (searched.cumsum() <= top)]
    table = FittedTable(
        {title: "text" if name in _TEXT else "number" for title, name in columns.items()},
        dropped_first=DROPPED_FIRST,
        complete_in="leaderboard.csv",
        note="val and test: " + ", ".join(sorted(set(frame["metric"]))) if len(frame) else "",
    )
    for index, row in shown.iterrows():
        row["rank"] = row["rank"] if phases[index] == "search" else phases[index]
        for name in ("learning_rate", "kd_temperature", "kd_alpha"):
            row[name] = _short(row[name])
        cells = [_printed(name, row[name]) for name in columns.values()]
        if objectives and row["knee"]:
            cells[1] += " knee"
        table.add_row(*cells, style="bold" if row["phase"] == "final" else None)
    return table


def _cells(
    row: TrialRecord, study: str, metric: str, base: Mapping[str, Any], columns: MetricColumns
) -> dict[str, Any]:
    """The row's cells by column; columns that are not there are empty."""
    summary, cost, promotion = row.summary, row.cost, row.promotion
    config = {**base, **row.overrides, **summary.config}
    metrics = {**({metric: row.value} if row.value is not None else {}), **summary.metrics}
    test = promotion.test.metrics if promotion else {}
    alpha, taught = config.get("distill.alpha"), is_taught(config)
    notes = [row.queue_note, *summary.notes, *row.notes, row.reason]
    when = row.finished or row.started
    return {
        "experiment_id": f"{study}_{row.number:05d}" if row.phase == "search" else f"{study}_{row.phase}_{row.number}",
        "date": when.date().isoformat() if when else None,
        "phase": _phase(row, taught),
        "model_name": None if taught is None else "StudentNet+KD" if taught else "StudentNet",
        "cnn_backbone": model_name(config),
        "attention_type": config.get("model.attention"),
        "kd_temperature": "N/A" if alpha == 0 else config.get("distill.temperature"),
        "kd_alpha": "N/A" if taught is False else alpha,
        "batch_size": config.get("optim.batch_size"),
        "learning_rate": config.get("optim.learning_rate"),
        "epochs": summary.epochs or max(row.curve, default=None),
        "train_loss": summary.train_loss,
        **columns.cells(metrics, test),
        "inference_time_ms": cost.latency_ms if cost else None,
        "model_size_mb": cost.size_mb if cost else None,
        "status": _STATUS.get(row.state, row.state),
        "notes": "; ".join(" ".join(note.split()) for note in notes if note),
        "trial": promotion.promoted_from if promotion else row.number,
        "metric": metric,
        "value": row.value if row.value is not None or not row.curve else max(row.curve.values()),
        "best_epoch": summary.best_epoch or None,
        "loss": config.get("loss.name"),
        "schedule": config.get("optim.schedule"),
        "sampler": config.get("data.sampler"),
        "dropout": config.get("model.dropout"),
        "weight_decay": config.get("optim.weight_decay"),
        "test_value": test.get(metric),
        "inference_spread_ms": cost.latency_spread_ms if cost else None,
        "inference_median_ms": cost.latency_median_ms if cost else None,
        "inference_p95_ms": cost.latency_p95_ms if cost else None,
        "num_params": cost.num_params if cost else None,
        "seconds": summary.seconds if summary.epochs else None,
        "device_seconds": summary.device_seconds,
        "seed": config.get("train.seed"),
        "threads": config.get("train.threads"),
        "device": summary.device,
        "gap": summary.gap,
        **(_luck(promotion) if promotion else {}),
        **{_label_column(label, columns): values.get(columns.per_label) for label, values in summary.per_label.items()},
    }


def _luck(promotion: PromotionRecord) -> dict[str, Any]:
    """What the promoted configuration reached in the search and when trained again, and how often test was read."""
    candidate = promotion.candidate
    if candidate is None:
        return {"test_reads": promotion.reads_of_test}
    return {
        "search_value": candidate.search_value,
        "retrained_value": fmean(candidate.values),
        "retrained_spread": stdev(candidate.values) if len(candidate.values) > 1 else None,
        "retrained_seeds": len(candidate.values),
        "test_reads": promotion.reads_of_test,
    }


def _front_first(row: TrialRecord, ranks: Mapping[int, int]) -> tuple[float, ...]:
    """`ranking_key`, in which the rank by domination counts before the value."""
    state, *rest = ranking_key(row)
    return state, ranks.get(row.number, len(ranks) + 1), *rest


def _objective_cells(
    row: TrialRecord, objectives: Objectives, ranks: Mapping[int, int], knee: TrialRecord | None
) -> dict[str, Any]:
    is_ranked = row.phase == "search"
    cells: dict[str, Any] = {
        "front": ranks.get(row.number) if is_ranked else None,
        "knee": "knee" if is_ranked and knee is not None and row.number == knee.number else "",
    }
    values = values_of(row, objectives)
    return cells | {_objective_column(each): values[each.name] for each in objectives}


def _objective_columns(objectives: Objectives) -> list[str]:
    return ["front", "knee", *map(_objective_column, objectives)] if objectives else []


def _objective_column(objective: Objective) -> str:
    return _OBJECTIVE + objective.name


def _phase(row: TrialRecord, taught: bool | None) -> str | None:
    """As the experiment logs have it: "final", "distillation", or "baseline" for every run without a teacher."""
    if row.phase != "search":
        return row.phase
    return None if taught is None else "distillation" if taught else "baseline"


def _label_column(label: str, columns: MetricColumns) -> str:
    name = f"val_{columns.per_label}_{label}"
    return name + "_" if name in _columns(columns) else name  # a label called "macro"


def _columns(columns: MetricColumns) -> tuple[str, ...]:
    more = (name for name in columns.leaderboard if name not in FIRST_COLUMNS)
    return (*FIRST_COLUMNS, *_SEARCH_COLUMNS, *more, *_RUN_COLUMNS)


def _column(name: str, cells: list[Any]) -> pd.Series:
    if name in _TEXT:
        return pd.Series(["" if cell is None else cell for cell in cells], dtype=object)
    if name in _MIXED:
        return pd.Series(cells, dtype=object)
    return pd.Series(cells, dtype="Int64" if name in _WHOLE else "Float64")


def _printed(name: str, cell: Any) -> str:
    """`cell` as the CSV shows it."""
    if cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, str):
        return escape_cell(cell)
    return str(cell) if name in _WHOLE else format(cell, _DIGITS.get(name, ".4f"))


def _short(number: Any) -> Any:
    return float(f"{number:.2g}") if isinstance(number, float) else number

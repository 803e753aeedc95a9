"""Sections on the search: what was asked for, and the leaderboard."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xlite.html_report.facts import Facts
from xlite.html_report.parts import Cell, Number, Section, Table, number
from xlite.ledger import best_of
from xlite.report.analysis import describe_rows
from xlite.report.sections import counted

_SETTINGS = {
    "task": "task",
    "kind": "targets",
    "metric": "score",
    "image_size": "image size, px",
    "augmentation": "augmentation",
    "subset": "share of the training part searched on",
    "max_epochs": "most epochs of a trial",
    "seed": "seed",
    "threads": "threads of a trial",
    "data": "data, hash",
    "split": "split, hash",
    "space": "search space, hash",
    "teacher": "teacher, hash",
}
_BOARD = {
    **{"rank": "rank", "trial": "trial", "state": "status", "validation": "value", "test": "test_value"},
    **{"ms": "inference_time_ms", "MB": "model_size_mb", "backbone": "cnn_backbone", "attention": "attention_type"},
    **{"loss": "loss", "T": "kd_temperature", "alpha": "kd_alpha", "learning rate": "learning_rate"},
    **{"epochs": "epochs", "seconds": "seconds", "notes": "notes"},
}
_FORMS = {"learning rate": ".2g", "T": ".3g", "alpha": ".3g", "ms": ".2f", "MB": ".2f", "seconds": ".0f"}
_WHOLE = ("rank", "front", "trial", "epochs", "params")


def asked_section(facts: Facts) -> Section:
    """The settings and the space."""
    settings = dict(facts.settings)
    rows = [(title, str(settings[key])) for key, title in _SETTINGS.items() if settings.get(key) not in (None, "")]
    rows += [(f"fixed: {key}", str(value)) for key, value in dict(settings.get("settings") or {}).items()]
    if facts.study.objectives:
        rows.append(("objectives", ", ".join(map(str, facts.study.objectives))))
    if facts.study.teacher:
        value = facts.study.teacher_value
        known = "" if value is None else f", {facts.study.metric} {value:.4f} on validation"
        rows.append(("teacher", facts.study.teacher + known))
    blocks = (
        [Table("Settings that decide what the numbers mean", ("setting", "value"), tuple(rows), half=True)]
        if rows
        else []
    )
    if space := _space(facts):
        blocks.append(Table("What the trials varied", ("key", "searched", "tried", "best trial"), tuple(space)))
    return Section("search", "What was searched", (describe_rows(facts.study),), blocks)


def _space(facts: Facts) -> list[tuple[Cell, ...]]:
    """Each key that trials change: its range, what was tried of it, and the best trial's."""
    rows, best = facts.study.rows, best_of(facts.study.rows)
    ranges = {key: _range(of._asdict()) for key, of in facts.ranges.items()}
    chosen = best.overrides if best else {}
    found: list[tuple[Cell, ...]] = []
    for key in sorted({key for row in rows for key in row.overrides}):
        tried = [row.overrides[key] for row in rows if key in row.overrides]
        found.append((key, ranges.get(key, ""), _tried(tried), _value(chosen.get(key))))
    return found


def _range(of: Mapping[str, Any]) -> str:
    if "choices" in of:
        return ", ".join(map(str, of["choices"]))
    return f"{of['low']:g} to {of['high']:g}" + (", logarithmic" if of.get("log") else "")


def _tried(values: Sequence[Any]) -> str:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) and len(set(values)) > 1:
        return f"{min(values):.3g} to {max(values):.3g}"
    distinct = list(dict.fromkeys(map(str, values)))
    return ", ".join(distinct[:8]) + (f" and {len(distinct) - 8} more" if len(distinct) > 8 else "")


def _value(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def board_section(facts: Facts) -> Section:
    """The leaderboard: promotions, trials, baselines."""
    columns = dict(_BOARD)
    if objectives := facts.board.attrs["objectives"]:
        further = {name.removeprefix("objective_"): name for name in objectives[1:]}
        further = {title: name for title, name in further.items() if title not in ("latency_ms", "size_mb")}
        columns = {"rank": "rank", "front": "front", "knee": "knee", **columns, **further}
    board = facts.board.replace({"status": {"completed": "complete"}})
    phases, rows = facts.board.attrs["phases"], []
    for phase, (_, row) in zip(phases, board.iterrows(), strict=True):
        cells = {title: _cell(title, row[name]) for title, name in columns.items()}
        if phase != "search":
            cells["rank"] = phase
        rows.append(tuple(cells.values()))
    states = tuple(dict.fromkeys(str(state) for state in board["status"]))
    says = f"Scores are {facts.study.metric}. A pruned trial was stopped early, so it ranks below every complete one."
    title = f"{counted(len(rows), 'row')}: promotions first, then trials by rank, then baselines"
    table = Table(title, tuple(columns), tuple(rows), sortable=True, states=states)
    return Section("leaderboard", "Leaderboard", (says,), [table])


def _cell(title: str, value: Any) -> Cell:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    return Number(float(value), str(int(value))) if title in _WHOLE else number(float(value), _FORMS.get(title, ".4f"))

"""The section on learning: every trial's curve, the rungs, and what the study says of teacher and training."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xlite.html_report.facts import Facts
from xlite.html_report.parts import BLUE, GREEN, GREY, ORANGE, RED, Answer, Figure, Section, axis, plain, upright
from xlite.ledger import TrialRecord, best_of
from xlite.report.distillation import distillation_section
from xlite.report.sections import counted
from xlite.report.training import gap_section, teacher_section, turning_section

_CURVES = {"complete": BLUE, "pruned": ORANGE, "running": GREY, "failed": RED}


def learning_section(facts: Facts) -> Section:
    """The curves of all trials."""
    study = facts.study
    answers = [distillation_section(study), teacher_section(study), gap_section(study), turning_section(study, "")]
    says = tuple(Answer(each.title, each.conclusion) for each in answers)
    return Section(
        "learning", "How the trials learned", says, [_curves(facts)] if any(r.curve for r in study.rows) else []
    )


def _curves(facts: Facts) -> Figure:
    """Score by epoch; a kind of trials is one line with gaps, so that 200 are drawn at once."""
    study, traces = facts.study, []
    begun, best = [row for row in study.rows if row.curve], best_of(study.rows)
    for state, colour in _CURVES.items():
        if rows := [row for row in begun if row.state == state and row is not best]:
            traces.append(_lines(rows, state, colour))
    if best is not None and best.curve:
        traces.append(_lines([best], f"best (trial {best.number})", GREEN, width=3))
    stopped = [row for row in begun if row.state == "pruned"]
    epochs = sorted({max(row.curve) for row in stopped})
    if stopped:
        ends = {
            "x": [max(row.curve) for row in stopped],
            "y": [row.curve[max(row.curve)] for row in stopped],
            "customdata": [row.number for row in stopped],
            **{"mode": "markers", "name": "stopped", "marker": {"symbol": "x", "size": 7, "color": ORANGE}},
            "hovertemplate": "trial %{customdata}, stopped after epoch %{x}<extra></extra>",
        }
        traces.append({"type": "scatter", **ends})
    longest = max(max(row.curve) for row in begun)
    if study.teacher_value is not None:
        line = {"x": [1, longest], "y": [study.teacher_value] * 2, "mode": "lines", "name": "teacher"}
        traces.append({"type": "scatter", **line, "line": {"dash": "dash", "color": RED, "width": 1.5}})
    at = ", ".join(map(str, epochs))
    says = f"Best {study.metric} on validation so far, by epoch, of {counted(len(begun), 'trial')}. "
    says += (
        f"Dotted: the rungs at which trials were stopped, after epoch {at}."
        if epochs
        else "No trial was stopped at a rung."
    )
    layout = {
        "xaxis": axis("epoch", dtick=1 if longest <= 12 else None),
        "yaxis": axis(plain(study.metric)),
        "shapes": [upright(at, dash="dot", width=1, color=GREY) for at in epochs],
    }
    return Figure("Learning curves", says, tuple(traces), layout, height_px=420)


def _lines(rows: Sequence[TrialRecord], name: str, colour: str, *, width: float = 1.2) -> dict[str, Any]:
    x: list[int | None] = []
    y: list[float | None] = []
    who: list[int | None] = []
    for row in rows:
        x += [*row.curve, None]
        y += [value if np.isfinite(value) else None for value in row.curve.values()] + [None]
        who += [*[row.number] * len(row.curve), None]
    return {
        **{"type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": y, "customdata": who},
        **{"line": {"color": colour, "width": width}, "marker": {"size": 3 if width < 2 else 7}},
        "opacity": 0.5 if width < 2 else 1,
        "hovertemplate": "trial %{customdata}, epoch %{x}: %{y:.4f}<extra></extra>",
    }

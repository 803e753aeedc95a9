"""The section on costs: accuracy against latency and against size, with the front of each pair."""

from collections.abc import Sequence
from typing import Any

from xlite.html_report.facts import Facts
from xlite.html_report.parts import BLUE, ORANGE, RED, Answer, Figure, Section, axis, plain
from xlite.ledger import Objective, TrialRecord, front_of, knee_of
from xlite.ledger.objectives import values_of
from xlite.report.front import front_section

_COSTS = {"latency_ms": "latency, ms at batch 1", "size_mb": "size of the weights, MB"}


def cost_section(facts: Facts) -> Section:
    """Accuracy against latency and size, with the front of each pair."""
    study = facts.study
    timed = [row for row in study.complete if row.cost is not None]
    says: list[str | Answer] = []
    if section := front_section(study):
        says += [Answer(section.title, section.conclusion), section.body[-1]]
    score = Objective(study.metric, "max")
    blocks = [_against(timed, (score, Objective(name, "min")), title) for name, title in _COSTS.items()]
    shown = [block for block in blocks if block is not None]
    if not shown:
        says.append("No complete trial has a measured latency or size yet.")
    return Section("cost", "Accuracy against cost", tuple(says), shown)


def _against(rows: Sequence[TrialRecord], pair: tuple[Objective, Objective], title: str) -> Figure | None:
    measured = [row for row in rows if values_of(row, pair)[pair[1].name] is not None]
    if not measured:
        return None
    front, knee = front_of(measured, pair), knee_of(measured, pair)
    assert knee is not None

    def trace(rows: Sequence[TrialRecord], name: str, **look: Any) -> dict[str, Any]:
        told = [f"trial {row.number}, {plain(row.overrides.get('model.backbone', ''))}" for row in rows]
        x, y = [values_of(row, pair)[pair[1].name] for row in rows], [row.value for row in rows]
        shown = "%{text}<br>%{x:.3g}: %{y:.4f}<extra></extra>"
        return {"type": "scatter", "name": name, "x": x, "y": y, "text": told, "hovertemplate": shown, **look}

    ordered = sorted(front, key=lambda row: values_of(row, pair)[pair[1].name] or 0.0)
    traces = (
        trace(measured, "complete trial", mode="markers", marker={"color": BLUE, "opacity": 0.6, "size": 8}),
        trace(ordered, "front", mode="lines+markers", line={"color": ORANGE, "shape": "hv"}, marker={"size": 9}),
        trace([knee], "knee", mode="markers", marker={"symbol": "star", "size": 15, "color": RED}),
    )
    says = (
        f"{len(front)} of {len(measured)} complete trials are on the front: no other is as good in both and better in "
        f"one. Knee: trial {knee.number} ({knee.value:.4f}, {values_of(knee, pair)[pair[1].name]:.3g})."
    )
    layout = {"xaxis": axis(title), "yaxis": axis(plain(pair[0].name))}
    return Figure(f"{pair[0].name} against {title.partition(',')[0]}", says, traces, layout, height_px=360, half=True)

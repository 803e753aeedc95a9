"""The report's section on several objectives: the front, its knee, and how the search found it."""

import numpy as np

from xlite.ledger import Objectives, TrialRecord, front_of, knee_of
from xlite.ledger.objectives import points_of, values_of
from xlite.report.sections import Section, StudyRows, counted, markdown_table, not_enough
from xlite.samplers.pareto import hypervolume

TITLE = "Which students are worth considering?"
QUARTERS = (0.25, 0.5, 0.75, 1.0)


def front_section(study: StudyRows) -> Section | None:
    """The front as a table, and what of its hypervolume was there after each quarter; None of one objective."""
    objectives, rows = study.objectives, study.complete
    if not objectives:
        return None
    front, knee = front_of(rows, objectives), knee_of(rows, objectives)
    if knee is None:
        return Section(TITLE, not_enough(0, 1))
    names = [each.name for each in objectives]
    table = markdown_table(
        ["trial", *(f"{each.name} ({'high' if each.direction == 'max' else 'low'})" for each in objectives), ""],
        [[row.number, *_cells(row, objectives), "knee" if row is knee else ""] for row in front],
    )
    reached = ", ".join(f"{name} {value}" for name, value in zip(names, _cells(knee, objectives), strict=True))
    conclusion = (
        f"{len(front)} of {counted(len(rows), 'complete trial')}: no other is as good in {', '.join(names)} and "
        f"better in one. Suggested: trial {knee.number} ({reached}), where the score pays most for what it costs."
    )
    return Section(TITLE, conclusion, (table, _growth(study, objectives)))


def _cells(row: TrialRecord, objectives: Objectives) -> list[str]:
    values = values_of(row, objectives)
    return ["" if values[each.name] is None else f"{values[each.name]:.4g}" for each in objectives]


def _growth(study: StudyRows, objectives: Objectives) -> str:
    """A sentence: what the front after a part of the trials covered of what it covers now."""
    points = points_of(sorted(study.complete, key=lambda row: row.number), objectives)
    points = points[np.isfinite(points).all(axis=1)]
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    below = np.full(len(objectives), -0.1)  # so that the worst in one objective counts, too
    whole = hypervolume(scaled, below)
    shares = [hypervolume(scaled[: max(1, round(part * len(scaled)))], below) / whole for part in QUARTERS]
    told = ", ".join(f"{share:.1%} after {part:.0%}" for part, share in zip(QUARTERS, shares, strict=True))
    return f"Of the hypervolume that is dominated now, complete trials had {told} of them."

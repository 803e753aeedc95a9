"""The tables that `xlite evaluate` prints."""

from collections.abc import Mapping, Sequence

import numpy as np

from xlite.console import Console, FittedTable
from xlite.evaluate.columns import Grouping
from xlite.evaluate.figures import Figure, Figures
from xlite.evaluate.subgroups import JudgedRows, Subgroup
from xlite.metrics.resampling import Interval
from xlite.tasks.target_spec import TargetSpec

_COMPLETE = "evaluation.json"


def show_all(
    figures: Figures,
    subgroups: Mapping[str, Mapping[str, Subgroup]],
    groupings: Sequence[Grouping],
    rows: JudgedRows,
    target_spec: TargetSpec,
    console: Console,
) -> None:
    """Labels, averages, subgroups, and what stands out."""
    if target_spec.answers_are is not None:
        console.show(label_table(figures, rows))
    console.show(average_table(figures, target_spec))
    for note in figures.notes:
        console.say(f"Note: {note}")
    if len(np.unique(rows.groups)) == 1:
        console.say("All images are of one patient, which says nothing of others: no intervals")
    if shifted := [
        f"{label} ({one.study_mean:.3f} to {one.mean:.3f})" for label, one in figures.shift.items() if one.is_large
    ]:
        console.say(f"Scores have shifted (PSI above 0.25 and p < 0.01; from a mean to a mean): {', '.join(shifted)}")
    elif figures.shift:
        console.say("No label's scores have shifted much (PSI above 0.25 and p < 0.01)")
    elif target_spec.answers_are is None:
        console.say("Shift of scores: not measured, since these answers are no probabilities")
    else:
        console.say("Shift of scores: not known, the package has no reliability.json")
    for grouping in groupings:
        console.say(grouping.note)
        if subgroups[grouping.name]:
            console.show(subgroup_table(grouping.name, subgroups[grouping.name], target_spec))


def label_table(figures: Figures, rows: JudgedRows) -> FittedTable:
    """A row for each label and one for the macro averages."""
    titles = (
        *("positives", "AUC", "interval", "study AUC", "sens.", "spec.", "F1", "study F1", "ECE", "study ECE"),
        *("Brier", "PSI"),
    )
    num, num_groups = len(rows.groups), len(np.unique(rows.groups))
    of_groups = f" of {num_groups:,} {'patients' if rows.targets.ndim == 2 else 'groups'}" if num_groups < num else ""
    table = FittedTable(
        {"label": "text", **dict.fromkeys(titles, "number")},
        dropped_first=("Brier", "study ECE", "study F1", "PSI", "ECE", "F1", "spec.", "sens."),
        complete_in=_COMPLETE,
        title=f"On {num:,} examples{of_groups}",
        note="study: on its own test part. PSI: how far scores have shifted from that (*: by much, not by chance)",
    )
    for label, values in figures.per_label.items():
        known = f"{_count(values, 'num_positive')} of {_count(values, 'num_known')}"
        shift = figures.shift.get(label)
        psi = f"{shift.psi:.2f}{' *' if shift.is_large else ''}" if shift else ""
        table.add_row(label, known, *_cells(values, "{}"), psi)
    table.add_section()
    table.add_row("macro", "", *_cells(figures.scalars, "{}_macro"), "")
    return table


def _cells(values: Mapping[str, Figure], form: str) -> list[str]:
    def named(name: str) -> Figure | None:
        at = values.get(form.format(name) + "_at_thresholds") if name in ("recall", "f1") else None
        return at or values.get(form.format(name))

    auc, recall, specificity, f1, ece, brier = map(named, ("auc", "recall", "specificity", "f1", "ece", "brier"))
    return [
        *(_value(auc), _interval(auc.interval if auc else None), _study(auc)),
        *(_value(recall), _value(specificity), _value(f1), _study(f1), _value(ece), _study(ece), _value(brier)),
    ]


def average_table(figures: Figures, target_spec: TargetSpec) -> FittedTable:
    """The score that the search maximised, and the other averages of these targets that are no macro average."""
    table = FittedTable(
        {"average": "text", "this data": "number", "interval": "number", "study": "number"},
        dropped_first=(),
        title="Averages, on this data and on the study's own test part",
    )
    names = [target_spec.score, "f1_macro_at_thresholds", *target_spec.metrics, *figures.scalars]
    of_labels = ("_micro", "_macro", "hamming", "coverage")
    for name in dict.fromkeys(names):
        if name in figures.scalars and (name == target_spec.score or not name.endswith(of_labels)):
            figure = figures.scalars[name]
            table.add_row(name, _value(figure), _interval(figure.interval), _study(figure))
    return table


def subgroup_table(column: str, found: Mapping[str, Subgroup], target_spec: TargetSpec) -> FittedTable:
    """A row for each value of a column."""
    largest = next(iter(found))
    table = FittedTable(
        {
            column: "text",
            **dict.fromkeys(("images", "patients", target_spec.score, "interval", "labels", "minus largest"), "number"),
            "95%": "number",
            "p": "number",
        },
        dropped_first=("labels", "patients"),
        complete_in=_COMPLETE,
        note=f"minus largest: less that of {largest!r}, on the labels with enough in both; p with Holm's correction",
    )
    for name, one in found.items():
        difference, ends, p = "", "", ""
        if one.difference is not None:
            mark = " *" if one.differs else ""
            difference, p = f"{one.difference.mean:+.3f}", f"{one.p:.3f}{mark}"
            ends = f"{one.difference.low:+.3f} to {one.difference.high:+.3f}"
        elif name != largest:
            difference = "too few"
        score = "-" if one.score is None else f"{one.score:.3f}"
        table.add_row(
            *(name, f"{one.images:,}", f"{one.patients:,}", score, _interval(one.interval)),
            *(str(len(one.labels)), difference, ends, p),
        )
    return table


def _value(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.value:.3f}"


def _study(figure: Figure | None) -> str:
    return "-" if figure is None or figure.study is None else f"{figure.study:.3f}"


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else str(interval).partition(":")[0]


def _count(values: Mapping[str, Figure], name: str) -> str:
    return f"{values[name].value:,.0f}" if name in values else "0"

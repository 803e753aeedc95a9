"""The section on the data: how many examples of each label are in each part, what was found, example pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xlite.html_report.facts import Facts
from xlite.html_report.parts import Block, Cell, Number, Pictures, Section, Table
from xlite.html_report.pictures import example_pictures
from xlite.report.sections import counted

if TYPE_CHECKING:
    from xlite.tasks.prepare import Prepared


_PARTS = {"train": "training", "val": "validation", "test": "test", "held_out": "held out"}
_OF_METRICS = {"train": "training", "validation": "validation", "test": "test"}


def data_section(facts: Facts, prepared: "Prepared | None", *, why_not: str = "", pictures: bool) -> Section:
    """Counts, findings and examples.

    Args:
        prepared: the study's data, where it is at hand; without it counts are those of the promotion.
        why_not: why it is not.
        pictures: show examples, of training images.
    """
    if prepared is None:
        says = [f"The data set is not at hand, so neither its findings nor examples are shown ({why_not})."]
        blocks: list[Block] = []
        if facts.packages:
            says.append("The counts below are of the promotion.")
            blocks.append(_promoted_counts(facts.packages[0].metrics))
        return Section("data", "The data", tuple(says), blocks)
    dataset, understood = prepared.full, prepared.understood
    sizes = ", ".join(f"{len(rows):,} {_PARTS[part]}" for part, rows in dataset.parts.items())
    groups = f" of {understood['groups']:,} patients or groups" if prepared.patients_are_known else ""
    says = [
        f"{prepared.task.title}: {len(dataset.targets):,} examples{groups}; {sizes}; split by {prepared.split_basis}.",
        *_findings(understood, patients_are_known=prepared.patients_are_known),
    ]
    if prepared.subset_share < 1:
        says.append(f"The search saw {prepared.subset_share:.0%} of the training part, the promotion all of it.")
    blocks = [_counts(prepared)]
    if pictures and (shown := example_pictures(dataset)):
        blocks.append(Pictures("Training examples, as the models see them", tuple(shown)))
    return Section("data", "The data", tuple(says), blocks)


def _counts(prepared: "Prepared") -> Table:
    """Positives of each label in each part; of the test part, too, which tells no model anything."""
    dataset = prepared.full
    targets = dataset.targets.reshape(len(dataset.targets), -1, len(dataset.labels))
    rows: list[tuple[Cell, ...]] = []
    for number, label in enumerate(dataset.labels):
        cells: list[Cell] = [label]
        for positions in dataset.parts.values():
            column = targets[positions][:, :, number]
            cells += _share(int((column == 1).sum()), int((~np.isnan(column)).sum()))
        rows.append(tuple(cells))
    titles = [title for part in dataset.parts for title in (_PARTS[part], "share")]
    what = "examples" if dataset.targets.ndim == 2 else "lines"
    return Table(f"{what.capitalize()} with each label in each part", ("label", *titles), tuple(rows), sortable=True)


def _promoted_counts(metrics: Mapping[str, Any]) -> Table:
    parts = {part: metrics.get(part, {}).get("per_label", {}) for part in _OF_METRICS}
    rows: list[tuple[Cell, ...]] = []
    for label in parts["test"]:
        known = [parts[part].get(label, {}) for part in _OF_METRICS]
        shares = (_share(row.get("num_positive") or 0, row.get("num_known") or 0) for row in known)
        rows.append((label, *(cell for cells in shares for cell in cells)))
    titles = [title for part in _OF_METRICS.values() for title in (part, "share")]
    return Table("Examples with each label in each part", ("label", *titles), tuple(rows), sortable=True)


def _share(positive: int, known: int) -> list[Cell]:
    share = Number(positive / known, f"{positive / known:.1%}") if known else ""
    return [Number(positive, f"{positive:,}"), share]


def _findings(understood: Mapping[str, Any], *, patients_are_known: bool) -> Sequence[str]:
    """Left out files, copies and near copies, in counts; names are those of patients' images, so none are told."""
    counts, said = understood.get("pictures", {}), []
    if lost := understood.get("missing", 0) + understood.get("unusable", 0):
        said.append(
            f"{counted(lost, 'file')} left out: {understood['missing']} missing, {understood['unusable']} unusable."
        )
    if counts.get("identical"):
        said.append(
            f"{counts['identical']:,} examples show {counts['pictures_of_identical']:,} identical pictures "
            f"({counts['with_other_targets']:,} with different labels; {counts['in_several_parts']:,} examples have a "
            f"copy in another part, {counts['left_out']:,} copies are left out)."
        )
    if counts.get("near_sets"):
        said.append(f"{counted(counts['near_sets'], 'set')} of almost identical pictures lie in several parts.")
    if patients_are_known and (shared := counts.get("pictures_of_several_groups")):
        said.append(f"{counted(shared, 'picture')} of several patients or groups.")
    if patients_are_known and (near := counts.get("near_sets_of_several_groups")):
        said.append(f"{counted(near, 'set')} of almost identical pictures of several patients or groups.")
    if counts.get("constant"):
        said.append(f"{counted(counts['constant'], 'picture')} of a single value.")
    return said or ["No file was left out, no picture is there twice, and none is almost the same in two parts."]

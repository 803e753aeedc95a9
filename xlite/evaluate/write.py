"""The files of an evaluation: answers and truth of each image, and all figures as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xlite.evaluate.columns import Grouping
from xlite.evaluate.figures import Figures
from xlite.evaluate.subgroups import JudgedRows, Subgroup, to_json
from xlite.storage.files import write_json, write_text
from xlite.storage.text import csv_text

FORMAT = 1


def write_answers(path: Path, ids: Sequence[str], rows: JudgedRows, groupings: Sequence[Grouping]) -> None:
    """A row for each image, or each known line of one: id, subgroups; probability, decision and truth by label.

    An unknown truth is empty.
    """
    names = [f"{kind}_{label}" for label in rows.labels for kind in ("p", "decided", "truth")]
    has_lines = rows.answers.ndim > 2
    header = ["id", *(["line"] if has_lines else []), *(one.name for one in groupings), *names]
    write_text(path, csv_text([header, *_lines(ids, rows, groupings, has_lines)]))


def _lines(
    ids: Sequence[str], rows: JudgedRows, groupings: Sequence[Grouping], has_lines: bool
) -> Iterator[list[object]]:
    for place, name in enumerate(ids):
        own = [str(one.values[place]) for one in groupings]
        values = (rows.answers[place], rows.decisions[place], rows.targets[place])
        if not has_lines:
            yield [name, *own, *_cells(*values)]
            continue
        for line in np.flatnonzero(~np.isnan(rows.targets[place]).any(axis=-1)).tolist():
            yield [name, line, *own, *_cells(*(array[line] for array in values))]


def _cells(answers: np.ndarray, decisions: np.ndarray, targets: np.ndarray) -> list[object]:
    return [
        cell
        for p, decided, truth in zip(answers.tolist(), decisions.tolist(), targets.tolist(), strict=True)
        for cell in (p, int(decided), "" if np.isnan(truth) else int(truth))
    ]


def write_twins(path: Path, pairs: Sequence[tuple[str, str, str]]) -> None:
    """A row for each image that shows a picture the model has seen: id here, id in the study or "", part."""
    write_text(path, csv_text([("image", "image of the study", "part"), *pairs]))


def write_figures(
    path: Path, about: Mapping[str, Any], figures: Figures, subgroups: Mapping[str, Mapping[str, Subgroup]]
) -> None:
    """evaluation.json; it holds no path and no id of an image or patient.

    Args:
        about: what was judged, JSON values by name.
    """
    write_json(
        path,
        {
            "format": FORMAT,
            **about,
            "metrics": {
                "scalars": {name: figure.to_json() for name, figure in figures.scalars.items()},
                "per_label": {
                    label: {name: figure.to_json() for name, figure in row.items()}
                    for label, row in figures.per_label.items()
                },
            },
            "reliability": dict(figures.curves),
            "shift": {label: shift.to_json() for label, shift in figures.shift.items()},
            "subgroups": {column: to_json(found) for column, found in subgroups.items()},
        },
    )

"""A sheet for each source that shows something, and index.csv of all: what was drawn, what was not and why."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xlite.errors import InputError
from xlite.explain.maps import Explanation, explain
from xlite.explain.overlay import sheet
from xlite.explain.pointing import Box, Pointed, point
from xlite.package.find import Found
from xlite.predictor import Predictor
from xlite.storage.files import atomic_write, write_text
from xlite.storage.text import csv_text

INDEX = "index.csv"
COLUMNS = (
    *("id", "sheet", "label", "probability", "threshold", "peak_slice", "peak_row", "peak_column"),
    *("map_rows", "map_columns", "lines", "note"),
)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Wanted:
    """What is explained of each source, see `explain`; `boxes`, of `read_boxes`, instead of `labels`."""

    labels: tuple[str, ...] | None = None
    top: int | None = None
    boxes: Mapping[str, Mapping[str, Sequence[Box]]] | None = None


@dataclass
class Drawn:
    """What came of it so far: `passed_over` were unreadable, `empty` readable but had no label or no map to draw."""

    done: int = 0
    sheets: int = 0
    empty: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    pointed: list[Pointed] = field(default_factory=list)
    rows: list[tuple[object, ...]] = field(default_factory=list)


def draw_all(predictor: Predictor, sources: Iterable[Found], wanted: Wanted, out: Path) -> Iterator[Drawn]:
    """Draw a sheet for each source into `out`, a folder; yields the growing count after each source.

    index.csv is written at the end, also of a run that is interrupted.
    """
    drawn = Drawn()
    try:
        for number, found in enumerate(sources, start=1):
            _draw_one(predictor, found, wanted, out / f"{number:05d}_{_safe(found.id)}.png", drawn)
            drawn.done = number
            yield drawn
    finally:
        if drawn.rows:
            write_text(out / INDEX, csv_text([COLUMNS, *drawn.rows]))


def _draw_one(predictor: Predictor, found: Found, wanted: Wanted, path: Path, drawn: Drawn) -> None:
    boxes = None if wanted.boxes is None else wanted.boxes.get(Path(found.id).stem, {})
    if boxes == {} and not found.problem:
        drawn.empty.append(f"{found.id}: no box")
        drawn.rows.append(_row(found.id, "", None, "not drawn: no box"))
        return
    labels = wanted.labels if boxes is None else tuple(boxes)
    try:
        if found.problem:
            raise InputError(found.problem)
        explained = explain(predictor, found.source, labels, top=wanted.top, auxiliary=found.auxiliary)
    except InputError as error:
        drawn.passed_over.append(f"{found.id}: {found.reason(error)}")
        drawn.rows.append(_row(found.id, "", None, f"passed over: {found.reason(error)}"))
        return
    drawn.pointed += point(explained, boxes or {})
    has_map = any(one.map is not None for one in explained)
    drawn.rows += [_row(found.id, path.name if has_map else "", one, one.note) for one in explained]
    if has_map:
        with atomic_write(path) as temporary:
            temporary.write_bytes(sheet(explained, found.id))
        drawn.sheets += 1
    else:
        reason = explained[0].note if explained else "no label is above its threshold"
        drawn.empty.append(f"{found.id}: {reason}")
        if not explained:
            drawn.rows.append(_row(found.id, "", None, f"not drawn: {reason}"))


def _row(name: str, sheet_name: str, one: Explanation | None, note: str) -> tuple[object, ...]:
    if one is None:
        return (name, sheet_name, *[""] * (len(COLUMNS) - 3), note)
    at = ("", "", "", *one.peak)[-3:]
    threshold = "" if one.threshold is None else one.threshold
    lines = " ".join(map(str, one.lines))
    return (name, sheet_name, one.label, one.probability, threshold, *at, *one.cells, lines, note)


def _safe(name: str) -> str:
    """A name of letters, digits, ".", "_" and "-"; the number before it keeps names apart."""
    return _UNSAFE.sub("_", name.removesuffix(".png"))[-80:].strip("._") or "source"

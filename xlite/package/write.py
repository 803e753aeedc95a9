"""Predictions as CSV, JSON or Parquet, row by row, and as text for a person."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal, TextIO

from xlite.errors import InputError
from xlite.package.about import About
from xlite.package.stream import Prediction
from xlite.storage.files import atomic_write
from xlite.storage.text import csv_text, escape_control_characters

Format = Literal["csv", "json", "parquet"]
Cell = str | int | float | bool | None
Write = Callable[[Sequence[Cell]], None]
_ROWS_OF_A_GROUP = 10_000


def columns_of(about: About) -> list[str]:
    """Names of the columns: id; of scans the line; each label's probability; then of labels "<label>_yes", of classes
    the most probable "class"; flags.
    """
    line = ["line"] if about.input_spec.layout == "lines" else []
    decisions = ["class"] if about.exclusive else [f"{label}_yes" for label in about.labels]
    return ["id", *line, *(f"{label}_probability" for label in about.labels), *decisions, "flags"]


def rows_of_prediction(about: About, prediction: Prediction) -> Iterator[list[Cell]]:
    """A row, of a scan one for each line, numbered from 0. A label without a threshold has no yes or no."""
    flags = "; ".join(prediction.flags)
    lines = prediction.probabilities if prediction.probabilities.ndim == 2 else prediction.probabilities[None]
    for number, values in enumerate(lines.tolist()):
        line = [number] if prediction.probabilities.ndim == 2 else []
        yield [prediction.id, *line, *values, *_decisions(about, values), flags]


def _decisions(about: About, probabilities: Sequence[float]) -> list[Cell]:
    if about.exclusive:
        return [about.labels[max(range(len(probabilities)), key=probabilities.__getitem__)]]
    limits = (about.thresholds.get(label) for label in about.labels)
    return [None if limit is None else value >= limit for value, limit in zip(probabilities, limits, strict=True)]


def format_of(out: Path | None, wanted: Format | None) -> Format:
    """The format asked for, or that of the file's suffix; CSV where there is no file.

    Raises:
        InputError: another suffix; Parquet without a file, or without pyarrow.
    """
    if wanted is None and out is not None:
        known: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
        if out.suffix.lower() not in known:
            raise InputError(f"--out {out}: end it in {', '.join(known)}, or say --format")
        wanted = known[out.suffix.lower()]
    if wanted == "parquet":
        if out is None:
            raise InputError("--format parquet: it is no text; name a file with --out")
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise InputError("Parquet needs pyarrow; pip install pyarrow, or write .csv or .json") from None
    return wanted or "csv"


@contextmanager
def writing(out: Path | None, kind: Format, about: About) -> Iterator[Write]:
    """What takes rows of `columns_of`, in order; the file appears, whole, when the last one is written.

    Args:
        out: None for stdout.
    """
    if out is None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # into a file it is not on Windows
        with _WRITERS[kind](sys.stdout, columns_of(about)) as write:
            yield write
        return
    with atomic_write(out) as temporary:
        if kind == "parquet":
            with _parquet(temporary, about) as write:
                yield write
            return
        with (
            temporary.open("w", encoding="utf-8", newline="") as file,
            _WRITERS[kind](file, columns_of(about)) as write,
        ):
            yield write


@contextmanager
def _csv(file: TextIO, columns: Sequence[str]) -> Iterator[Write]:
    def write(row: Sequence[Cell]) -> None:
        file.write(csv_text([[_csv_cell(cell) for cell in row]]))

    file.write(csv_text([columns]))
    yield write


def _csv_cell(cell: Cell) -> Cell:
    """Probabilities with six digits, which float32 has hardly more of; yes and no."""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return float(f"{cell:.6g}") if isinstance(cell, float) else "" if cell is None else cell


@contextmanager
def _json(file: TextIO, columns: Sequence[str]) -> Iterator[Write]:
    """An array of objects, a line each."""
    num = 0

    def write(row: Sequence[Cell]) -> None:
        nonlocal num
        cells = [float(f"{cell:.6g}") if isinstance(cell, float) else cell for cell in row]
        text = json.dumps(dict(zip(columns, cells, strict=True)), ensure_ascii=False)
        file.write((",\n" if num else "[\n") + text)
        num += 1

    yield write
    file.write("\n]\n" if num else "[]\n")


_WRITERS = {"csv": _csv, "json": _json}


@contextmanager
def _parquet(path: Path, about: About) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def kind(column: str) -> Any:
        if column in ("id", "class", "flags"):
            return pa.string()
        return pa.int64() if column == "line" else pa.bool_() if column.endswith("_yes") else pa.float32()

    columns = columns_of(about)
    schema = pa.schema([(column, kind(column)) for column in columns])
    rows: list[Sequence[Cell]] = []

    def flush() -> None:
        if rows:
            writer.write_table(pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema))
            rows.clear()

    def write(row: Sequence[Cell]) -> None:
        rows.append(row)
        if len(rows) >= _ROWS_OF_A_GROUP:
            flush()

    with pq.ParquetWriter(path, schema) as writer:
        yield write
        flush()


def as_text(about: About, prediction: Prediction) -> str:
    """A few lines for a person: the labels of one source, the most probable first."""
    lines = [prediction.id + (f"   [{', '.join(prediction.flags)}]" if prediction.flags else "")]
    values = prediction.probabilities.tolist()
    best = int(prediction.probabilities.argmax())
    limits = [about.thresholds.get(label) for label in about.labels]
    width = max(map(len, about.labels))
    for k in sorted(range(len(values)), key=lambda k: -values[k]):
        limit = limits[k]
        word = "" if about.exclusive or limit is None else "yes" if values[k] >= limit else "no"
        word = "most probable" if about.exclusive and k == best else word
        lines.append(f"  {escape_control_characters(about.labels[k]):<{width}}  {values[k]:6.3f}  {word}".rstrip())
    return "\n".join(lines)

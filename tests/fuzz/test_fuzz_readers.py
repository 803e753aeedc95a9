"""Any table gives a valid data set or a one-line error: no other exception, nothing silently wrong."""

import csv
import io
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from xlite.data.sources import ParsedDataset
from xlite.data.sources.folder import read_images
from xlite.data.sources.folder_options import FolderOptions
from xlite.data.sources.listing import read_columns
from xlite.data.sources.nih import LABELS, NO_FINDING, read_labels
from xlite.data.sources.rsna import LABELS as GRADES
from xlite.data.sources.rsna import LEVELS, read_grades
from xlite.data.sources.stm import read_stm
from xlite.errors import InputError
from xlite.storage.text import has_control_characters

QUICK = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
"""The same examples on every machine and in every run."""
LONG = settings(QUICK, derandomize=False, max_examples=1000)
PROFILES = [pytest.param(QUICK, id="quick"), pytest.param(LONG, id="long", marks=pytest.mark.slow)]

ODD = [
    "",
    " ",
    "0",
    "1",
    "-1",
    "1.0",
    "nan",
    "NaN",
    "inf",
    "1e999",
    "²",
    "\0",
    "\r",
    "\x1b[2J",
    '"',
    "'",
    "=1+1",
    "é",
    "|",
]
ODD += ["../x", "/etc/passwd", ",", ";", "\u202e", "a" * 300, "9" * 400, "No Finding", "Effusion|", "\ufeff", "\ud7ff"]
anything = st.one_of(st.sampled_from(ODD), st.text(max_size=6))


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder; hypothesis would give every example the same tmp_path."""
    place = Path(tempfile.mkdtemp(prefix="xlite-fuzz-"))
    try:
        yield place / "data"
    finally:
        shutil.rmtree(place)


@st.composite
def spoilt(draw: st.DrawFn, header: list[str], rows: st.SearchStrategy[list[list[str]]]) -> bytes:
    """A table of sound rows, of which nothing, some cells, the rows' lengths or the bytes are spoilt."""
    table = [list(header), *(list(row) for row in draw(rows))]
    how = draw(st.sampled_from(["nothing"] * 4 + ["cells", "cells", "lengths", "repeats", "bytes", "ends"]))
    if how == "cells":
        for _ in range(draw(st.integers(1, 3))):
            line = draw(st.integers(0, len(table) - 1))
            table[line][draw(st.integers(0, len(table[line]) - 1))] = draw(anything)
    if how == "lengths":
        line = draw(st.integers(0, len(table) - 1))
        table[line] = draw(st.sampled_from([[], table[line][:-1], [*table[line], "more"], [*table[line], "", ""]]))
    if how == "repeats":
        table.append(draw(st.sampled_from(table)))
    out = io.StringIO(newline="")
    end = draw(st.sampled_from(["\r", "\r\n", "\n\n"])) if how == "ends" else "\n"
    csv.writer(out, lineterminator=end).writerows(table)
    data = out.getvalue().encode(draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-8"])) if how == "ends" else "utf-8")
    if how == "bytes" and data:
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 40)) :]
    return data


def outcome(read: Callable[[], object]) -> object | None:
    """What was read, None where it was refused; the refusal must be one line."""
    try:
        found = read()
        event("read")
        return found
    except InputError as error:
        event("refused")
        assert str(error) and len(str(error).splitlines()) == 1, repr(str(error))
        return None


def check_parsed(parsed: ParsedDataset) -> None:
    """What every task builds on."""
    table = parsed.table
    num_rows, num_labels = len(table), len(table.labels)
    assert num_rows > 0 and num_labels > 0 and len(set(table.labels)) == num_labels
    assert all(label and not has_control_characters(label) for label in table.labels)
    assert len(set(table.ids.tolist())) == num_rows and "" not in table.ids.tolist()
    assert len(table.items) == len(table.groups) == num_rows
    values = table.targets.reshape(-1, num_labels)
    assert values.dtype == np.float32 and (np.isnan(values) | (values == 0) | (values == 1)).all()
    assert (values == 1).any() and (values == 0).any()
    if parsed.kind != "multilabel":
        known = ~np.isnan(values)
        assert (known.all(axis=1) == known.any(axis=1)).all()
        assert (np.nansum(values, axis=1)[known.all(axis=1)] == 1).all()
    assert not set(parsed.missing) & set(table.ids.tolist())


def of(*names: str) -> st.SearchStrategy[str]:
    return st.sampled_from(names)


# NIH: one row an image
findings = st.lists(of(*LABELS), min_size=1, max_size=3, unique=True).map("|".join) | st.just(NO_FINDING)
nih_rows = st.tuples(
    st.integers(0, 30).map("{:08d}_000.png".format), findings, st.just("0"), st.integers(0, 9).map(str)
)


nih_tables = st.lists(nih_rows.map(list), max_size=12, unique_by=lambda row: row[0])


@pytest.mark.parametrize("profile", PROFILES)
def test_nih(profile: settings) -> None:
    @profile
    @given(spoilt(["Image Index", "Finding Labels", "Follow-up #", "Patient ID"], nih_tables))
    def holds(data: bytes) -> None:
        with folder() as place:
            place.mkdir()
            (place / "Data_Entry_2017.csv").write_bytes(data)
            parsed = outcome(lambda: read_labels(place))
            if parsed is None:
                return
            check_parsed(parsed)  # type: ignore[arg-type]
            table = parsed.table  # type: ignore[attr-defined]
            written = read_columns(place / "Data_Entry_2017.csv", ("Image Index", "Finding Labels", "Patient ID"))
            assert len(table) == len(written) and not np.isnan(table.targets).any()
            for row, text in zip(table.targets, written["Finding Labels"], strict=True):
                found = {name for name, value in zip(LABELS, row, strict=True) if value}
                assert found == {name.strip() for name in text.split("|")} - {NO_FINDING}
            assert [item.path.parent for item in table.items] == [place] * len(table)

    holds()


@pytest.mark.parametrize("profile", PROFILES)
def test_columns_of_any_csv(profile: settings) -> None:
    @profile
    @given(spoilt(["a", "b", "c"], st.lists(st.lists(anything, min_size=3, max_size=3), max_size=12)))
    def holds(data: bytes) -> None:
        with folder() as place:
            place.mkdir()
            (place / "t.csv").write_bytes(data)
            frame = outcome(lambda: read_columns(place / "t.csv", ("a", "c")))
            if frame is not None:
                assert list(frame.columns) == ["a", "c"]  # type: ignore[attr-defined]
                cells = frame.to_numpy().ravel().tolist()  # type: ignore[attr-defined]
                assert all(isinstance(cell, str) and cell == cell.strip() for cell in cells)
                assert frame.index.is_unique and (frame.index > 1).all()  # type: ignore[attr-defined]

    holds()


# RSNA: three tables that speak of each other
STUDIES = ("11", "22", "33")
CANAL, SAGITTAL = "Spinal Canal Stenosis", "Sagittal T2/STIR"
coordinates = st.floats(0, 400).map("{:.2f}".format)
grade_tables = st.tuples(*[st.tuples(st.just(name), *[of(*GRADES, "")] * 5) for name in STUDIES]).map(list)
point_tables = st.tuples(
    *[
        st.tuples(st.just(name), of("7", "7", "8"), of("1", "5", "15"), of(CANAL), of(level), coordinates, coordinates)
        for name in STUDIES
        for level in LEVELS
    ]
).flatmap(lambda rows: st.lists(st.sampled_from(rows), unique=True, max_size=15))
series_tables = st.tuples(*[st.tuples(st.just(name), of("7"), of(SAGITTAL, SAGITTAL, "Axial T2")) for name in STUDIES])
GRADE_HEADER = ["study_id", *(f"spinal_canal_stenosis_{level.lower().replace('/', '_')}" for level in LEVELS)]
POINT_HEADER = ["study_id", "series_id", "instance_number", "condition", "level", "x", "y"]


@pytest.mark.parametrize("profile", PROFILES)
def test_rsna(profile: settings) -> None:
    @profile
    @given(
        spoilt(GRADE_HEADER, grade_tables),
        spoilt(POINT_HEADER, point_tables),
        spoilt(["study_id", "series_id", "series_description"], series_tables.map(list)),
    )
    def holds(grades: bytes, points: bytes, series: bytes) -> None:
        with folder() as place:
            place.mkdir()
            (place / "train.csv").write_bytes(grades)
            (place / "train_label_coordinates.csv").write_bytes(points)
            (place / "train_series_descriptions.csv").write_bytes(series)
            found = outcome(lambda: read_grades(place))
            if found is None:
                return
            wide = read_columns(place / "train.csv", tuple(GRADE_HEADER))
            graded = int((wide[GRADE_HEADER[1:]] != "").to_numpy().sum())
            assert len(found.ids) + len(found.excluded) == graded  # type: ignore[attr-defined]
            assert len(set(found.ids.tolist())) == len(found.ids) > 0  # type: ignore[attr-defined]
            assert np.isfinite(found.crops).all() and (found.crops[:, 2] > 0).all()  # type: ignore[attr-defined]
            assert all(name.isascii() and name.isdigit() for name in found.studies)  # type: ignore[attr-defined]

    holds()


# STM: scans of 8 lines and a table of their lines
line_rows = st.tuples(of("a", "b", "a.npy"), st.integers(0, 7).map(str), of("clean", "tip", "", "7"), of("s1"))
line_tables = st.lists(line_rows, min_size=4, max_size=16, unique_by=lambda row: (row[0][0], row[1]))


@pytest.mark.parametrize("profile", PROFILES)
def test_stm(profile: settings) -> None:
    scan = np.random.default_rng(0).normal(size=(8, 6))

    @profile
    @given(
        spoilt(["scan", "line", "label", "group"], line_tables),
        st.integers(0, 9),
        st.binary(max_size=40),
        st.integers(0, 300),
    )
    def holds(data: bytes, window_lines: int, damage: bytes, at: int) -> None:
        with folder() as place:
            place.mkdir()
            (place / "lines.csv").write_bytes(data)
            np.save(place / "a.npy", scan)
            np.save(place / "b.npy", scan)
            if at < 200:  # most often one scan is damaged, its header more often than its numbers
                whole = (place / "b.npy").read_bytes()
                (place / "b.npy").write_bytes(whole[:at] + damage + whole[at + len(damage) :])
            parsed = outcome(lambda: read_stm(place, allow_missing=True, window_lines=window_lines))
            if parsed is None:
                return
            check_parsed(parsed)  # type: ignore[arg-type]
            table = parsed.table  # type: ignore[attr-defined]
            rows = read_columns(place / "lines.csv", ("scan", "line", "label"))
            used = {item.path.name for item in table.items}
            named = rows["scan"].map(lambda name: name if name.endswith(".npy") else f"{name}.npy")
            labelled = (rows["label"] != "") & named.isin(used)
            assert int(np.isfinite(table.targets).all(axis=2).sum()) == int(labelled.sum())
            of_used = rows.assign(scan=named)[named.isin(used)]
            said = {(row.scan, int(row.line)): row.label for row in of_used.itertuples()}
            for item, targets in zip(table.items, table.targets, strict=True):
                start = json.loads(item.detail)["start"]
                for at in np.flatnonzero(np.isfinite(targets).all(axis=1)).tolist():
                    assert table.labels[int(targets[at].argmax())] == said[item.path.name, start + at]

    holds()


# Folders of images with a table of any columns
POOLS = {
    "flags": of("0", "1", "1", ""),
    "class": of("ill", "well", "so-so"),
    "joined": of("A|B", "A", "B", "No finding"),
    "any": of("0", "1", "x") | anything,
}


@st.composite
def image_tables(draw: st.DrawFn) -> tuple[bytes, dict[str, object]]:
    """A table of eight images with labels of one form, what is said of it, and perhaps a patient and parts."""
    form = draw(of("flags", "flags", "class", "joined", "any"))
    labels = draw(
        st.lists(of("mass", "node", "label", "=1"), min_size=1, max_size=3 if form == "flags" else 1, unique=True)
    )
    more = {"patient": of("p1", "p2", "p3", "p4"), "split": of("train", "test", "val"), "age": of("40", "50")}
    beside = draw(st.lists(of(*more), max_size=2, unique=True))
    columns = [*(POOLS[form] for _ in labels), *(more[name] for name in beside)]
    names = draw(
        st.lists(of(*(f"{number}.png" for number in range(8))), min_size=6, max_size=9, unique=draw(st.booleans()))
    )
    rows = [[name, *(draw(pool) for pool in columns)] for name in names]
    data = draw(spoilt(["image", *labels, *beside], st.just(rows)))
    said: dict[str, object] = {"label_column": tuple(labels)} if draw(st.booleans()) else {}
    if draw(st.integers(0, 5)) == 0:
        said["kind"] = draw(of("binary", "multilabel", "multiclass"))
    return data, said


@pytest.mark.parametrize("profile", PROFILES)
def test_labelled_images(profile: settings, tmp_path: Path) -> None:
    import cv2

    _, png = cv2.imencode(".png", np.tile(np.arange(8, dtype=np.uint8), (6, 1)))

    @profile
    @given(image_tables())
    def holds(made: tuple[bytes, dict[str, object]]) -> None:
        data, said = made
        with folder() as place:
            place.mkdir()
            for number in range(8):
                (place / f"{number}.png").write_bytes(png.tobytes())
            (place / "labels.csv").write_bytes(data)
            parsed = outcome(lambda: read_images(place, allow_missing=True, options=FolderOptions(**said)))  # type: ignore[arg-type]
            if parsed is None:
                return
            check_parsed(parsed)  # type: ignore[arg-type]
            check_cells(place, parsed.table, said)  # type: ignore[attr-defined]
            assert all(item.path.parent == place for item in parsed.table.items)  # type: ignore[attr-defined]

    holds()


SAYS = {"0": 0.0, "1": 1.0, "": math.nan}


def check_cells(place: Path, table, said: dict[str, object]) -> None:
    """Where labels are columns of 0 and 1, each target is its cell: unknown only where that says so."""
    text = (place / "labels.csv").read_bytes().decode("utf-8-sig")
    first = text.split("\n", 1)[0]
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count)))
    header = [" ".join(name.split()) for name in rows[0]]
    rows = [[*row, *[""] * (len(header) - len(row))] if row else row for row in rows]  # what a short row lacks is blank
    if said.get("kind") == "binary" or not set(table.labels) <= set(header):
        return
    cells = {row[header.index("image")].strip(): row for row in rows[1:] if any(row)} if "image" in header else {}
    for name, targets in zip(table.ids.tolist(), table.targets, strict=True):
        for label, value in zip(table.labels, targets.tolist(), strict=True):
            told = SAYS.get(cells[name][header.index(label)].strip()) if name in cells else None
            if told is not None and said.get("kind") != "multiclass":
                assert (math.isnan(told) and math.isnan(value)) or told == value


@pytest.mark.parametrize("profile", PROFILES)
def test_folders_of_classes(profile: settings) -> None:
    import cv2

    _, png = cv2.imencode(".png", np.tile(np.arange(8, dtype=np.uint8), (6, 1)))
    name = st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/") | st.sampled_from("\x1b\n"),
        min_size=1,
        max_size=8,
    )

    @profile
    @given(
        st.lists(name | of("train", "test", "a", "A", "=1", ".hidden", "b c"), max_size=4, unique=True),
        st.integers(1, 2),
    )
    def holds(names: list[str], depth: int) -> None:
        with folder() as place:
            place.mkdir()
            made = set()
            for one in names:
                if one in (".", ".."):
                    continue
                inner = place / one if depth == 1 else place / one / names[0].replace(".", "x")
                inner.mkdir(parents=True, exist_ok=True)
                (inner / "1.png").write_bytes(png.tobytes())
                if not one.startswith("."):
                    made.add(one)
            parsed = outcome(lambda: read_images(place))
            if parsed is not None:
                check_parsed(parsed)  # type: ignore[arg-type]
                assert len(parsed.table) == len(made)  # type: ignore[attr-defined]

    holds()

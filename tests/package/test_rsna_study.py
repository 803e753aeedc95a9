"""Levels to predict are read from RSNA's layout without pandas and without grades, the same stacks as in training."""

import csv

import pytest

from xlite.data.phantom.lumbar import write_lumbar_phantom
from xlite.data.sources.rsna import read_rsna
from xlite.errors import InputError
from xlite.package.rsna_study import find_levels


@pytest.fixture
def lumbar(tmp_path):
    write_lumbar_phantom(tmp_path / "d", num_studies=12, image_px=64)
    return tmp_path / "d"


def by_id(levels):
    return {one.id: (one.item, one.level) for one in levels}


def test_levels_are_those_of_training_whether_or_not_there_are_grades_and_a_series_table(lumbar) -> None:
    table = read_rsna(lumbar, num_slices=5).table
    wanted = {
        str(name): (item, int(level[0]))
        for name, item, level in zip(table.ids, table.items, table.auxiliary, strict=True)
    }
    resolved = {name: (tuple(path.resolve() for path in item.paths), item.detail) for name, (item, _) in wanted.items()}
    for gone in (None, "train.csv", "train_series_descriptions.csv"):
        if gone:
            (lumbar / gone).unlink()
        levels = list(find_levels(lumbar, 5))
        assert [one.problem for one in levels] == [""] * len(levels)
        found = by_id(levels)
        assert {name: level for name, (_, level) in found.items()} == {n: level for n, (_, level) in wanted.items()}
        assert {name: (item.paths, item.detail) for name, (item, _) in found.items()} == resolved
    ids = [one.id for one in levels]
    assert ids == sorted(ids, key=lambda name: (int(name.split("_")[0]), name))


def test_a_study_or_series_is_found_by_the_table_above_it(lumbar) -> None:
    study = sorted((lumbar / "train_images").iterdir())[3]
    ids = [one.id for one in find_levels(study, 3)]
    assert ids and {name.split("_")[0] for name in ids} == {study.name}
    assert [one.id for one in find_levels(next(study.iterdir()), 3)] == ids


def test_a_level_without_slices_is_listed(lumbar) -> None:
    study = sorted((lumbar / "train_images").iterdir())[0]
    for path in study.rglob("*.dcm"):
        path.unlink()
    problems = [one for one in find_levels(lumbar, 3) if one.problem]
    assert problems and all(one.id.startswith(study.name) and "no slices around" in one.problem for one in problems)


def test_a_level_whose_crop_has_no_size_is_listed_whatever_else_the_table_holds(lumbar) -> None:
    whole = by_id(find_levels(lumbar, 3))
    study = next(iter(whole)).split("_")[0]
    change(lumbar, lambda rows: rows.__setitem__(slice(None), [row for row in rows if alone(row, study)]))
    problems = {one.id: one.problem for one in find_levels(lumbar, 3)}
    assert problems.pop(f"{study}_l3_l4").startswith("no point of a level above or below in its series")
    assert set(problems.values()) == {""}
    change(lumbar, lambda rows: rows.__setitem__(slice(None), [row for row in rows if row[0] in ("study_id", study)]))
    assert [one.problem != "" for one in find_levels(lumbar, 3)] == [True]


def alone(row, study):
    return row[0] != study or "L3/L4" in row


def change(lumbar, edit):
    path = lumbar / "train_label_coordinates.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    edit(rows)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


CANAL = "Spinal Canal Stenosis"


def in_canal(rows, column, text):
    row = next(row for row in rows if CANAL in row)
    row[rows[0].index(column)] = text


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows.clear(), "no column 'study_id'"),
        (lambda rows: rows[0].__setitem__(rows[0].index("x"), "z"), "no column 'x'"),
        (lambda rows: in_canal(rows, "x", "left"), "row 2: x is 'left'; write a number"),
        (lambda rows: in_canal(rows, "instance_number", "1.5"), "instance_number is '1.5'"),
        (lambda rows: in_canal(rows, "level", "T1/T2"), "unknown level 'T1/T2'"),
        (lambda rows: in_canal(rows, "study_id", "../.."), "write digits"),
        (lambda rows: rows.append(next(row for row in rows if CANAL in row)), "has a point for L1/L2 already"),
        (
            lambda rows: [row.__setitem__(rows[0].index("condition"), "Other") for row in rows[1:]],
            "no row has",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(edit, message, lumbar) -> None:
    change(lumbar, edit)
    with pytest.raises(InputError, match=message):
        list(find_levels(lumbar, 3))


def test_after_a_quote_that_is_never_closed_no_level_is_lost(lumbar) -> None:
    path = lumbar / "train_label_coordinates.csv"
    before, name, after = path.read_text().rpartition(CANAL)
    path.write_text(f'{before}"{name}{after}')
    with pytest.raises(InputError, match=r"not a CSV table .*; fix that row"):
        list(find_levels(lumbar, 3))


def test_without_coordinates_it_says_what_is_needed(lumbar, tmp_path) -> None:
    (lumbar / "train_label_coordinates.csv").unlink()
    needed = r"must be told where each is.*train_images/<study>/<series>.*study_id, series_id, instance_number"
    with pytest.raises(InputError, match=needed) as refused:
        list(find_levels(lumbar, 3))
    assert "\n" not in str(refused.value)

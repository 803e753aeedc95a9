"""The RSNA reader: the files of a row, and a one-line error or a counted reason for everything wrong."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED

from xlite.data.sources.rsna import LABELS, LEVELS, read_grades, read_rsna
from xlite.errors import InputError

KEYS = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1")
GRADES = {"11": "NNMSN", "22": "NNNNN", "33": "SMN-N"}
TEXTS = {"N": "Normal/Mild", "M": "Moderate", "S": "Severe", "-": "", "?": "Awful"}
REAL = SHARED / "rsna_lumbar_labels"


def write(folder: Path, grades: dict[str, str] = GRADES, *, slices: int = 9, instance: int = 5) -> Path:
    """Studies with one series each (id: the study's and a 7), points 40 px apart; the slices are empty files."""
    rows = ["study_id," + ",".join(f"spinal_canal_stenosis_{key}" for key in KEYS)]
    rows += [",".join([study, *(TEXTS[letter] for letter in letters)]) for study, letters in grades.items()]
    series = ["study_id,series_id,series_description", *(f"{s},{s}7,Sagittal T2/STIR" for s in grades)]
    points = ["study_id,series_id,instance_number,condition,level,x,y"]
    for study in grades:
        points.append(f"{study},{study}8,3,Left Subarticular Stenosis,L1/L2,1,1")
        points += [
            f"{study},{study}7,{instance},Spinal Canal Stenosis,{level},{100 + k},{50 + 40 * k}"
            for k, level in enumerate(LEVELS)
        ]
        place = folder / "train_images" / study / f"{study}7"
        place.mkdir(parents=True)
        for number in range(1, slices + 1):
            (place / f"{number}.dcm").touch()
    for name, lines in (("train", rows), ("train_series_descriptions", series), ("train_label_coordinates", points)):
        (folder / f"{name}.csv").write_text("\n".join([*lines, ""]))
    return folder


def change(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


def numbers(item) -> list[int]:
    return [int(path.stem) for path in item.paths]


def test_a_row_is_a_study_and_level_with_grade_group_and_level_number(tmp_path: Path) -> None:
    parsed = read_rsna(write(tmp_path))
    table = parsed.table
    assert (parsed.kind, parsed.channels, table.labels) == ("ordinal", 3, LABELS)
    assert table.ids.tolist()[:6] == ["11_l1_l2", "11_l2_l3", "11_l3_l4", "11_l4_l5", "11_l5_s1", "22_l1_l2"]
    assert table.groups.tolist() == ["11"] * 5 + ["22"] * 5 + ["33"] * 4
    assert table.auxiliary is not None and table.auxiliary.dtype == np.int64
    assert table.auxiliary[:, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 4]
    assert table.targets.argmax(1).tolist() == [0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0]
    assert table.targets.dtype == np.float32 and (table.targets.sum(1) == 1).all()
    assert not parsed.missing and not parsed.excluded
    (note,) = parsed.notes
    assert "1 levels have no grade" in note


def test_an_item_is_the_neighbouring_slices_and_the_square_around_the_point(tmp_path: Path) -> None:
    items = read_rsna(write(tmp_path)).table.items
    assert numbers(items[0]) == [2, 3, 4, 5, 6, 7, 8]
    assert items[0].path.parent == tmp_path / "train_images" / "11" / "117"
    place = json.loads(items[2].detail)
    assert (place["x"], place["y"]) == (102, 130)
    assert place["radius"] == pytest.approx(0.75 * np.hypot(1, 40), abs=1e-3)


def test_another_number_of_slices(tmp_path: Path) -> None:
    assert numbers(read_rsna(write(tmp_path), num_slices=3).table.items[0]) == [4, 5, 6]


@pytest.mark.parametrize(("instance", "expected"), [(1, [1, 1, 1, 1, 2, 3, 4]), (9, [6, 7, 8, 9, 9, 9, 9])])
def test_the_last_slice_of_a_series_is_repeated_beyond_its_end(
    tmp_path: Path, instance: int, expected: list[int]
) -> None:
    assert numbers(read_rsna(write(tmp_path, instance=instance)).table.items[0]) == expected


def test_a_missing_slice_is_replaced_by_the_nearest_one(tmp_path: Path) -> None:
    folder = write(tmp_path)
    for number in (5, 6):
        (folder / "train_images" / "11" / "117" / f"{number}.dcm").unlink()
    assert numbers(read_rsna(folder).table.items[0]) == [2, 3, 4, 4, 7, 7, 8]


def test_the_radius_is_the_mean_distance_to_the_existing_neighbours(tmp_path: Path) -> None:
    folder = write(tmp_path)
    change(
        folder,
        "train_label_coordinates.csv",
        "11,117,5,Spinal Canal Stenosis,L2/L3,101,90",
        "11,117,5,Spinal Canal Stenosis,L2/L3,100,80",
    )
    crops = read_grades(folder).crops[:, 2] / 0.75
    assert crops[0] == pytest.approx(30)  # L1/L2 has one neighbour
    assert crops[1] == pytest.approx((30 + np.hypot(2, 50)) / 2)


def test_a_point_without_neighbours_takes_the_table_s_median_radius(tmp_path: Path) -> None:
    folder = write(tmp_path)
    text = (folder / "train_label_coordinates.csv").read_text().splitlines()
    lonely = [line for line in text if not (line.startswith("11,117") and "L3/L4" not in line)]
    (folder / "train_label_coordinates.csv").write_text("\n".join(lonely))
    grades = read_grades(folder)
    assert grades.ids[0] == "11_l3_l4" and grades.crops[0, 2] == pytest.approx(0.75 * np.hypot(1, 40))


def test_a_level_without_point_is_excluded_with_the_reason(tmp_path: Path) -> None:
    folder = write(tmp_path)
    change(folder, "train_label_coordinates.csv", "22,227,5,Spinal Canal Stenosis,L4/L5,103,170\n", "")
    parsed = read_rsna(folder)
    assert list(parsed.excluded) == ["22_l4_l5"] and "no Spinal Canal Stenosis point" in parsed.excluded["22_l4_l5"]
    assert "22_l4_l5" not in parsed.table.ids and len(parsed.table) == 13


@pytest.mark.parametrize(
    ("description", "said"),
    [("22,227,Sagittal T1", "series 227, Sagittal T1 and not Sagittal T2/STIR"), ("", "series 227 is not in")],
)
def test_points_in_another_series_are_excluded_with_the_reason(tmp_path: Path, description: str, said: str) -> None:
    folder = write(tmp_path)
    change(folder, "train_series_descriptions.csv", "22,227,Sagittal T2/STIR", description)
    excluded = read_rsna(folder).excluded
    assert list(excluded) == [f"22_{key}" for key in KEYS] and all(said in reason for reason in excluded.values())


def test_a_series_or_study_without_slices_is_missing_and_too_many_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "train_images" / "22").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"5 of 14 levels' slices .* e\.g\. 22_l1_l2; .*--allow-missing"):
        read_rsna(folder)
    parsed = read_rsna(folder, allow_missing=True)
    assert parsed.missing == tuple(f"22_{key}" for key in KEYS) and len(parsed.table) == 9


def test_a_level_with_no_slice_near_its_point_is_missing(tmp_path: Path) -> None:
    folder = write(tmp_path)
    change(
        folder,
        "train_label_coordinates.csv",
        "11,117,5,Spinal Canal Stenosis,L1/L2",
        "11,117,13,Spinal Canal Stenosis,L1/L2",
    )
    assert read_rsna(folder, allow_missing=True).missing == ("11_l1_l2",)


def test_no_images_at_all_is_refused_even_if_missing_is_allowed(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "train_images").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="none of the 14 levels' slices is there"):
        read_rsna(folder, allow_missing=True)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("train.csv", "Severe", "Awful", r"train\.csv row 2: spinal_canal_stenosis_l4_l5 is 'Awful'; known are Normal"),
        ("train.csv", "22,", "11,", r"train\.csv row 3: study_id 11 is in row 2 already"),
        ("train.csv", "22,", "../22,", r"train\.csv row 3: study_id is '\.\./22'; write digits"),
        ("train.csv", "l3_l4", "l3_l5", r"train\.csv: no column 'spinal_canal_stenosis_l3_l4'"),
        ("train_label_coordinates.csv", "L4/L5", "L4/L6", r"coordinates\.csv row 6: unknown level 'L4/L6'"),
        ("train_label_coordinates.csv", "L4/L5", "L3/L4", r"row 6: study_id 11, level L3/L4 is in row 5 already"),
        ("train_label_coordinates.csv", ",103,", ",left,", r"row 6: x is 'left'; write a number"),
        ("train_label_coordinates.csv", ",103,", ",,", r"row 6: x is ''; write a number"),
        ("train_label_coordinates.csv", ",103,", ",inf,", r"row 6: x is 'inf'; write a number"),
        ("train_label_coordinates.csv", "117,5,", "117,5.5,", r"row 3: instance_number is '5\.5'; write a whole"),
        ("train_label_coordinates.csv", "instance_number", "slice", r"no column 'instance_number'"),
        ("train_series_descriptions.csv", "22,227", "11,117", r"row 3: study_id 11, series_id 117 is in row 2"),
    ],
)
def test_a_wrong_cell_is_one_line_naming_file_and_row(tmp_path: Path, name: str, old: str, new: str, said: str) -> None:
    folder = write(tmp_path)
    change(folder, name, old, new)
    with pytest.raises(InputError, match=said) as refused:
        read_rsna(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["train.csv", "train_label_coordinates.csv", "train_series_descriptions.csv"])
def test_a_table_that_is_absent_empty_or_without_rows_is_named(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path)
    header = (folder / name).read_text().splitlines()[0]
    for content, said in ((header, "no rows"), ("", "no column"), (None, "no train")):
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_text(content)
        with pytest.raises(InputError, match=said) as refused:
            read_rsna(folder)
        assert name in str(refused.value) and "\n" not in str(refused.value)
        (folder / name).touch()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_rsna(tmp_path / "nowhere")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"RSNA's real tables are not here ({REAL})")
def test_the_real_tables_are_read_in_seconds() -> None:
    begin = time.perf_counter()
    grades = read_grades(REAL)
    assert time.perf_counter() - begin < 5
    assert (len(grades.ids), len(grades.excluded), len(set(grades.studies))) == (9748, 122, 1973)
    assert np.bincount(grades.grades).tolist() == [8549, 731, 468]
    assert sum("Sagittal T1" in reason for reason in grades.excluded.values()) == 5
    assert "5 levels have no grade" in grades.notes[0]
    assert np.isfinite(grades.crops).all() and (grades.crops[:, 2] > 0).all()

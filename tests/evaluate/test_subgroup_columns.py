"""Columns of a folder's tables as subgroups: found by name, joined by id or patient, numbers cut."""

import numpy as np
import pytest

from xlite.errors import InputError
from xlite.evaluate.columns import find_columns, join

IDS, PATIENTS = np.array(["a/1.png", "a/2.png", "b/3.png", "b/4.png"]), np.array(["p1", "p1", "p2", "p3"])


def found(folder, name, text, ids=IDS, groups=PATIENTS):
    (folder / "people.csv").write_text(text)
    (column,) = find_columns(folder, [name])
    return join(column, ids, groups)


@pytest.mark.parametrize(
    "text",
    [
        "Image Index,Patient Gender\na/1.png,F\na/2.png,F\nb/3.png,M\nb/4.png,\n",
        "file,Sex\n1.png,F\n2.png,F\n3.png,M\n",
        "file;patientSex\n1;F\n2;F\n3;M\n4;unknown\n",
        "patient,Sex\np1,F\np2,M\nelsewhere,M\n",
    ],
)
def test_a_column_is_joined_by_id_name_or_patient(tmp_path, text):
    assert found(tmp_path, "sex", text).values.tolist() == ["F", "F", "M", ""]


def test_a_patient_with_two_values_has_none_and_a_blank_is_no_value(tmp_path):
    text = "patient,sex\np1,F\np1,M\np2,M\np2,\np3,F\n"
    assert found(tmp_path, "sex", text).values.tolist() == ["", "", "M", "F"]


def test_of_columns_that_differ_in_case_alone_the_one_written_so_is_taken(tmp_path):
    (tmp_path / "other.csv").write_text("patient,Sex\np1,M\np2,M\np3,F\n")
    text = "patient,sex\np1,F\np2,M\np3,F\n"
    assert found(tmp_path, "sex", text).values.tolist() == ["F", "F", "M", "F"]
    assert found(tmp_path, "Sex", text).values.tolist() == ["M", "M", "M", "F"]
    with pytest.raises(InputError, match="it could be Sex or sex; write one of them"):
        found(tmp_path, "SEX", text)


def test_ages_are_cut_and_nih_s_old_form_is_read(tmp_path):
    ids = np.array([f"{i}.png" for i in range(10)])
    ages = ["005Y", "017Y", "018Y", "039Y", "40", "64", "65", "90", "30", ""]
    text = "image,Patient Age\n" + "".join(f"{name},{age}\n" for name, age in zip(ids, ages, strict=True))
    one = found(tmp_path, "age", text, ids, ids)
    assert one.values.tolist() == [
        *["below 18"] * 2,
        *["18 to 39"] * 2,
        *["40 to 64"] * 2,
        *["from 65"] * 2,
        "18 to 39",
        "",
    ]
    assert one.note.endswith("cut at 18, 40, 65: 18 to 39 3, 40 to 64 2, below 18 2, from 65 2, not known of 1")


def test_ages_in_months_weeks_and_days_are_less_than_years(tmp_path):
    ids = np.array([f"{i}.png" for i in range(10)])
    ages = ["230M", "215M", "080W", "300d", "019Y", "041Y", "042Y", "066Y", "067Y", "68"]
    text = "image,age\n" + "".join(f"{name},{age}\n" for name, age in zip(ids, ages, strict=True))
    below, young, middle, old = "below 18", "18 to below 40", "40 to below 65", "from 65"
    expected = [young, below, below, below, young, middle, middle, old, old, old]
    assert found(tmp_path, "age", text, ids, ids).values.tolist() == expected


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("scanner", "image,sex\n1.png,F\n", "no table in .* has such a column; there are image, sex"),
        ("age", "image,age start,age end\n1.png,1,2\n", "it could be age end or age start; write one of them"),
        ("sex", "image,sex\nx.png,F\n", "no row of people.csv gives an image or patient one sex"),
        ("sex", "image,sex\n1.png,F\n2.png,F\n", "all images are 'F' in 'sex'; name another column"),
    ],
)
def test_a_column_that_gives_no_subgroups_is_one_line(tmp_path, name, text, line):
    with pytest.raises(InputError, match=f"--subgroup {name}: {line}"):
        found(tmp_path, name, text)


def test_too_many_groups_are_refused(tmp_path):
    ids = np.array([f"{i}.png" for i in range(20)])
    text = "image,site\n" + "".join(f"{name},site {name}\n" for name in ids)
    with pytest.raises(InputError, match="--subgroup site: 20 groups, more than 12 in 'site'"):
        found(tmp_path, "site", text, ids, ids)

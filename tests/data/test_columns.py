"""Recognising a label table's columns: clear ones are used, ambiguous ones are an error that names the option."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlite.data.sources.columns import Columns, check_given, recognise
from xlite.data.sources.folder_options import FolderOptions
from xlite.data.sources.image_files import ImageFiles
from xlite.data.sources.image_names import image_names
from xlite.errors import InputError

N = 40
NAMES = [f"scan{i:03d}" for i in range(N)]
FILES = ImageFiles(Path("folder"), tuple(f"{name}.png" for name in NAMES), ())
CLASSES = [("cat", "dog", "owl")[i % 3] for i in range(N)]
FLAGS = [str(i % 2) for i in range(N)]
OTHER_FLAGS = [str(int(i % 5 == 0)) for i in range(N)]
JOINED = [("Mass|Edema", "Mass", "No Finding", "Edema")[i % 4] for i in range(N)]
PATIENTS = [f"p{i // 2}" for i in range(N)]
PARTS = [("train", "train", "valid", "test")[i // 10] for i in range(N)]


def understood(columns: dict[str, list[str]], files: ImageFiles = FILES, **said) -> Columns:
    table = pd.DataFrame(columns, dtype=object)
    table.index += 2
    options = FolderOptions(**said)
    check_given(list(columns), options, "labels.csv")
    return recognise(table, image_names(table, files, options, "labels.csv").column, options, "labels.csv")


def question(columns: dict[str, list[str]], **column_overrides) -> str:
    with pytest.raises(InputError) as caught:
        understood(columns, **column_overrides)
    message = str(caught.value)
    assert message.startswith("labels.csv: ") and "\n" not in message
    return message


@pytest.mark.parametrize("name", ["image", "Image Index", "x", "id"])
@pytest.mark.parametrize("ending", ["", ".png"])
def test_the_file_column_is_recognised_by_the_images_it_names(name: str, ending: str) -> None:
    columns = understood({"label": CLASSES, name: [n + ending for n in NAMES]})
    assert (columns.file, columns.labels, columns.form.form) == (name, ("label",), "class")


def test_numbers_that_name_images_by_chance_are_not_the_file_column() -> None:
    files = ImageFiles(Path("folder"), tuple(f"{i}.png" for i in range(N)), ())
    ages = [str(i % 20) for i in range(N)]
    columns = understood({"age": ages, "id": [str(i) for i in range(N)], "flag": FLAGS}, files)
    assert (columns.file, columns.labels) == ("id", ("flag",))


def test_two_columns_that_name_different_images_need_an_option() -> None:
    table = {"frontal": NAMES, "lateral": NAMES[::-1], "label": CLASSES}
    message = question(table)
    assert "--file-column 'frontal'" in message and "--file-column 'lateral'" in message
    columns = understood(table, file_column="lateral")
    assert (columns.file, columns.labels) == ("lateral", ("label",))


def test_of_two_columns_that_name_the_same_images_the_longer_names_are_used() -> None:
    assert understood({"id": NAMES, "file": [n + ".png" for n in NAMES], "label": CLASSES}).file == "file"


def test_a_table_that_names_no_image_is_an_error() -> None:
    assert "'where' has 'a'" in question({"where": ["a"] * N, "label": CLASSES})


@pytest.mark.parametrize("name", ["patient", "Patient ID", "PatientID", "patientid", "subject_id", "pid", "case_id"])
def test_a_patient_column_is_recognised_by_its_name(name: str) -> None:
    columns = understood({"image": NAMES, name: PATIENTS, "label": CLASSES})
    assert (columns.group, columns.labels) == (name, ("label",))


@pytest.mark.parametrize("name", ["Patient Age", "patient_sex", "hospital", "study description"])
def test_properties_of_a_patient_are_not_the_group(name: str) -> None:
    assert understood({"image": NAMES, name: PATIENTS, "label": CLASSES}).group is None


def test_a_patient_column_takes_precedence_over_study_and_lesion() -> None:
    studies = [f"s{i}" for i in range(N)]
    table = {"image": NAMES, "study_id": studies, "label": CLASSES}
    assert understood(table).group == "study_id"
    assert understood({**table, "patient": PATIENTS}).group == "patient"


def test_two_different_patient_columns_are_ambiguous() -> None:
    table = {"image": NAMES, "patient": PATIENTS, "subject": PATIENTS[::-1], "label": CLASSES}
    table["subject"][0] = "another"
    message = question(table)
    assert "--group-column 'patient'" in message and "--group-column 'subject'" in message
    assert understood(table, group_column="subject").group == "subject"


def test_a_column_that_may_be_class_or_group_is_ambiguous() -> None:
    table = {"image": NAMES, "group": CLASSES}
    message = question(table)
    assert "--group-column 'group'" in message and "--label-column 'group'" in message
    assert understood(table, label_column=("group",)).labels == ("group",)
    both = {**table, "flag": FLAGS}
    assert understood(both, group_column="group").labels == ("flag",)
    assert understood(both, label_column=("flag",)).group is None


def test_the_split_column_is_recognised_by_its_values() -> None:
    columns = understood({"image": NAMES, "phase": PARTS, "label": CLASSES})
    assert (columns.split, columns.labels) == ("phase", ("label",))
    assert "'a'" in question({"image": NAMES, "a": PARTS, "b": PARTS, "label": CLASSES})


@pytest.mark.parametrize("separator", ["|", ";", ",", " | ", ", "])
def test_joined_names_are_recognised_by_their_separator(separator: str) -> None:
    columns = understood({"image": NAMES, "found": [text.replace("|", separator) for text in JOINED]})
    assert (columns.form.form, columns.form.separators, columns.labels) == ("joined", separator.strip(), ("found",))


def test_a_comma_inside_a_class_name_is_not_a_separator() -> None:
    names = {"cat": "carcinoma, ductal", "dog": "carcinoma in situ", "owl": "cyst"}
    assert understood({"image": NAMES, "class": [names[c] for c in CLASSES]}).form.form == "class"


def test_label_columns_hold_0_1_or_nothing() -> None:
    unknown = ["" if i % 7 == 0 else f"{i % 2}.0" for i in range(N)]
    table = {"image": NAMES, "Edema": FLAGS, "Mass": unknown, "note": NAMES[::-1]}
    columns = understood({**table, "note": [f"text {i}" for i in range(N)]})
    assert (columns.form.form, columns.labels, columns.left_out) == ("columns", ("Edema", "Mass"), ("note",))
    with_words = ["maybe", *FLAGS[1:]]
    assert "row 2 has 'maybe'" in question(
        {**table, "Mass": with_words}, label_column=("Edema", "Mass"), file_column="image"
    )


@pytest.mark.parametrize("name", ["sex", "Gender", "is_male", "smoker", "patient_sex"])
def test_0_1_columns_that_may_not_be_labels_are_ambiguous(name: str) -> None:
    table = {"image": NAMES, "Edema": FLAGS, "Mass": OTHER_FLAGS, name: FLAGS}
    message = question(table)
    assert "--label-column" in message and all(repr(column) in message for column in ("Edema", "Mass", name))
    columns = understood(table, label_column=("Edema", "Mass"))
    assert (columns.labels, columns.left_out) == (("Edema", "Mass"), (name,))


def test_a_column_named_label_beside_other_0_1_columns_is_ambiguous() -> None:
    assert "'label', 'portable'" in question({"image": NAMES, "label": FLAGS, "portable": OTHER_FLAGS})


def test_a_class_column_is_recognised_by_its_name_among_others() -> None:
    sites = [("back", "arm", "leg", "face")[i % 4] for i in range(N)]
    table = {"image_id": NAMES, "lesion_id": PATIENTS, "dx": CLASSES, "dx_type": sites, "age": FLAGS, "sex": FLAGS}
    columns = understood(table)
    assert (columns.group, columns.labels, columns.form.form) == ("lesion_id", ("dx",), "class")
    assert columns.left_out == ("dx_type", "age", "sex")


def test_two_columns_that_may_be_the_class_are_ambiguous() -> None:
    table = {"image": NAMES, "kind": CLASSES, "tissue": CLASSES[::-1]}
    message = question(table)
    assert "'kind', 'tissue'" in message and "--label-column" in message
    assert understood(table, label_column=("tissue",)).labels == ("tissue",)
    assert "--label-column" in question({"image": NAMES, "label": CLASSES, "Mass": FLAGS})
    assert "--label-column" in question({"image": NAMES, "Mass": FLAGS, "tissue": CLASSES})


def test_the_only_suitable_column_is_the_class_under_any_name() -> None:
    assert understood({"image": NAMES, "animal seen": CLASSES}).labels == ("animal seen",)


def test_a_table_without_labels_is_an_error() -> None:
    assert "--label-column 'number'" in question({"image": NAMES, "number": [str(i / 7) for i in range(N)]})


@pytest.mark.parametrize(
    ("kind", "column", "form"),
    [
        ("multiclass", FLAGS, "class"),
        ("multilabel", FLAGS, "columns"),
        ("binary", FLAGS, "columns"),
        ("multilabel", CLASSES, "joined"),
        ("multiclass", JOINED, "class"),
        ("binary", CLASSES, "class"),
    ],
)
def test_a_given_kind_decides_the_form(kind: str, column: list[str], form: str) -> None:
    assert understood({"image": NAMES, "label": column}, kind=kind).form.form == form


def test_binary_takes_one_label() -> None:
    table = {"image": NAMES, "Edema": FLAGS, "Mass": OTHER_FLAGS}
    assert "--label-column" in question(table, kind="binary")
    assert "--label-column" in question(table, kind="binary", label_column=("Edema", "Mass"))


@pytest.mark.parametrize(
    "column_overrides",
    [
        {"file_column": "nowhere"},
        {"label_column": ("label", "nowhere")},
        {"group_column": "nowhere"},
        {"label_column": ("label", "label")},
        {"label_column": ("label",), "group_column": "label"},
        {"label_column": ("image",), "file_column": "image"},
    ],
)
def test_given_columns_must_exist_and_fit(column_overrides: dict) -> None:
    question({"image": NAMES, "label": CLASSES}, **column_overrides)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="multilabel"):
        FolderOptions(kind="many")


texts = st.sampled_from(["", "0", "1", "a", "b", "a|b", "a;b", "a,b", "train", "test", "7", "0.5", "nan", *NAMES[:6]])
headers = st.sampled_from(
    ["image", "file", "label", "patient", "group", "sex", "Mass", "class", "x|y", "ß", "1", "split"]
)


@given(st.data())
def test_any_table_is_recognised_or_an_input_error(data: st.DataObject) -> None:
    names = data.draw(st.lists(headers, min_size=1, max_size=5, unique=True))
    n = data.draw(st.integers(1, 12))
    table = {name: data.draw(st.lists(texts, min_size=n, max_size=n)) for name in names}
    kind = data.draw(st.sampled_from([None, "binary", "multilabel", "multiclass"]))
    label = data.draw(st.lists(headers, max_size=2))
    try:
        columns = understood(table, kind=kind, label_column=tuple(label))
    except InputError as error:
        assert "\n" not in str(error)
        return
    used = [columns.file, *columns.labels, *columns.left_out, columns.group, columns.split]
    assert {name for name in used if name} == set(names) and columns.labels


def test_fractions_are_not_classes_under_any_name() -> None:
    spacing = [("0.143", "0.171")[i % 2] for i in range(N)]
    assert understood({"image": NAMES, "class": CLASSES, "target": spacing}).labels == ("class",)
    assert "no column looks like labels" in question({"image": NAMES, "grade": spacing})

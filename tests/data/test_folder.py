"""Class folders and tables of labelled images: each form is read, ambiguous or broken ones are clear errors."""

from pathlib import Path

import numpy as np
import pytest
from labelled_folders import error_of, labelled, note_with, numbered, write_images, write_table

from xlite.data.sources.folder import read_images
from xlite.data.sources.folder_options import FolderOptions

# Class folders


def test_class_folders_are_multiclass_even_with_two(tmp_path: Path) -> None:
    write_images(tmp_path, ["well/a.png", "well/deep/er/b.PNG", "ill/a.png", ".hidden/c.png", "__MACOSX/ill/._a.png"])
    write_images(tmp_path, ["ill/.d.png", "Thumbs.db", "well/Thumbs.db"])
    parsed = read_images(tmp_path)
    assert (parsed.kind, parsed.table.labels, parsed.channels) == ("multiclass", ("ill", "well"), 1)
    assert parsed.table.ids.tolist() == ["ill/a.png", "well/a.png", "well/deep/er/b.PNG"]
    assert parsed.table.targets.tolist() == [[1, 0], [0, 1], [0, 1]] and parsed.table.targets.dtype == np.float32
    assert parsed.table.groups.tolist() == parsed.table.ids.tolist() and parsed.table.official is None
    assert note_with(parsed, "kind:") == "kind: multiclass, 2 classes: ill 1, well 2"
    assert "one patient" in note_with(parsed, "no group column")
    assert "8 x 6 (3) px; grey: 1 channel" in note_with(parsed, "images sampled")


def test_two_classes_are_one_label_with_kind_binary(tmp_path: Path) -> None:
    write_images(tmp_path, ["normal/a.png", "crack/b.png", "normal/c.png"])
    parsed = read_images(tmp_path, options=FolderOptions(kind="binary"))
    assert (parsed.kind, parsed.table.labels) == ("multilabel", ("crack",))
    assert dict(zip(parsed.table.ids, parsed.table.targets[:, 0], strict=True)) == {
        "crack/b.png": 1,
        "normal/a.png": 0,
        "normal/c.png": 0,
    }
    assert "'crack' is 1, 'normal' is 0" in note_with(parsed, "binary")
    write_images(tmp_path, ["other/a.png"])
    assert "3: crack, normal, other" in error_of(tmp_path, options=FolderOptions(kind="binary"))


def test_numbered_classes_are_sorted_by_number(tmp_path: Path) -> None:
    write_images(tmp_path, [f"{i}/a.png" for i in (0, 2, 10)])
    assert read_images(tmp_path).table.labels == ("0", "2", "10")


@pytest.mark.parametrize(
    "parts", [("train", "val", "test"), ("Training", "dev", "testing"), ("train", "valid", "TEST")]
)
def test_part_folders_above_the_classes_are_the_official_parts(tmp_path: Path, parts: tuple[str, ...]) -> None:
    write_images(tmp_path, [f"{part}/{label}/{i}.png" for part in parts for label in "ab" for i in range(2)])
    parsed = read_images(tmp_path)
    assert parsed.table.labels == ("a", "b") and parsed.table.official is not None
    expected = dict(zip(parts, ("train", "val", "test"), strict=True))
    assert parsed.table.official.tolist() == [expected[i.split("/")[0]] for i in parsed.table.ids]
    assert note_with(parsed, "official") == "official parts: test 4, train 4, val 4"


def test_patients_in_several_part_folders_are_counted_and_the_folders_can_be_ignored(tmp_path: Path) -> None:
    write_images(
        tmp_path,
        [f"{part}/{label}/{label}{i}/{part}.png" for part in ("train", "test") for label in "ab" for i in range(6)],
    )
    note = note_with(read_images(tmp_path), "groups: 12 by the folders")
    assert "12 of them are in several of the given parts, e.g. 'a0': --split patient draws a new split" in note
    alone = read_images(tmp_path, options=FolderOptions(split_column="none"))
    assert alone.table.official is None and "several" not in note_with(alone, "groups: 12")


@pytest.mark.parametrize("names", [["train/a/1.png", "other/a/1.png"], ["val/a/1.png", "test/b/1.png"]])
def test_a_part_folder_beside_another_folder_is_ambiguous(tmp_path: Path, names: list[str]) -> None:
    assert "part or a class" in error_of(write_images(tmp_path, names))


def test_images_outside_class_folders_are_left_out_and_counted(tmp_path: Path) -> None:
    write_images(tmp_path, ["a/1.png", "b/1.png", "loose.png", "more.png"])
    assert "2 images in no class folder" in note_with(read_images(tmp_path), "left out")


@pytest.mark.parametrize("names", [[], ["only/1.png"], ["1.png", "2.png"], ["a/1.txt", "b/2.txt"], ["train/1.png"]])
def test_a_folder_without_two_classes_is_an_error(tmp_path: Path, names: list[str]) -> None:
    assert str(tmp_path) in error_of(write_images(tmp_path, names))


def test_no_folder_and_a_given_column_without_a_table_are_refused(tmp_path: Path) -> None:
    assert "no such folder" in error_of(tmp_path / "none")
    write_images(tmp_path, ["a/1.png", "b/1.png"])
    assert "table" in error_of(tmp_path, options=FolderOptions(label_column=("x",)))
    assert "multilabel" in error_of(tmp_path, options=FolderOptions(kind="multilabel"))


def test_links_are_followed_and_one_that_leads_back_up_is_not(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", ["1.png"])
    write_images(tmp_path / "data", ["a/1.png"])
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data")
    assert read_images(tmp_path / "data").table.ids.tolist() == ["a/1.png", "b/1.png"]


# Tables


def test_a_patient_in_two_given_folders_is_refused(tmp_path: Path) -> None:
    names = [f"{part}/{number}.png" for part in ("train", "val", "test") for number in range(4)]
    write_images(tmp_path, names)
    patients = ["p1", "p2", "p3", "p4", "q1", "q2", "q3", "q4", "r1", "r2", "r3", "p1"]
    rows = zip(names, patients, [0, 1] * 6, strict=True)
    write_table(tmp_path / "labels.csv", [["image", "patient", "ill"], *rows])
    assert "'p1' is in several parts of the folders train, val and test" in error_of(tmp_path)


def test_0_1_columns_beside_a_class_column_are_ambiguous(tmp_path: Path) -> None:
    flags, kinds = [0, 1, 0, 1, 0, 1], ["a", "b", "c", "a", "b", "c"]
    folder = labelled(tmp_path, ["smoke", "drink", "diagnostic"], flags, flags[::-1], kinds)
    assert "--label-column" in error_of(folder)


def test_label_columns_with_patients_parts_and_unknowns(tmp_path: Path) -> None:
    flags, unknown = [0, 1, 0, 1, 0, 1], [1, "", 0, 0, "", "0.0"]
    parts, people = ["train", "train", "train", "train", "test", "test"], ["p", "p", "q", "q", "r", "r"]
    folder = labelled(tmp_path, ["Mass", "Edema/severe: 2", "patient", "set"], flags, unknown, people, parts)
    parsed = read_images(folder)
    assert (parsed.kind, parsed.table.labels) == ("multilabel", ("Mass", "Edema/severe: 2"))
    np.testing.assert_array_equal(
        parsed.table.targets, np.array([[0, 1], [1, np.nan], [0, 0], [1, 0], [0, np.nan], [1, 0]], np.float32)
    )
    assert parsed.table.groups.tolist() == people and parsed.table.official.tolist() == parts
    assert parsed.table.ids.tolist() == numbered(6) and parsed.missing == ()
    assert [item.path for item in parsed.table.items] == [folder / name for name in numbered(6)]
    assert "Mass 3, Edema/severe: 2 1 (2 unknown)" in note_with(parsed, "kind: multilabel, 2 labels")
    assert note_with(parsed, "groups") == "groups: 3 by 'patient'"
    assert "'Mass'" in note_with(parsed, "labels.csv") and not any("no group column" in n for n in parsed.notes)


@pytest.mark.parametrize("separator", ["|", ";", ","])
@pytest.mark.parametrize("nothing", ["No Finding", "normal", "NONE", "no_finding"])
def test_joined_names_and_a_name_for_no_label(tmp_path: Path, separator: str, nothing: str) -> None:
    found = [f"Mass{separator}Edema", "Mass", nothing, "Edema", f"Edema{separator} Mass", ""]
    parsed = read_images(labelled(tmp_path, ["findings"], found))
    assert (parsed.kind, parsed.table.labels) == ("multilabel", ("Edema", "Mass"))
    expected = np.array([[1, 1], [0, 1], [0, 0], [1, 0], [1, 1], [np.nan, np.nan]], np.float32)
    np.testing.assert_array_equal(parsed.table.targets, expected)
    assert nothing in note_with(parsed, "means no label") and "1 images unknown" in note_with(parsed, "kind:")


def test_a_name_for_no_label_joined_to_another_is_a_label(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["findings"], ["Mass|normal", "Mass", "normal", "Edema"])
    assert read_images(folder).table.labels == ("Edema", "Mass", "normal")


def test_an_empty_row_of_joined_names_is_ambiguous_without_a_name_for_no_label(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["findings"], ["Mass|Edema", "Mass", "", "Edema"])
    assert "row 4" in error_of(folder) and "No Finding" in error_of(folder)


def test_a_class_column_is_multiclass_and_empty_is_unknown(tmp_path: Path) -> None:
    parsed = read_images(labelled(tmp_path, ["class"], ["b", "a", "", "b", "a", "c"]))
    assert (parsed.kind, parsed.table.labels) == ("multiclass", ("a", "b", "c"))
    assert np.isnan(parsed.table.targets[2]).all() and parsed.table.targets[0].tolist() == [0, 1, 0]
    assert "1 images unknown" in note_with(parsed, "kind:")


def test_a_single_0_1_column_is_one_label_or_with_kind_multiclass_two_classes(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["ill"], [0, 1, 1, 0])
    assert (read_images(folder).kind, read_images(folder).table.labels) == ("multilabel", ("ill",))
    binary = read_images(folder, options=FolderOptions(kind="binary"))
    assert (binary.kind, binary.table.targets.tolist()) == ("multilabel", [[0], [1], [1], [0]])
    classes = read_images(folder, options=FolderOptions(kind="multiclass"))
    assert (classes.kind, classes.table.labels) == ("multiclass", ("0", "1"))


def test_label_columns_that_exclude_one_another_are_classes_with_kind_multiclass(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["A", "B"], [1, 0, 1, ""], [0, 1, 0, ""])
    assert read_images(folder, options=FolderOptions(kind="multiclass")).table.targets[:3].tolist() == [
        [1, 0],
        [0, 1],
        [1, 0],
    ]
    labelled(tmp_path, ["A", "B"], [1, 0, 1], [0, 1, 0])
    assert "--kind multiclass" in note_with(read_images(folder), "exactly one")
    labelled(tmp_path, ["A", "B"], [1, 0, 1], [0, 1, 1])
    assert "row 4 has 2 classes" in error_of(folder, options=FolderOptions(kind="multiclass"))


@pytest.mark.parametrize("name", ["labels.csv", "x.CSV", "labels.tsv", "labels.csv.gz", "labels.tsv.gz", "semi.csv"])
def test_every_table_format_is_read(tmp_path: Path, name: str) -> None:
    delimiter = "\t" if ".tsv" in name else ";" if "semi" in name else ","
    write_images(tmp_path, numbered(4))
    rows = [
        ["", "image", "Mass", "Edema"],
        *([i, n, i % 2, 1 - i % 2] for i, n in enumerate(numbered(4))),
        ["", "", ""],
    ]
    write_table(tmp_path / name, rows, delimiter)
    parsed = read_images(tmp_path)
    assert parsed.table.labels == ("Mass", "Edema") and parsed.table.targets[:, 0].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "written",
    ["images/a/{}.png", "images/a/{}", "a/{}", "{}", "./images/a/{}.png", "../x/data/images/a/{}.png", "images\\a\\{}"],
)
def test_names_may_lack_the_extension_and_lie_in_subfolders(tmp_path: Path, written: str) -> None:
    folder = tmp_path / "x" / "data"
    write_images(folder, [f"images/a/{i}.0.png" for i in range(4)])
    rows = [(written.format(f"{i}.0"), i % 2) for i in range(4)]
    write_table(folder / "labels.csv", [["file", "ill"], *rows])
    parsed = read_images(folder)
    assert [item.path for item in parsed.table.items] == [folder / f"images/a/{i}.0.png" for i in range(4)]
    assert parsed.table.ids.tolist() == [name for name, _ in rows]


def test_a_name_in_another_folder_does_not_match_the_image(tmp_path: Path) -> None:
    write_images(tmp_path, [f"old/{i}.png" for i in range(4)])
    write_table(
        tmp_path / "labels.csv", [["file", "ill"], *((f"{'new' if i else 'old'}/{i}.png", i % 2) for i in range(4))]
    )
    assert "3 of 4 images" in error_of(tmp_path)


def test_a_name_that_matches_two_images_is_ambiguous_unless_one_matches_exactly(tmp_path: Path) -> None:
    write_images(tmp_path, ["a/1.png", "b/1.png", "a/2.png"])
    write_table(tmp_path / "labels.csv", [["file", "ill"], ["1.png", 0], ["2.png", 1]])
    assert "row 2" in error_of(tmp_path) and "a/1.png or b/1.png" in error_of(tmp_path)
    write_images(tmp_path, ["1.png"])
    assert read_images(tmp_path).table.items[0].path == tmp_path / "1.png"


def test_parts_are_read_from_folders_above_the_images_too(tmp_path: Path) -> None:
    names = ["train/0.png", "train/1.png", "test/2.png", "test/3.png"]
    write_images(tmp_path, names)
    write_table(tmp_path / "labels.csv", [["file", "ill"], *((n, i % 2) for i, n in enumerate(names))])
    assert read_images(tmp_path).table.official.tolist() == ["train", "train", "test", "test"]


def test_missing_images_are_counted_and_above_one_percent_refused(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["ill"], [i % 2 for i in range(200)])
    (folder / "scan07.png").unlink()
    parsed = read_images(folder)
    assert parsed.missing == ("scan07.png",) and len(parsed.table) == 199
    assert "scan07.png" in note_with(parsed, "missing: 1 of 200")
    for i in (20, 21):
        (folder / f"scan{i}.png").unlink()
    assert "3 of 200 images (1.5%)" in error_of(folder) and "--allow-missing" in error_of(folder)
    assert len(read_images(folder, allow_missing=True).table) == 197


def test_a_label_whose_only_image_is_missing_is_not_a_label(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["class"], ["a", "b", "a", "b", "c"])
    (folder / "scan04.png").unlink()
    assert read_images(folder, allow_missing=True).table.labels == ("a", "b")


def test_images_that_the_table_does_not_name_are_counted(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["ill"], [0, 1])
    write_images(folder, ["more/x.png", "y.png"])
    assert "2 images on disk" in note_with(read_images(folder), "does not name")


def test_a_row_that_repeats_another_is_kept_once_and_one_that_contradicts_it_is_refused(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["ill"], [0, 1, 0])
    with (folder / "labels.csv").open("a") as file:
        file.write("scan01,1\nscan01.png,1\n")
    parsed = read_images(folder)
    assert len(parsed.table) == 3 and "2 rows that repeat" in note_with(parsed, "left out")
    with (folder / "labels.csv").open("a") as file:
        file.write("scan01.png,0\n")
    message = error_of(folder)
    assert "rows 3 and 7" in message and "'ill'" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "row 1 must name"),
        ("image,ill\n", "no rows"),
        ("scan00.png,1\nscan01.png,0\n", "row 1 names the image"),
        ("image,ill,ill\nscan00.png,1,0\n", "two columns"),
        ("image,ill\nscan00.png,1\n,0\n", "row 3 has no file"),
        ("image,ill\nscan00.png,1\nscan01.png,0,5\n", "row 3 has 3 fields"),
        ("image,ill\nscan00.png,0\nscan01.png,0\n", "use a table with positives"),
        ("image,ill\nscan00.png,1\nscan01.png,1\n", "no label is 0 in any row"),
        ("image,class\nscan00.png,a\nscan01.png,a\n", "only class is 'a'"),
        ("image,findings\nscan00.png,none\nscan01.png,none\n", "only class is 'none'"),
        ("image,ill,set\nscan00.png,1,train\nscan01.png,0,\nscan02.png,0,test\n", "row 3 has no part"),
        ("image,ill,patient,set\nscan00.png,1,p,train\nscan01.png,0,p,test\nscan02.png,0,q,test\n", "'p' is in"),
        ("image,ill\nscan00.png,1\x00\n", "not a table"),
        ('image,ill\n"' + "x" * 200_000 + '",1\n', "not a CSV table"),
        ("image,ill\nother.png,1\nmore.png,0\n", "on disk is 'scan00.png'"),
    ],
)
def test_a_broken_table_is_named_with_the_row(tmp_path: Path, text: str, said: str) -> None:
    write_images(tmp_path, numbered(3))
    (tmp_path / "labels.csv").write_text(text)
    message = error_of(tmp_path)
    assert said in message and "labels.csv" in message


def test_tables_that_are_not_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"image,ill\n\xff\xfe\n")
    assert "UTF-8" in error_of(tmp_path)
    (tmp_path / "labels.csv").rename(tmp_path / "labels.csv.gz")
    assert "gzip" in error_of(tmp_path)


def test_of_several_tables_the_one_that_names_images_is_used(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["ill"], [0, 1, 0])
    (folder / "dictionary.csv").write_text("term,meaning\nill,not well\n")
    assert "dictionary.csv" in note_with(read_images(folder), "names no image")
    (folder / "copy.csv").write_bytes((folder / "labels.csv").read_bytes())
    assert len(read_images(folder).table) == 3
    (folder / "copy.csv").write_text("image,ill\nscan00.png,1\n")
    assert "copy.csv, labels.csv" in error_of(folder)


def test_a_table_beside_class_folders_is_used_only_if_it_names_images(tmp_path: Path) -> None:
    write_images(tmp_path, ["a/1.png", "b/2.png"])
    (tmp_path / "about.csv").write_text("term,meaning\nx,y\n")
    parsed = read_images(tmp_path)
    assert parsed.kind == "multiclass" and "about.csv" in note_with(parsed, "names no image")


def test_an_ambiguous_table_names_the_options(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["Mass", "Edema", "sex"], [0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1])
    assert "--label-column" in error_of(folder)
    parsed = read_images(folder, options=FolderOptions(label_column=("Mass", "Edema")))
    assert parsed.table.labels == ("Mass", "Edema") and "left out: sex" in note_with(parsed, "labels.csv")


# Options that settle how a folder is read


def test_options_for_tables_and_for_folders_are_refused_where_they_would_do_nothing(tmp_path: Path) -> None:
    write_images(tmp_path / "classes", ["a/1.png", "b/2.png", "unsure/3.png"])
    for said in ({"threshold": 0.5}, {"uncertain": "positive"}):
        assert "folders are the classes" in error_of(tmp_path / "classes", options=FolderOptions(**said))
    known = read_images(tmp_path / "classes", options=FolderOptions(unknown=("unsure",)))
    assert known.table.labels == ("a", "b") and np.isnan(known.table.targets[2]).all()
    table = labelled(tmp_path / "table", ["ill"], [0, 1])
    assert "leave out --class-level" in error_of(table, options=FolderOptions(class_level=2))


@pytest.mark.parametrize("values", [["-1"] * 4, ["-1", "", "-1.0", ""]])
def test_a_label_that_is_uncertain_everywhere_is_no_class(tmp_path: Path, values: list[str]) -> None:
    folder = labelled(tmp_path, ["mass"], values)
    assert "no image has a class" in error_of(folder, options=FolderOptions(label_column=("mass",)))


def test_another_positive_than_1_is_refused_for_a_column_of_0_and_1(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["ill"], [0, 1, 1])
    assert "--positive '0' is for a column of two classes" in error_of(folder, options=FolderOptions(positive="0"))
    assert read_images(folder, options=FolderOptions(positive="1")).table.targets.tolist() == [[0], [1], [1]]


def test_uncertain_values_of_classes_in_columns_are_told(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["a", "b"], [1, 0, 1, 0], [-1, 1, 0, 1])
    parsed = read_images(folder, options=FolderOptions(label_column=("a", "b"), kind="multiclass"))
    assert "a 2, b 2" in note_with(parsed, "kind: multiclass") and "1 values" in note_with(parsed, "uncertain (-1)")


def test_a_split_column_without_parts_is_refused_and_other_rows_are_left_out(tmp_path: Path) -> None:
    parts = ["train", "train", "val", "test", "extra", "train"]
    folder = labelled(tmp_path, ["ill", "set", "fold"], [0, 1, 0, 1, 0, 1], parts, list("ABCABC"))
    assert "--split-column 'set'" in error_of(folder) and "--split-column none" in error_of(folder)
    assert "names no part (it has 'a')" in error_of(folder, options=FolderOptions(split_column="fold"))
    parsed = read_images(folder, options=FolderOptions(split_column="set"))
    assert parsed.table.official.tolist() == ["train", "train", "val", "test", "train"]
    assert "'extra' 1" in note_with(parsed, "rows of other parts")
    assert read_images(folder, options=FolderOptions(split_column="none")).table.official is None


def test_a_flag_that_would_make_most_rows_validation_is_asked_about(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["ill", "valid"], [0, 1, 0, 1, 0, 1], [1, 1, 1, 1, 0, 0])
    assert "--split-column 'valid' if these are the val part" in error_of(folder)
    assert read_images(folder, options=FolderOptions(split_column="valid")).table.official.tolist().count("val") == 4
    without = read_images(folder, options=FolderOptions(split_column="none", label_column=("ill",))).table
    assert without.official is None and without.labels == ("ill",)


def test_an_empty_cell_of_a_0_1_split_column_is_refused(tmp_path: Path) -> None:
    folder = labelled(tmp_path, ["ill", "is_valid"], [0, 1, 0, 1], [0, 1, "", 0])
    assert "row 4 has no part in 'is_valid'" in error_of(folder)


def test_rows_whose_names_differ_in_the_suffix_are_found_beside_those_that_fit(tmp_path: Path) -> None:
    write_images(tmp_path, ["0.png", "1.png", "2.PNG", "3.jpg"])
    rows = [(f"{number}.png", number % 2) for number in range(4)]
    write_table(tmp_path / "labels.csv", [["file", "ill"], *rows])
    parsed = read_images(tmp_path)
    assert [item.path.name for item in parsed.table.items] == ["0.png", "1.png", "2.PNG", "3.jpg"]
    assert "2 names in 'file' differ" in note_with(parsed, "alone")


def test_a_row_of_a_folder_stands_for_all_images_below_it(tmp_path: Path) -> None:
    write_images(tmp_path, ["p1/s1/a.png", "p1/s1/deep/b.png", "p1/s10/c.png", "p2/s1/d.png"])
    write_table(tmp_path / "labels.csv", [["study", "ill"], ["p1/s1/", 1], ["p1/s10", 0], [r"p2\s1", 0]])
    parsed = read_images(tmp_path)
    assert dict(zip(parsed.table.ids.tolist(), parsed.table.targets[:, 0].tolist(), strict=True)) == {
        "p1/s1/a.png": 1, "p1/s1/deep/b.png": 1, "p1/s10/c.png": 0, "p2/s1/d.png": 0,
    }  # fmt: skip

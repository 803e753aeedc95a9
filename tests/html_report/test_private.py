"""Paths are taken out of a report's texts, and nothing else is."""

from pathlib import Path

import pytest

from xlite.html_report.parts import Number, Picture, Section, Table
from xlite.html_report.private import cleaned, without_paths


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/data/nih/00000001_000.png: cannot be read", "(path): cannot be read"),
        ("open '/home/x/a.csv' failed", "open '(path)' failed"),
        ("sqlite:////srv/x/study.db is locked", "sqlite://(path) is locked"),
        ("file:///srv/x.png", "(path)"),
        ("C:\\Users\\me\\x.png and ~/x/y.png", "(path) and (path)"),
        ("(/tmp/a,/tmp/b)", "((path),(path))"),
        ("2 of 9 images missing (e.g. 00000001_000.png: missing)", "2 of 9 images missing (e.g. (path): missing)"),
        ("data/nih/images/00000001_000.PNG: unreadable", "(path): unreadable"),
        ("/Users/Ann Lee/My Data/x.dcm: unreadable", "(path): unreadable"),
        ("C:\\Users\\Ann Lee\\x.jpeg and ann.tiff", "(path) and (path)"),
        ("LEE_ANN.MR.0001.IMA, ann.dicom and ann.jp2: unreadable", "(path), (path) and (path): unreadable"),
    ],
)
def test_paths_go_with_their_file_names(text: str, left: str) -> None:
    assert without_paths(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "and/or",
        "N/A",
        "1 / 2",
        "</b>",
        "<script>alert(1)</script>",
        "https://example.org/x",
        "km/h",
        "auc/val",
        "&lt;/b/c",
        "' /C calc'",
        "a\\b",
        "9/10",
        "lr 0.01, see image.pngs",
    ],
)
def test_other_slashes_stay(text: str) -> None:
    assert without_paths(text) == text


def test_a_known_folder_goes_though_its_name_has_a_space() -> None:
    folder = Path("/data/my study")
    assert without_paths(f"{folder}/a.png and {folder}", [folder]) == "(path) and (path)"


def test_every_text_of_a_section_is_cleaned_and_pictures_stay() -> None:
    picture = Picture("data:image/png;base64,/9j/4AAQ/abc", 1, 1, "of /srv/a.png")
    table = Table("of /srv/x", ("a",), (("/srv/y", Number(1.0, "1")),))
    section = cleaned(Section("s", "t", ("in /srv/z",), [table]))
    assert section == Section("s", "t", ("in (path)",), [Table("of (path)", ("a",), (("(path)", Number(1.0, "1")),))])
    assert cleaned(picture) == Picture(picture.uri, 1, 1, "of (path)")

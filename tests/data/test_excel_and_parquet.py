"""Excel and Parquet tables: read as the same table in CSV would be."""

from pathlib import Path

import pandas as pd
import pytest
from labelled_folders import error_of, note_with, numbered, write_images

from xlite.data.sources.folder import read_images
from xlite.data.sources.tables import read_table

LABELS = pd.DataFrame({"image": numbered(6), "severity": ["None", "Mild", "Severe"] * 2, "ill": [0, 1, None] * 2})


@pytest.fixture
def excel(tmp_path: Path) -> Path:
    return tmp_path / "labels.xlsx"


def test_a_sheet_and_a_csv_hold_the_same_text(excel: Path) -> None:
    """Not what pandas makes of it: the word None is a class, not an empty cell."""
    LABELS.to_excel(excel, index=False)
    LABELS.astype({"ill": "Int64"}).to_csv(excel.with_suffix(".csv"), index=False)
    pd.testing.assert_frame_equal(read_table(excel).rows, read_table(excel.with_suffix(".csv")).rows)


def test_two_columns_of_one_name_are_refused_in_a_sheet_too(excel: Path) -> None:
    write_images(excel.parent, numbered(6))
    LABELS.to_excel(excel, index=False, header=["image", "ill", "ill"])
    assert "two columns are named 'ill'" in error_of(excel.parent)


def test_the_first_sheet_with_rows_is_read_and_the_others_are_named(excel: Path) -> None:
    with pd.ExcelWriter(excel) as book:
        LABELS.head(0).to_excel(book, sheet_name="empty", index=False)
        LABELS.to_excel(book, sheet_name="all", index=False)
        LABELS.head(2).to_excel(book, sheet_name="some", index=False)
    table = read_table(excel)
    assert len(table.rows) == 6 and table.notes == ("labels.xlsx: sheet 'all' is read; left out: 'some'",)


@pytest.mark.parametrize("index", [False, True])
def test_parquet_tables_keep_lists_and_a_named_index(tmp_path: Path, index: bool) -> None:
    write_images(tmp_path, numbered(4))
    findings = [["edema", "mass"], ["mass"], ["No Finding"], ["edema"]]
    table = pd.DataFrame({"image": numbered(4), "findings": findings, "age": [61.0, None, 50.0, 44.5]})
    (table.set_index("image") if index else table).to_parquet(tmp_path / "labels.parquet")
    assert read_table(tmp_path / "labels.parquet").rows["age"].tolist() == ["61", "", "50", "44.5"]
    assert "edema 2, mass 2" in note_with(read_images(tmp_path), "kind:")

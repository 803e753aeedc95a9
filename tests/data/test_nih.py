"""Reading NIH ChestX-ray14: the real files, the header's quirk, the lists, each bad input."""

import gzip
import time
from pathlib import Path

import numpy as np
import pytest

from xlite.data.sources import ParsedDataset
from xlite.data.sources.nih import LABELS, read_labels, read_nih
from xlite.data.table import Item
from xlite.errors import InputError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not (SHARED / "nih_mini").is_dir(), reason="the real NIH data is not beside this copy"
)

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
REST = "58,M,PA,2682,2749,0.143,0.143"


def line(image: str, findings: str = "Mass", patient: str = "1", rest: str = REST) -> str:
    return f"{image},{findings},0,{patient},{rest}"


def write_nih(
    folder: Path, lines: list[str], *, images: list[str] | None = None, inside: str = "images", header: str = HEADER
) -> Path:
    """A folder with a label table and, as `inside`/NAME, an empty file for each of `images` (None: each row's)."""
    (folder / "Data_Entry_2017.csv").write_text("\n".join([header, *lines]) + "\n")
    (folder / inside).mkdir(parents=True, exist_ok=True)
    for name in [row.split(",")[0] for row in lines] if images is None else images:
        (folder / inside / name).touch()
    return folder


def write_lists(folder: Path, train: list[str], test: list[str]) -> None:
    (folder / "train_val_list.txt").write_text("\n".join(train))
    (folder / "test_list.txt").write_text("\n".join(test))


def error_of(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_nih(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@needs_shared
def test_the_real_images_are_read_whole() -> None:
    parsed = read_nih(SHARED / "nih_mini")
    counts = dict(zip(LABELS, parsed.table.targets.sum(axis=0).tolist(), strict=True))
    assert len(parsed.table) == 1565 and len(np.unique(parsed.table.groups)) == 1262
    assert (counts["Hernia"], counts["Infiltration"], counts["Pneumonia"]) == (23, 259, 363)
    assert int((parsed.table.targets.sum(axis=1) == 0).sum()) == 683
    assert (parsed.missing, parsed.notes, parsed.table.official) == ((), (), None)
    assert all(
        path.name == name
        for path, name in zip([item.path for item in parsed.table.items], parsed.table.ids, strict=True)
    )


@needs_shared
def test_the_whole_label_table_is_read_in_seconds() -> None:
    start = time.perf_counter()
    table = read_labels(SHARED / "nih_labels").table
    assert time.perf_counter() - start < 10  # it takes about one
    assert table.targets.shape == (112_120, 14) and table.targets.dtype == np.float32
    assert len(np.unique(table.groups)) == 30_805
    assert table.official is not None
    assert [int((table.official == part).sum()) for part in ("train", "test")] == [86_524, 25_596]


def test_findings_become_targets_in_alphabetical_order(tmp_path: Path) -> None:
    rows = [line("a.png", "No Finding"), line("b.png", "Effusion|Pleural_Thickening", "2")]
    table = read_nih(write_nih(tmp_path, rows)).table
    assert table.targets.tolist() == [
        [0] * 14,
        [float(label in ("Effusion", "Pleural_Thickening")) for label in LABELS],
    ]
    assert table.ids.tolist() == ["a.png", "b.png"] and table.groups.tolist() == ["1", "2"]
    assert list(LABELS) == sorted(LABELS)


@pytest.mark.parametrize(
    ("header", "rest"),
    [
        (HEADER + ",", REST + ","),  # the first release ends each line with a comma
        (HEADER + ",", REST),
        (HEADER, REST + ","),
        (HEADER.replace("OriginalImage[Width,Height]", '"OriginalImage[Width,Height]"'), REST),
        ("\ufeff" + HEADER, REST),
        (HEADER, "58"),
        ("Finding Labels, Image Index", None),
    ],
)
def test_header_and_rows_may_differ_in_width(tmp_path: Path, header: str, rest: str | None) -> None:
    if rest is None:
        header, rows = "Patient ID,Image Index,Finding Labels", ["1,a.png,Mass,more", "2,b.png,Edema"]
    else:
        rows = [line("a.png", "Mass", rest=rest), line("b.png", "Edema", "2", rest=REST)]
    table = read_nih(write_nih(tmp_path, rows, images=["a.png", "b.png"], header=header)).table
    assert table.groups.tolist() == ["1", "2"]
    assert [LABELS[int(row.argmax())] for row in table.targets] == ["Mass", "Edema"]


@pytest.mark.parametrize("inside", ["images_001/images", "images_002", "images", "."])
def test_images_are_found_wherever_they_are_unpacked(tmp_path: Path, inside: str) -> None:
    table = read_nih(write_nih(tmp_path, [line("a.png")], inside=inside)).table
    assert table.items == (Item((tmp_path / inside / "a.png",)),)


def test_gzipped_tables_and_lists_are_read(tmp_path: Path) -> None:
    write_nih(tmp_path, [line("a.png"), line("b.png", patient="2")])
    write_lists(tmp_path, ["a.png"], ["b.png"])
    for name in ("Data_Entry_2017.csv", "train_val_list.txt", "test_list.txt"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    table = read_nih(tmp_path).table
    assert table.official is not None and table.official.tolist() == ["train", "test"]


def test_a_table_and_its_gzipped_copy_are_one_table(tmp_path: Path) -> None:
    write_nih(tmp_path, [line("a.png")])
    text = (tmp_path / "Data_Entry_2017.csv").read_bytes()
    (tmp_path / "Data_Entry_2017_v2020.csv.gz").write_bytes(gzip.compress(text))
    assert len(read_nih(tmp_path).table) == 1
    (tmp_path / "Data_Entry_2017_v2020.csv.gz").write_bytes(gzip.compress(text + b"\n"))
    message = error_of(tmp_path)
    assert "Data_Entry_2017.csv, Data_Entry_2017_v2020.csv.gz differ" in message and str(tmp_path) in message


def test_blank_lines_do_not_shift_row_numbers(tmp_path: Path) -> None:
    message = error_of(write_nih(tmp_path, [line("a.png"), "", line("b.png", "Masss")], images=["a.png"]))
    assert "row 4 has the unknown label 'Masss'; known are Atelectasis, " in message


def test_images_without_a_row_and_repeated_images_are_noted(tmp_path: Path) -> None:
    write_nih(tmp_path, [line("a.png"), line("b.png")], images=["a.png", "b.png", "c.png", "d.png"])
    (tmp_path / "images_001").mkdir()
    (tmp_path / "images_001" / "b.png").touch()
    parsed = read_nih(tmp_path)
    assert parsed.table.ids.tolist() == ["a.png", "b.png"]
    assert parsed.notes == (
        f"{tmp_path}: 1 images are in two folders, e.g. b.png",
        f"{tmp_path}: 2 images on disk are not in the table; they are left out",
    )
    assert parsed.table.items[1].path == tmp_path / "images_001" / "b.png"


def hundred(folder: Path, *, absent: int) -> Path:
    names = [f"{i:03}.png" for i in range(100)]
    return write_nih(folder, [line(name) for name in names], images=names[absent:])


def test_one_percent_of_missing_images_is_left_out(tmp_path: Path) -> None:
    parsed = read_nih(hundred(tmp_path, absent=1))
    assert parsed.missing == ("000.png",) and len(parsed.table) == 99


def test_more_than_one_percent_missing_is_refused_unless_allowed(tmp_path: Path) -> None:
    message = error_of(hundred(tmp_path, absent=2))
    assert "2 of 100 images (2.0%) are missing, e.g. 000.png; add them or pass --allow-missing" in message
    parsed = read_nih(tmp_path, allow_missing=True)
    assert parsed.missing == ("000.png", "001.png") and parsed.table.ids[0] == "002.png"


def test_no_image_at_all_is_refused_even_if_missing_is_allowed(tmp_path: Path) -> None:
    hundred(tmp_path, absent=100)
    with pytest.raises(InputError, match="none of the 100 images is there"):
        read_nih(tmp_path, allow_missing=True)


def test_one_official_list_alone_is_left_out_with_a_note(tmp_path: Path) -> None:
    write_nih(tmp_path, [line("a.png")])
    (tmp_path / "test_list.txt").write_text("a.png")
    parsed: ParsedDataset = read_nih(tmp_path)
    assert parsed.table.official is None
    expected = f"{tmp_path}: test_list.txt exists but train_val_list.txt does not; the official split is not used"
    assert parsed.notes == (expected,)


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (["a.png"], ["c.png"], "b.png is on neither (1 such images)"),
        (["a.png", "b.png"], ["b.png", "c.png"], "b.png is on both"),
        (["a.png"], ["b.png", "c.png"], "patient 1 is on both (1 such patients)"),
    ],
)
def test_official_lists_must_not_share_patients(
    tmp_path: Path, train: list[str], test: list[str], expected: str
) -> None:
    write_nih(tmp_path, [line("a.png"), line("b.png"), line("c.png", patient="2")])
    write_lists(tmp_path, train, test)
    message = error_of(tmp_path)
    assert expected in message and "train_val_list.txt and test_list.txt" in message


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "no rows"),
        ([line("a.png", "")], "row 2 has no Finding Labels"),
        ([line("a.png", "Mass|")], "row 2 has the unknown label ''"),
        ([line("a.png", "Mass|No Finding")], "row 2 has 'Mass|No Finding', both 'No Finding' and a finding"),
        ([line("a.png"), line("b.png"), line("a.png")], "a.png is in rows 2 and 4"),
        ([line("a.png", "No Finding")], "no image has any of the 14 findings"),
        ([line("a.png"), line("b.png", patient=" ")], "row 3 has no Patient ID"),
        ([line("a.png"), "b.png,Mass"], "row 3 has no Patient ID"),
        ([line("../a.png")], "row 2 has Image Index '../a.png'; write a plain file name"),
        ([line("x\\a.png")], "row 2 has Image Index 'x\\\\a.png'"),
        ([line("")], "row 2 has Image Index ''"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, rows: list[str], expected: str) -> None:
    message = error_of(write_nih(tmp_path, rows, images=[]))
    assert expected in message and str(tmp_path / "Data_Entry_2017.csv") in message


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    message = error_of(write_nih(tmp_path, [line("a.png")], header=HEADER.replace("Patient ID", "Patient")))
    assert f"{tmp_path / 'Data_Entry_2017.csv'}: no column 'Patient ID'" in message


def test_a_folder_without_a_table_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path}: no Data_Entry_2017*.csv" in error_of(tmp_path)
    assert "no such folder" in error_of(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "not a folder" in error_of(tmp_path / "file")
    (tmp_path / "Data_Entry_2017.csv").touch()
    assert "no column 'Image Index'" in error_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("Data_Entry_2017.csv.gz", gzip.compress(HEADER.encode(), mtime=0)[:-9], "damaged gzip file"),
        ("Data_Entry_2017.csv.gz", b"plain", "damaged gzip file"),
        ("Data_Entry_2017.csv", b"\xff\xfe\x00", "not UTF-8 text"),
        ("Data_Entry_2017.csv", f'{HEADER}\na.png,"Mass'.encode(), "not a CSV table"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    message = error_of(tmp_path)
    assert expected in message and str(tmp_path / name) in message

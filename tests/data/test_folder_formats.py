"""Folders of images in mixed formats, random tables, and the real images in every layout."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelled_folders import PNG, note_with, write_images, write_table

from xlite.data.sources import ParsedDataset
from xlite.data.sources.folder import read_images
from xlite.data.sources.folder_options import FolderOptions
from xlite.data.sources.nih import LABELS, read_nih
from xlite.errors import InputError

# Formats


def test_mixed_sizes_and_formats_are_described_and_colour_is_seen(tmp_path: Path) -> None:
    grey = np.tile(np.arange(40, dtype=np.uint8) * 5, (30, 1))
    for i, ending in enumerate([".png", ".jpg", ".JPEG", ".tif", ".tiff", ".bmp"]):
        place = tmp_path / "ab"[i % 2]
        place.mkdir(exist_ok=True)
        (place / f"{i}{ending}").write_bytes(cv2.imencode(ending.lower(), grey[: 30 - i % 3])[1].tobytes())
    rgb_of_grey = cv2.imencode(".jpg", cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))[1].tobytes()
    (tmp_path / "a" / "grey_in_colour.jpg").write_bytes(rgb_of_grey)
    (tmp_path / "a" / "damaged.png").write_bytes(PNG.tobytes()[:20])
    parsed = read_images(tmp_path)
    assert parsed.channels == 1 and len(parsed.table) == 8
    line = note_with(parsed, "images sampled")
    assert "40 x 30 (3), 40 x 28 (2), 40 x 29 (2)" in line and "grey" in line and "1 cannot be opened" in line
    colour = np.dstack([grey, grey[:, ::-1], grey])
    (tmp_path / "b" / "stain.png").write_bytes(cv2.imencode(".png", colour)[1].tobytes())
    assert read_images(tmp_path).channels == 3


def write_dicom(path: Path) -> None:
    dicom = pytest.importorskip("pydicom")
    meta = dicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = dicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    image = dicom.Dataset()
    image.file_meta = meta
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.Rows, image.Columns, image.SamplesPerPixel = 6, 8, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelData = np.arange(48, dtype="<u2").tobytes()
    image.save_as(path, enforce_file_format=True)


def test_dicom_files_without_a_suffix_count_where_the_table_names_them(tmp_path: Path) -> None:
    for name in ("1.2.840.1", "1.2.840.2", "unnamed"):
        write_dicom(tmp_path / name)
    (tmp_path / "README").write_text("no image")
    write_table(tmp_path / "labels.csv", [["uid", "ill"], ["1.2.840.1", 0], ["1.2.840.2", 1]])
    parsed = read_images(tmp_path)
    assert [item.path.name for item in parsed.table.items] == ["1.2.840.1", "1.2.840.2"]
    assert "8 x 6 (2)" in note_with(parsed, "images sampled") and parsed.channels == 1


def test_class_folders_take_dicom_files_with_and_without_a_suffix(tmp_path: Path) -> None:
    for name in ("a/1.dcm", "b/2.DCM", "b/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_dicom(tmp_path / name)
    assert read_images(tmp_path).table.ids.tolist() == ["a/1.dcm", "b/2.DCM", "b/3"]


# Anything at all


@pytest.fixture(scope="module")
def six_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(
        tmp_path_factory.mktemp("fuzz"), ["0.png", "1.png", "a/2.png", "a/0.png", "b/x.1.png", "train/y.png"]
    )


cells = st.sampled_from(
    [
        "",
        "0",
        "1",
        "2",
        "0.png",
        "1.png",
        "a/2",
        "x.1",
        "y",
        "/",
        "..",
        "train",
        "test",
        "m|n",
        "m",
        "none",
        "\x85",
        "é",
        "'",
    ]
)
headers = st.sampled_from(["image", "label", "patient", "group", "sex", "Mass", "", "set", "0", "|", "file.png"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.lists(headers, max_size=4),
    rows=st.lists(st.lists(cells, max_size=5), max_size=8),
    kind=st.sampled_from([None, "binary", "multilabel", "multiclass"]),
    allow_missing=st.booleans(),
    name=st.sampled_from(["t.csv", "t.tsv", "t.csv.gz"]),
)
def test_any_table_is_parsed_or_a_clear_error(six_images, header, rows, kind, allow_missing, name) -> None:
    path = six_images / name
    write_table(path, [header, *rows], "\t" if "tsv" in name else ",")
    try:
        parsed = read_images(six_images, allow_missing=allow_missing, options=FolderOptions(kind=kind))
    except InputError as error:
        assert "\n" not in str(error)
        return
    finally:
        path.unlink()
    values = parsed.table.targets
    assert len(parsed.table) and set(np.unique(values[~np.isnan(values)])) <= {0, 1} and (values == 1).any()
    assert len(set(parsed.table.ids)) == len(parsed.table) and all(item.path.is_file() for item in parsed.table.items)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=80))
def test_any_bytes_for_a_table_are_parsed_or_a_clear_error(six_images, data: bytes) -> None:
    (six_images / "t.csv").write_bytes(b"image,label\n0.png," + data)
    try:
        read_images(six_images)
    except InputError as error:
        assert "\n" not in str(error)
    finally:
        (six_images / "t.csv").unlink()


# The real images, laid out anew


@pytest.fixture(scope="module")
def real(nih_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ParsedDataset]:
    """A folder with links to the real images in sub-folders, and what NIH's own reader says of them."""
    parsed = read_nih(nih_mini)
    folder = tmp_path_factory.mktemp("real")
    for item in parsed.table.items:
        place = folder / "images" / item.path.name[:5]
        place.mkdir(parents=True, exist_ok=True)
        (place / item.path.name).symlink_to(item.path)
    return folder, parsed


@pytest.mark.parametrize("form", ["columns", "joined |", "joined ;", "joined ,", "as distributed"])
def test_the_real_images_are_read_the_same_from_every_form_of_table(
    real, nih_mini: Path, tmp_path: Path, form: str
) -> None:
    folder, nih = real
    (tmp_path / "images").symlink_to(folder / "images")
    table = nih.table
    if form == "as distributed":
        (tmp_path / "Data_Entry.csv").write_bytes((nih_mini / "Data_Entry_2017_v2020.csv").read_bytes())
    elif form == "columns":
        rows = zip(table.ids.tolist(), table.groups.tolist(), *table.targets.T.astype(int).tolist(), strict=True)
        write_table(tmp_path / "t.tsv", [["image", "patient_id", *LABELS], *rows], "\t")
    else:
        joined = [form[-1].join(np.array(LABELS)[row == 1]) or "No Finding" for row in table.targets]
        rows = zip([name[:-4] for name in table.ids], table.groups.tolist(), joined, strict=True)
        write_table(tmp_path / "t.csv.gz", [["id", "subject", "findings"], *rows])
    parsed = read_images(tmp_path)
    assert (parsed.kind, parsed.table.labels, parsed.channels) == ("multilabel", LABELS, 1)
    np.testing.assert_array_equal(parsed.table.targets, table.targets)
    assert parsed.table.groups.tolist() == table.groups.tolist()
    assert [i.path.name for i in parsed.table.items] == [i.path.name for i in table.items]
    assert "groups: 1262" in note_with(parsed, "groups") and "256 x 256 (300) px; grey" in note_with(
        parsed, "images sampled"
    )


def test_the_real_images_read_as_class_folders_and_as_a_class_column(real, tmp_path: Path) -> None:
    _, nih = real
    single = [row for row in range(len(nih.table)) if nih.table.targets[row].sum() <= 1]
    classes = [(*np.array(LABELS)[nih.table.targets[row] == 1], "No Finding")[0] for row in single]
    for row, name in zip(single, classes, strict=True):
        path = nih.table.items[row].path
        (tmp_path / "data" / "xrays" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "xrays" / name / path.name).symlink_to(path)
    by_folder = read_images(tmp_path / "data" / "xrays")
    assert by_folder.kind == "multiclass" and by_folder.table.labels == tuple(sorted(set(classes)))
    rows = zip(nih.table.ids[single].tolist(), classes, nih.table.groups[single].tolist(), strict=True)
    write_table(tmp_path / "data" / "t.csv", [["image", "diagnosis", "patient"], *rows])
    by_table = read_images(tmp_path / "data")
    of_folder = dict(zip((i.path.name for i in by_folder.table.items), by_folder.table.targets.tolist(), strict=True))
    assert by_table.table.labels == by_folder.table.labels and by_table.kind == "multiclass"
    assert of_folder == dict(zip(by_table.table.ids.tolist(), by_table.table.targets.tolist(), strict=True))

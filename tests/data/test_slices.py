"""Stacks of slices: windows, crop and size; unreadable ones; views as a function of seed, row and view number."""

import json
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from conftest import SHARED
from pydicom.dataset import Dataset, FileMetaDataset

from xlite.data import slices
from xlite.data.slices import SlicePreprocess, augment_slices
from xlite.data.sources.rsna import LEVELS, read_rsna
from xlite.data.table import Item
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError

REAL = SHARED / "lumbar_slices"
# Columns of the canal in three patients' middle slices, read off the pictures at rows 40, 72, 104, 136 and 168.
CANAL = {"107": (160, 155, 151, 154, 179), "110": (166, 165, 159, 160, 174), "118": (161, 155, 146, 141, 147)}


def write(path: Path, pixels: np.ndarray) -> Path:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "2.25.1"
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelData = pixels.astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, num: int = 3, *, height: int = 80, width: int = 60) -> list[Path]:
    rng = np.random.default_rng(0)
    return [write(folder / f"{k}.dcm", rng.integers(0, 3000, (height, width)) + 500 * k) for k in range(num)]


def item(paths: list[Path], x: float = 30, y: float = 40, radius: float = 10) -> Item:
    return Item(tuple(paths), json.dumps({"x": x, "y": y, "radius": radius}))


def test_a_stack_has_the_declared_shape_and_type(tmp_path: Path) -> None:
    made = SlicePreprocess(32, num_slices=3)
    pixels = made.read(item(series(tmp_path)))
    spec = made.input_spec
    assert spec.shape == (3, 32, 32, 3) == pixels.shape and pixels.dtype == np.dtype(spec.dtype) == np.uint8
    assert SlicePreprocess(32).input_spec.num_slices == 7


def test_the_crop_is_the_square_around_the_point(tmp_path: Path) -> None:
    picture = np.full((80, 60), 100)
    picture[30:50, 20:40] = 2000
    stack = SlicePreprocess(20, num_slices=1, clahe_clip=40).read(item([write(tmp_path / "1.dcm", picture)]))
    assert len(np.unique(stack[0, 2:-2, 2:-2, 2])) <= 40 and stack.min() > 100  # the bright square alone
    beside = SlicePreprocess(20, num_slices=1).read(item([tmp_path / "1.dcm"], x=20))
    assert beside[0, :, :8, 2].max() < beside[0, :, 12:, 2].min()  # its left edge in the middle


def test_a_crop_beyond_the_edge_repeats_it(tmp_path: Path) -> None:
    stack = SlicePreprocess(20, num_slices=1).read(item(series(tmp_path, 1), x=0, y=40))
    assert (stack[0, :, :10] == stack[0, :, :1]).all() and not (stack[0, :, 10:] == stack[0, :, :1]).all()


def test_channels_are_wide_narrow_and_whole_windows_of_the_stack(tmp_path: Path, monkeypatch) -> None:
    class NoClahe:
        def apply(self, pixels: np.ndarray) -> np.ndarray:
            return pixels

    monkeypatch.setattr(slices.cv2, "createCLAHE", lambda *_: NoClahe())
    ramp = np.arange(6400).reshape(80, 80)
    paths = [write(tmp_path / "1.dcm", ramp), write(tmp_path / "2.dcm", ramp)]
    stack = SlicePreprocess(80, num_slices=2).read(item(paths, x=40, y=40, radius=40))
    assert np.array_equal(stack[0], stack[1])
    for channel, (low, high) in enumerate([(0.5, 99.5), (20, 98), (0, 100)]):
        first, last = np.percentile(ramp, [low, high])
        expected = np.rint(((ramp - first) / (last - first) * 255).clip(0, 255))
        assert np.abs(stack[0, :, :, channel] - expected).max() <= 1


def test_a_constant_stack_is_read_without_division_by_zero(tmp_path: Path) -> None:
    stack = SlicePreprocess(16, num_slices=1).read(item([write(tmp_path / "1.dcm", np.full((80, 60), 7))]))
    assert len(np.unique(stack)) == 1


def test_a_repeated_slice_is_read_once_and_repeated_in_order(tmp_path: Path, monkeypatch) -> None:
    first, second, _ = series(tmp_path)
    read: list[Path] = []
    real = slices.read_dicom
    monkeypatch.setattr(slices, "read_dicom", lambda path: (read.append(path), real(path))[1])
    stack = SlicePreprocess(16, num_slices=4).read(item([first, first, second, second]))
    assert read == [first, second]
    assert np.array_equal(stack[0], stack[1]) and np.array_equal(stack[2], stack[3])
    assert not np.array_equal(stack[1], stack[2])


@pytest.mark.parametrize(("x", "y"), [(60, 40), (-0.5, 40), (30, 80), (30, -1), (float("nan"), 40)])
def test_a_point_outside_the_image_is_unreadable(tmp_path: Path, x: float, y: float) -> None:
    with pytest.raises(UnreadableImage, match="outside the 60x80 px image"):
        SlicePreprocess(16, num_slices=3).read(item(series(tmp_path), x=x, y=y))


def test_slices_of_different_sizes_are_unreadable_and_the_odd_one_is_named(tmp_path: Path) -> None:
    paths = series(tmp_path)
    write(paths[1], np.zeros((64, 64)))
    with pytest.raises(UnreadableImage, match=r"different sizes .*: 64x64, 0\.dcm 60x80 px") as refused:
        SlicePreprocess(16, num_slices=3).read(item(paths))
    assert refused.value.path == paths[1]


def test_a_damaged_slice_is_unreadable_and_named(tmp_path: Path) -> None:
    paths = series(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:-500])
    with pytest.raises(UnreadableImage, match="damaged DICOM") as refused:
        SlicePreprocess(16, num_slices=3).read(item(paths))
    assert refused.value.path == paths[2]


@pytest.mark.parametrize("radius", [0.0, 1e9])
def test_a_huge_radius_costs_no_more_than_the_image(tmp_path: Path, radius: float) -> None:
    assert SlicePreprocess(16, num_slices=3).read(item(series(tmp_path), radius=radius)).shape == (3, 16, 16, 3)


@pytest.mark.parametrize("field", ["image_size", "num_slices", "clahe_clip", "clahe_tiles"])
def test_parameters_out_of_range_are_refused(field: str) -> None:
    with pytest.raises(InputError, match=f"{field} must be"):
        SlicePreprocess(**{"image_size": 32, field: 0})


def stacks(num: int = 6) -> np.ndarray:
    rng = np.random.default_rng(1)
    small = rng.integers(60, 190, (num, 5, 6, 6, 3), dtype=np.uint8)
    large = [[cv2.resize(one, (24, 24), interpolation=cv2.INTER_CUBIC) for one in stack] for stack in small]
    return np.array(large, dtype=np.uint8)


ROWS, VIEWS = np.array([4, 9, 2, 4, 7, 0]), np.array([0, 0, 1, 1, 2, 3])


@pytest.mark.parametrize("preset", ["light", "medium", "strong"])
def test_a_view_is_a_function_of_seed_row_and_view_only(preset) -> None:
    pixels = stacks()
    whole = augment_slices(pixels, ROWS, VIEWS, preset=preset, seed=3)
    assert whole.shape == pixels.shape and whole.dtype == np.uint8
    order = np.array([5, 0, 3])
    assert np.array_equal(augment_slices(pixels[order], ROWS[order], VIEWS[order], preset=preset, seed=3), whole[order])
    same = np.repeat(pixels[:1], 3, axis=0)
    views = augment_slices(same, np.array([4, 4, 5]), np.array([0, 1, 0]), preset=preset, seed=3)
    assert not np.array_equal(views[0], views[1]) and not np.array_equal(views[0], views[2])
    assert not np.array_equal(augment_slices(pixels, ROWS, VIEWS, preset=preset, seed=4), whole)


def test_no_augmentation_is_a_copy() -> None:
    pixels = stacks()
    made = augment_slices(pixels, ROWS, VIEWS, preset="none", seed=0)
    assert np.array_equal(made, pixels) and not np.shares_memory(made, pixels)


def marked(num: int) -> np.ndarray:
    """Stacks whose slice t has the level 50 + 20 t and a bright patch on the left."""
    pixels = np.zeros((num, 5, 24, 24, 3), dtype=np.uint8)
    pixels += (50 + 20 * np.arange(5, dtype=np.uint8))[None, :, None, None, None]
    pixels[:, :, 8:16, 2:8] += 60
    return pixels


@pytest.mark.parametrize(("preset", "share"), [("light", 0.0), ("medium", 0.5), ("strong", 0.5)])
def test_order_is_reversed_with_the_preset_probability_and_slices_are_never_flipped(preset, share: float) -> None:
    made = augment_slices(marked(200), np.arange(200), np.zeros(200, int), preset=preset, seed=0).astype(float)
    level = made[:, :, :4, 18:].mean(axis=(2, 3, 4))
    rising = (np.diff(level, axis=1) >= 0).all(axis=1)
    falling = (np.diff(level, axis=1) <= 0).all(axis=1)
    assert (rising ^ falling).all() and abs(falling.mean() - share) <= (0.12 if share else 0)
    assert (made[:, :, 8:16, 2:8].mean(axis=(1, 2, 3, 4)) > made[:, :, 8:16, 16:22].mean(axis=(1, 2, 3, 4))).all()


def test_all_slices_and_windows_of_a_stack_get_one_transform() -> None:
    pixels = np.repeat(np.repeat(stacks(4)[:, :1, :, :, :1], 5, axis=1), 3, axis=4)
    made = augment_slices(pixels, ROWS[:4], VIEWS[:4], preset="strong", seed=0)
    assert (made == made[:, :1, :, :, :1]).all() and not np.array_equal(made, pixels)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real lumbar slices are not here ({REAL})")
def test_real_slices_written_as_series_come_back_in_order_with_a_bright_canal(tmp_path: Path) -> None:
    points = ["study_id,series_id,instance_number,condition,level,x,y"]
    grades = ["study_id," + ",".join(f"spinal_canal_stenosis_{level.lower().replace('/', '_')}" for level in LEVELS)]
    for patient in CANAL:
        paths = sorted(REAL.glob(f"{patient}_t2_SPACE_slice*.png"))
        for number, path in enumerate(paths, start=1):
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16) * 16
            write(tmp_path / "train_images" / patient / "5" / f"{number}.dcm", picture)
        grades.append(",".join([patient, *["Normal/Mild"] * 5]))
        points += [
            f"{patient},5,{len(paths) // 2},Spinal Canal Stenosis,{level},{x},{40 + 32 * k}"
            for k, (level, x) in enumerate(zip(LEVELS, CANAL[patient], strict=True))
        ]
    lines = ["study_id,series_id,series_description", *(f"{patient},5,Sagittal T2/STIR" for patient in CANAL)]
    for name, table in (("train", grades), ("train_series_descriptions", lines), ("train_label_coordinates", points)):
        (tmp_path / f"{name}.csv").write_text("\n".join(table))
    table = read_rsna(tmp_path).table
    assert len(table) == 15
    for one in table.items:
        assert [int(path.stem) for path in one.paths] == list(range(int(one.path.stem), int(one.path.stem) + 7))
        stack = SlicePreprocess(96).read(one)
        columns = stack[3, 36:60, :, 0].mean(axis=0)
        fluid = columns[24:72].max()  # not at the very middle: where there is a cord, it is dark
        assert fluid > 1.5 * columns[:24].mean()  # against the body in front of the canal
        neighbours = np.abs(stack[3].astype(int) - stack[4]).mean()
        assert 0 < neighbours < np.abs(stack[0].astype(int) - stack[6]).mean()
    middle = table.items[0].paths[3]
    source = sorted(REAL.glob("107_t2_SPACE_slice*.png"))[int(middle.stem) - 1]
    assert np.array_equal(pydicom.dcmread(middle).pixel_array // 16, cv2.imread(str(source), cv2.IMREAD_UNCHANGED))

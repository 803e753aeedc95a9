"""DICOM as a viewer shows it: padding never stretches the range, tables and windows are applied, larger is brighter."""

from pathlib import Path

import numpy as np
import pytest
from image_cases import make
from image_cases.drawing import dcm
from pydicom.dataset import Dataset

from xlite.data.dicom import read_colour_or_grey

RAMP = np.arange(0, 2000, 5, dtype=np.int16).reshape(20, 20)  # 400 values, evenly spread


def shown(tmp_path: Path, stored: np.ndarray, **tags: object) -> np.ndarray:
    dcm(tmp_path / "1.dcm", stored, **tags)
    picture = read_colour_or_grey(tmp_path / "1.dcm")
    assert picture.dtype == np.uint8 and picture.shape == stored.shape
    return picture


def framed(fill: int, kind: type[np.integer] = np.int16) -> np.ndarray:
    """RAMP inside a frame of `fill`."""
    return np.pad(RAMP.astype(kind), 6, constant_values=fill)


def table(entries: list[int], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(entries), first, bits], entries
    for name in ("LUTDescriptor", "LUTData"):
        item[name].VR = "US"
    return item


def test_without_a_window_the_range_is_the_middle_99_percent(tmp_path: Path) -> None:
    low, high = np.percentile(RAMP, [0.5, 99.5])
    expected = np.rint(255 * ((RAMP - low) / (high - low)).clip(0, 1))
    assert np.abs(shown(tmp_path, RAMP) - expected).max() <= 1
    hot = RAMP.copy()
    hot[0, 0] = 30_000
    assert np.abs(shown(tmp_path, hot)[1:].astype(int) - expected[1:]).max() <= 1


@pytest.mark.parametrize(
    ("fill", "kind", "tags"),
    [
        (-2000, np.int16, {"PixelPaddingValue": -2000}),
        (-2000, np.int16, {}),  # as many CT scanners: never declared
        (30_000, np.int16, {}),
        (-1500, np.int16, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1000}),
        (2100, np.uint16, {"PixelPaddingValue": 2100}),  # too near to stand apart by itself
    ],
)
def test_padding_does_not_stretch_the_range(tmp_path: Path, fill: int, kind: type[np.integer], tags: dict) -> None:
    inside = shown(tmp_path, framed(fill, kind), **tags)[6:-6, 6:-6].astype(int)
    assert np.abs(inside - shown(tmp_path, RAMP)).max() <= 1
    assert inside.min() == 0 and inside.max() == 255


@pytest.mark.parametrize("colours", ["MONOCHROME1", "MONOCHROME2"])
def test_declared_padding_is_black(tmp_path: Path, colours: str) -> None:
    picture = shown(tmp_path, framed(2100, np.uint16), PixelPaddingValue=2100, PhotometricInterpretation=colours)
    assert not picture[:6].any() and picture[6:-6, 6:-6].any()


def test_a_signed_padding_value_written_as_unsigned_is_the_same(tmp_path: Path) -> None:
    import pydicom

    dcm(tmp_path / "1.dcm", framed(-300), PixelPaddingValue=-300)
    dataset = pydicom.dcmread(tmp_path / "1.dcm")
    declared = read_colour_or_grey(tmp_path / "1.dcm")
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 300)
    dataset.save_as(tmp_path / "1.dcm")
    assert np.array_equal(read_colour_or_grey(tmp_path / "1.dcm"), declared) and not declared[:6].any()


def test_all_padding_is_an_image_like_any_other_and_one_value_is_black(tmp_path: Path) -> None:
    assert not shown(tmp_path, np.full((8, 8), 7, np.uint16), PixelPaddingValue=7).any()
    assert not shown(tmp_path, np.full((8, 8), 7, np.uint16), PhotometricInterpretation="MONOCHROME1").any()


def test_the_window_counts_after_slope_and_intercept(tmp_path: Path) -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 40.5, "WindowWidth": 401}  # -160 to 240
    expected = np.rint(255 * ((RAMP * 2.0 - 1024 + 160) / 400).clip(0, 1))
    assert np.abs(shown(tmp_path, RAMP, **tags) - expected).max() <= 1


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    one = shown(tmp_path, RAMP, WindowCenter=600, WindowWidth=300)
    assert np.array_equal(shown(tmp_path, RAMP, WindowCenter=[600, 40], WindowWidth=[300, 80]), one)


def test_a_window_may_be_an_s(tmp_path: Path) -> None:
    picture = shown(tmp_path, RAMP, WindowCenter=1000, WindowWidth=800, VOILUTFunction="SIGMOID")
    assert np.abs(picture - 255 / (1 + np.exp(-4 * (RAMP - 1000.0) / 800))).max() <= 1


@pytest.mark.parametrize("window", [{"WindowCenter": 90_000, "WindowWidth": 10}, {"WindowCenter": 9, "WindowWidth": 0}])
def test_a_window_that_shows_nothing_is_ignored(tmp_path: Path, window: dict) -> None:
    assert np.array_equal(shown(tmp_path, RAMP, **window), shown(tmp_path, RAMP))


def test_larger_is_brighter_with_monochrome1_too(tmp_path: Path) -> None:
    plain = shown(tmp_path, RAMP, WindowCenter=900, WindowWidth=500)
    turned = shown(tmp_path, RAMP, WindowCenter=900, WindowWidth=500, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(turned, 255 - plain)


def test_a_modality_table_is_applied(tmp_path: Path) -> None:
    """Half of this set is stored inverted, with a table that turns it back."""
    folder, _ = make("dicom_modality_lut", tmp_path / "case")
    for number in range(12):
        (path,) = folder.glob(f"*/*_{number:03d}.dcm")
        shape, corner = read_colour_or_grey(path)[12:20, 12:20], read_colour_or_grey(path)[:4, :4]
        assert shape.mean() > corner.mean() + 60, path


@pytest.mark.parametrize(("bits", "kind"), [(12, np.uint16), (16, np.int16), (8, np.uint8)])
def test_tables_of_any_depth_are_looked_up(tmp_path: Path, bits: int, kind: type[np.integer]) -> None:
    entries = [round((2**bits - 1) * (i / 199) ** 2) for i in range(200)]
    stored = (RAMP // 10 + 10).astype(kind)  # the table begins at 10
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        picture = shown(tmp_path, stored, **{name: [table(entries, 10, bits)]})
        assert np.abs(picture - 255 * (RAMP // 10 / 199.0) ** 2).max() <= 4, name


def test_bits_above_those_stored_are_no_pixels(tmp_path: Path) -> None:
    folder, _ = make("dicom_overlay_in_high_bits", tmp_path / "case")
    picture = read_colour_or_grey(folder / "a" / "000.dcm")
    assert picture[:8, :8].mean() < 160 and picture[12:20, 12:20].mean() > 200

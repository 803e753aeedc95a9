"""What a sample of a set's images shows: colour by share, frames, and what does not open."""

from pathlib import Path

import numpy as np
import pytest
from image_cases import make
from image_cases.drawing import pic, save
from PIL import Image

from xlite.data.sources.image_files import ImageSample, list_images, sample_images


def sampled(folder: Path) -> ImageSample:
    return sample_images([folder / path for path in list_images(folder).images])


def radiographs(folder: Path, count: int, *, stamped: int = 0, stamp_px: int = 6) -> Path:
    """Grey pictures stored as RGB; a red stamp in the corner of the first `stamped`."""
    folder.mkdir()
    for number in range(count):
        picture = np.dstack([pic(number)] * 3)
        if number < stamped:
            picture[:stamp_px, :stamp_px] = (220, 20, 20)
        Image.fromarray(picture).save(folder / f"{number:02d}.png")
    return folder


def test_one_coloured_stamp_does_not_make_a_set_colour_and_is_named(tmp_path: Path) -> None:
    sample = sampled(radiographs(tmp_path / "set", 40, stamped=1))
    assert not sample.is_colour
    assert "grey: 1 channel (1 of 40 have colour in them, e.g. set/00.png: read as grey)" in sample.line


def test_one_picture_all_in_colour_among_40_is_an_exception_too(tmp_path: Path) -> None:
    assert not sampled(radiographs(tmp_path / "set", 40, stamped=1, stamp_px=32)).is_colour


@pytest.mark.parametrize(("stamped", "stamp_px"), [(4, 32), (40, 6)])
def test_many_coloured_pictures_or_spots_in_most_make_a_set_colour(tmp_path: Path, stamped: int, stamp_px: int) -> None:
    sample = sampled(radiographs(tmp_path / "set", 40, stamped=stamped, stamp_px=stamp_px))
    assert sample.is_colour
    assert ("36 of 40 are grey" in sample.line) == (stamped == 4)


def test_small_stamps_in_some_pictures_are_no_colour(tmp_path: Path) -> None:
    sample = sampled(radiographs(tmp_path / "set", 40, stamped=10))
    assert not sample.is_colour and "10 of 40 have colour in them" in sample.line


def test_grey_formats_count_among_all(tmp_path: Path) -> None:
    """3 of 60 are in colour, though all that can be are."""
    for number in range(60):
        save(tmp_path / f"{number}.png", number, colour=number < 3)
    sample = sampled(tmp_path)
    assert not sample.is_colour and "3 of 60 have colour in them" in sample.line


def test_files_of_several_frames_are_counted(tmp_path: Path) -> None:
    sample = sampled(make("animated_gif", tmp_path)[0])
    assert len(sample.several) == 24 and "24 have several frames or pages" in sample.line
    assert sample.line.endswith("the first is read")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lfs_pointers", "Git LFS pointer"),
        ("dicom_multiframe", "4 frames in one file; export each slice"),
    ],
)
def test_where_nothing_opens_the_first_reason_is_said(tmp_path: Path, name: str, reason: str) -> None:
    line = sampled(make(name, tmp_path)[0]).line
    assert "images sampled none can be opened, e.g. " in line and reason in line


def test_a_tiff_that_only_opencv_reads_opens(tmp_path: Path) -> None:
    import cv2

    deep = np.dstack([np.arange(600, dtype=np.uint16).reshape(20, 30) * 100] * 3)
    assert cv2.imwrite(str(tmp_path / "1.tif"), deep)
    sample = sampled(tmp_path)
    assert sample.sizes == {(30, 20): 1} and sample.unreadable == ()


@pytest.mark.parametrize(("name", "colour"), [("cmyk_jpeg", True), ("odd_sizes", False), ("dicom_jpeg2000", False)])
def test_sets_that_were_right_stay_so(tmp_path: Path, name: str, colour: bool) -> None:
    sample = sampled(make(name, tmp_path)[0])
    assert sample.is_colour == colour and not sample.unreadable

"""Picture hashes: equal for equal pictures in any file; the perceptual one survives compression."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xlite.data.decode import ImagePreprocess
from xlite.data.picture_hash import PictureHashes, hashes_of
from xlite.data.table import Item

GREY, COLOUR = ImagePreprocess(16), ImagePreprocess(16, channels=3, clahe_clip=0)


def smooth(seed: int, shape: tuple[int, ...] = (300, 260)) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 9), None, 20, 230, cv2.NORM_MINMAX)


def hashes_in(path: Path, preprocess: ImagePreprocess = GREY) -> PictureHashes:
    image, hashes = preprocess.read_hashed(Item((path,)))
    np.testing.assert_array_equal(image, preprocess.read(Item((path,))))
    return hashes


@pytest.mark.parametrize("name", ["a.bmp", "a.tif", "a.png"])
def test_a_lossless_copy_has_the_same_hashes_at_every_size_of_the_cache(tmp_path: Path, name: str) -> None:
    picture = smooth(0)
    Image.fromarray(picture).save(tmp_path / "first.png", compress_level=1)
    Image.fromarray(np.dstack([picture] * 3)).save(tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() != (tmp_path / name).read_bytes()
    assert hashes_in(tmp_path / "first.png") == hashes_in(tmp_path / name)
    assert hashes_in(tmp_path / "first.png", COLOUR) == hashes_in(tmp_path / name, COLOUR)
    assert hashes_in(tmp_path / name) == hashes_in(tmp_path / name, ImagePreprocess(64, clahe_clip=0))


@pytest.mark.parametrize("side", [7, 40, 1100])
def test_one_value_more_in_any_pixel_is_another_picture(side: int) -> None:
    picture = smooth(1, (side, side))
    for place in ((0, 0), (side // 2, side // 3), (side - 1, side - 1)):
        other = picture.copy()
        other[place] += 1
        assert hashes_of(other).pixels != hashes_of(picture).pixels
    assert hashes_of(picture[:, ::-1]).pixels != hashes_of(picture).pixels


def test_the_shape_is_in_the_hash() -> None:
    values = np.arange(256, dtype=np.uint8)
    shapes = [(16, 16), (8, 32), (32, 8), (256, 1)]
    assert len({hashes_of(values.reshape(shape)).pixels for shape in shapes}) == 4


def test_the_perceptual_hash_survives_jpeg_and_half_size_and_tells_pictures_apart(tmp_path: Path) -> None:
    found = set()
    for seed in range(20):
        picture = smooth(seed, (512, 512))
        hashes = hashes_of(picture)
        compressed = cv2.imdecode(
            cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_GRAYSCALE
        )
        half = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)
        for copy in (compressed, half):
            assert hashes_of(copy).pixels != hashes.pixels
            assert (hashes_of(copy).perceptual ^ hashes.perceptual).bit_count() <= 2
        found.add(hashes.perceptual)
    assert len(found) == 20 and 0 not in found


def test_a_constant_picture_has_no_hash_and_a_dot_makes_it_another() -> None:
    assert hashes_of(np.full((500, 500, 3), 77, np.uint8)) == hashes_of(np.zeros((3, 3), np.float16)) == (0, 0)
    dot = np.full((1000, 1000), 77, np.uint8)
    dot[501, 502] = 78  # between the pixels that the thumbnail is made of
    assert hashes_of(dot).pixels != 0 and hashes_of(dot).perceptual == 0


@pytest.mark.parametrize(("shape", "dtype"), [((7, 16, 16, 3), np.uint8), ((32, 16), np.float16)])
def test_stacks_and_scan_lines_have_a_pixel_hash_only(shape: tuple[int, ...], dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
    other = values.copy()
    other.flat[100] += 1
    assert hashes_of(values) == hashes_of(values.copy()) and hashes_of(values).perceptual == 0
    assert hashes_of(values).pixels not in (0, hashes_of(other).pixels)

"""Decoding: every pixel format gives the same picture, and no damaged file gives one."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xlite.data.decode import Preprocess, UnreadableImage, decode
from xlite.errors import InputError

ORIGINALS = Path(__file__).resolve().parents[3] / "shared" / "data" / "nih_originals"


def picture(height: int = 96, width: int = 80) -> np.ndarray:
    """A smooth grey picture that uses all of 0..255."""
    y, x = np.mgrid[0:height, 0:width]
    wave = np.sin(x / 9) * np.cos(y / 13) + 0.004 * x
    return np.round(255 * (wave - wave.min()) / np.ptp(wave)).astype(np.uint8)


def reference(image: np.ndarray, size: int) -> np.ndarray:
    clahe = cv2.createCLAHE(2.0, (8, 8)).apply(image)
    return cv2.resize(clahe, (size, size), interpolation=cv2.INTER_AREA)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "grey.png"
    assert cv2.imwrite(str(path), picture())
    return path


@pytest.fixture
def small_png(tmp_path: Path) -> Path:
    path = tmp_path / "small.png"
    assert cv2.imwrite(str(path), picture(24, 20))
    return path


def test_grey_png_is_clahe_at_full_resolution_then_area_resize(png: Path) -> None:
    result = decode(png, Preprocess(image_size=32))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, reference(picture(), 32))


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "LA", "P", "16-bit", "16-bit RGB"])
def test_pixel_formats_of_png_give_the_same_picture(tmp_path: Path, kind: str) -> None:
    grey = picture()
    path = tmp_path / "image.png"
    if kind.startswith("16-bit"):
        wide = grey.astype(np.uint16) * 257
        assert cv2.imwrite(str(path), np.dstack([wide] * 3) if "RGB" in kind else wide)
    else:
        image = Image.fromarray(grey)
        if kind == "P":
            image.putpalette([value for value in range(256) for _ in range(3)])
        else:
            image = image.convert(kind)
        if kind.endswith("A"):
            image.putalpha(Image.fromarray(np.random.default_rng(0).integers(0, 256, grey.shape, dtype=np.uint8)))
        image.save(path)
    difference = cv2.absdiff(decode(path, Preprocess(image_size=32)), reference(grey, 32))
    assert difference.max() <= 1


def test_one_bit_png_is_black_and_white(tmp_path: Path) -> None:
    path = tmp_path / "bits.png"
    Image.fromarray(picture() > 127).save(path)
    expected = reference(np.where(picture() > 127, 255, 0).astype(np.uint8), 32)
    np.testing.assert_array_equal(decode(path, Preprocess(image_size=32)), expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_gives_what_it_holds_and_that_is_nearly_the_same_picture(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(picture()).convert(mode).save(path, quality=98)
    result = decode(path, Preprocess(image_size=32))
    np.testing.assert_array_equal(result, reference(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), 32))
    assert cv2.absdiff(result, reference(picture(), 32)).mean() < 4  # CLAHE amplifies JPEG's own error


def test_16_bit_is_scaled_by_its_own_minimum_and_maximum(tmp_path: Path) -> None:
    path = tmp_path / "ct.png"
    assert cv2.imwrite(str(path), picture().astype(np.uint16) * 4 + 1000)  # 1000..2020 of 65535
    np.testing.assert_array_equal(decode(path, Preprocess(image_size=32)), reference(picture(), 32))


def test_16_bit_of_one_value_is_black(tmp_path: Path) -> None:
    path = tmp_path / "flat.png"
    assert cv2.imwrite(str(path), np.full((40, 40), 700, np.uint16))
    flat = decode(path, Preprocess(image_size=16))
    np.testing.assert_array_equal(flat, reference(np.zeros((40, 40), np.uint8), 16))


def test_an_image_smaller_than_image_size_grows_linearly(png: Path) -> None:
    clahe = cv2.createCLAHE(2.0, (8, 8)).apply(picture())
    expected = cv2.resize(clahe, (128, 128), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(decode(png, Preprocess(image_size=128)), expected)


def test_a_long_thin_image_is_averaged_along_its_length(tmp_path: Path) -> None:
    path = tmp_path / "thin.png"
    stripes = np.tile(np.array([0, 255], np.uint8), (20, 512))  # 20 x 1024: only an average sees grey
    assert cv2.imwrite(str(path), stripes)
    assert np.ptp(decode(path, Preprocess(image_size=64))) <= 40


def test_a_png_cut_anywhere_is_unreadable_and_says_nothing_on_stderr(
    small_png: Path, capfd: pytest.CaptureFixture
) -> None:
    data = small_png.read_bytes()
    for length in range(len(data)):
        small_png.write_bytes(data[:length])
        with pytest.raises(UnreadableImage, match=r"empty|truncated PNG|not an image"):
            decode(small_png, Preprocess(image_size=8))
    assert capfd.readouterr() == ("", "")


def test_a_png_with_any_one_byte_changed_is_unreadable_and_says_nothing_on_stderr(
    small_png: Path, capfd: pytest.CaptureFixture
) -> None:
    data = small_png.read_bytes()
    for position in range(len(data)):
        small_png.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        with pytest.raises(UnreadableImage):
            decode(small_png, Preprocess(image_size=8))
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_cut_anywhere_is_unreadable_and_says_nothing_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(picture(24, 20)).save(path, progressive=True)  # several scans
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(UnreadableImage, match=r"empty|truncated JPEG|not an image"):
            decode(path, Preprocess(image_size=8))
    assert capfd.readouterr() == ("", "")


def test_the_end_of_an_embedded_thumbnail_is_not_the_end_of_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(picture()).save(path)
    thumbnail = path.read_bytes()
    whole = path.read_bytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = whole[:2] + segment + whole[2:]
    path.write_bytes(whole)
    assert decode(path, Preprocess(image_size=8)).shape == (8, 8)
    path.write_bytes(whole[: len(segment) + 300])
    with pytest.raises(UnreadableImage, match="truncated JPEG"):
        decode(path, Preprocess(image_size=8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"id,label\n1,Hernia\n", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
        (bytes(5000), "not an image"),
    ],
)
def test_what_is_no_image_is_unreadable_and_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "00000001_000.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode(path, Preprocess(image_size=8))
    assert str(path) in str(caught.value)
    assert reason in caught.value.reason and str(path) not in caught.value.reason


def test_a_missing_file_is_an_os_error_not_a_damaged_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "none.png", Preprocess(image_size=8))


@pytest.mark.parametrize("wrong", [{"image_size": 0}, {"clahe_clip": 0.0}, {"clahe_tiles": 0}, {"channels": 3}])
def test_preprocess_out_of_range_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Preprocess(**({"image_size": 8} | wrong))


def test_real_chest_x_rays_equal_the_bare_loop() -> None:
    if not ORIGINALS.is_dir():
        pytest.skip("no NIH originals beside the repository")
    files = sorted(ORIGINALS.glob("*.png"))
    rgba = next(file for file in files if file.read_bytes()[25] == 6)  # byte 25: colour type
    for file in [*files[:3], rgba]:
        image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(decode(file, Preprocess(image_size=224)), reference(image, 224))

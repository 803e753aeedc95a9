"""Decoding: every pixel format gives the same picture, and no damaged file gives one."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xlite.data.decode import ImagePreprocess, decode, read_picture
from xlite.data.table import Item
from xlite.data.unreadable import UnreadableImage
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
    result = decode(png, ImagePreprocess(image_size=32))
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
    difference = cv2.absdiff(decode(path, ImagePreprocess(image_size=32)), reference(grey, 32))
    assert difference.max() <= 1


def test_one_bit_png_is_black_and_white(tmp_path: Path) -> None:
    path = tmp_path / "bits.png"
    Image.fromarray(picture() > 127).save(path)
    expected = reference(np.where(picture() > 127, 255, 0).astype(np.uint8), 32)
    np.testing.assert_array_equal(decode(path, ImagePreprocess(image_size=32)), expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_is_read_exactly_and_close_to_the_same_picture(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(picture()).convert(mode).save(path, quality=98)
    result = decode(path, ImagePreprocess(image_size=32))
    np.testing.assert_array_equal(result, reference(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), 32))
    assert cv2.absdiff(result, reference(picture(), 32)).mean() < 4  # CLAHE amplifies JPEG's own error


def test_16_bit_is_scaled_by_its_own_minimum_and_maximum(tmp_path: Path) -> None:
    path = tmp_path / "ct.png"
    assert cv2.imwrite(str(path), picture().astype(np.uint16) * 4 + 1000)  # 1000..2020 of 65535
    np.testing.assert_array_equal(decode(path, ImagePreprocess(image_size=32)), reference(picture(), 32))


def test_16_bit_of_one_value_is_black(tmp_path: Path) -> None:
    path = tmp_path / "flat.png"
    assert cv2.imwrite(str(path), np.full((40, 40), 700, np.uint16))
    flat = decode(path, ImagePreprocess(image_size=16))
    np.testing.assert_array_equal(flat, reference(np.zeros((40, 40), np.uint8), 16))


def test_an_image_smaller_than_image_size_grows_linearly(png: Path) -> None:
    clahe = cv2.createCLAHE(2.0, (8, 8)).apply(picture())
    expected = cv2.resize(clahe, (128, 128), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(decode(png, ImagePreprocess(image_size=128)), expected)


def test_a_long_thin_image_is_averaged_along_its_length(tmp_path: Path) -> None:
    path = tmp_path / "thin.png"
    stripes = np.tile(np.array([0, 255], np.uint8), (20, 512))  # 20 x 1024: only an average sees grey
    assert cv2.imwrite(str(path), stripes)
    assert np.ptp(decode(path, ImagePreprocess(image_size=64))) <= 40


def test_a_png_truncated_anywhere_is_unreadable_and_prints_nothing(
    small_png: Path, capfd: pytest.CaptureFixture
) -> None:
    data = small_png.read_bytes()
    for length in range(len(data)):
        small_png.write_bytes(data[:length])
        with pytest.raises(UnreadableImage, match=r"empty|truncated PNG|not an image"):
            decode(small_png, ImagePreprocess(image_size=8))
    assert capfd.readouterr() == ("", "")


def test_a_png_with_any_byte_changed_is_unreadable_and_prints_nothing(
    small_png: Path, capfd: pytest.CaptureFixture
) -> None:
    data = small_png.read_bytes()
    for position in range(len(data)):
        small_png.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        with pytest.raises(UnreadableImage):
            decode(small_png, ImagePreprocess(image_size=8))
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_truncated_anywhere_is_unreadable_and_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(picture(24, 20)).save(path, progressive=True)  # several scans
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(UnreadableImage, match=r"empty|truncated JPEG|not an image"):
            decode(path, ImagePreprocess(image_size=8))
    assert capfd.readouterr() == ("", "")


def test_the_end_of_an_embedded_thumbnail_is_not_the_end_of_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(picture()).save(path)
    thumbnail = path.read_bytes()
    whole = path.read_bytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = whole[:2] + segment + whole[2:]
    path.write_bytes(whole)
    assert decode(path, ImagePreprocess(image_size=8)).shape == (8, 8)
    path.write_bytes(whole[: len(segment) + 300])
    with pytest.raises(UnreadableImage, match="truncated JPEG"):
        decode(path, ImagePreprocess(image_size=8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"id,label\n1,Hernia\n", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
        (bytes(5000), "not an image"),
    ],
)
def test_a_file_that_is_not_an_image_is_unreadable_and_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "00000001_000.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode(path, ImagePreprocess(image_size=8))
    assert str(path) in str(caught.value)
    assert reason in caught.value.reason and str(path) not in caught.value.reason


def test_a_missing_file_is_an_os_error_not_a_damaged_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "none.png", ImagePreprocess(image_size=8))


@pytest.mark.parametrize("wrong", [{"image_size": 0}, {"clahe_clip": -0.5}, {"clahe_tiles": 0}, {"channels": 2}])
def test_preprocess_out_of_range_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        ImagePreprocess(**({"image_size": 8} | wrong))


def test_real_chest_x_rays_equal_a_plain_opencv_loop() -> None:
    if not ORIGINALS.is_dir():
        pytest.skip("no NIH originals beside the repository")
    files = sorted(ORIGINALS.glob("*.png"))
    rgba = next(file for file in files if file.read_bytes()[25] == 6)  # byte 25: colour type
    for file in [*files[:3], rgba]:
        image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(decode(file, ImagePreprocess(image_size=224)), reference(image, 224))


def colourful() -> np.ndarray:
    """(96, 80, 3) red, green, blue: three different smooth pictures."""
    return np.dstack([picture(), picture()[::-1], picture()[:, ::-1]])


def test_colour_keeps_the_order_red_green_blue(tmp_path: Path) -> None:
    path = tmp_path / "stain.png"
    Image.fromarray(colourful()).save(path)
    preprocess = ImagePreprocess(image_size=32, clahe_clip=0, channels=3)
    expected = cv2.resize(colourful(), (32, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(decode(path, preprocess), expected)
    np.testing.assert_array_equal(preprocess.read(Item((path,))), expected)
    spec = preprocess.input_spec
    assert (spec.shape, spec.dtype, spec.channels) == ((32, 32, 3), "|u1", 3)
    assert (spec.shape, spec.dtype) == (expected.shape, expected.dtype.str)
    assert ImagePreprocess(image_size=32).input_spec.shape == (32, 32)


def test_clahe_changes_lightness_and_leaves_the_colours(tmp_path: Path) -> None:
    path = tmp_path / "stain.png"
    flat = np.clip(colourful().astype(np.int16) // 4 + 90, 0, 255).astype(np.uint8)
    Image.fromarray(flat).save(path)
    plain, clahe = (decode(path, ImagePreprocess(96, clahe_clip=clip, channels=3)) for clip in (0, 2))
    before, after = (cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(int) for image in (plain, clahe))
    assert after[..., 0].std() > 1.3 * before[..., 0].std()
    assert np.abs(after[..., 1:] - before[..., 1:]).mean() < 1.5


def test_without_clahe_an_image_is_only_resized(png: Path) -> None:
    expected = cv2.resize(picture(), (32, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(decode(png, ImagePreprocess(32, clahe_clip=0)), expected)


def test_a_grey_file_read_as_colour_has_three_equal_channels_of_the_grey_picture(png: Path) -> None:
    colour = decode(png, ImagePreprocess(32, clahe_clip=0, channels=3))
    np.testing.assert_array_equal(colour, np.dstack([decode(png, ImagePreprocess(32, clahe_clip=0))] * 3))
    enhanced = decode(png, ImagePreprocess(32, channels=3)).astype(int)
    assert np.ptp(enhanced, axis=2).max() <= 2


def test_16_bit_colour_is_scaled_by_one_minimum_and_maximum_for_all_channels(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    wide = np.dstack([np.full((8, 8), 1000), np.full((8, 8), 1400), np.full((8, 8), 3000)]).astype(np.uint16)
    assert cv2.imwrite(str(path), wide)  # blue, green, red
    assert decode(path, ImagePreprocess(4, clahe_clip=0, channels=3))[0, 0].tolist() == [255, 51, 0]


@pytest.mark.parametrize("ending", [".tif", ".tiff", ".bmp", ".TIF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_and_bmp_are_read_exactly(tmp_path: Path, ending: str, channels: int) -> None:
    path = tmp_path / f"image{ending}"
    held = picture() if channels == 1 else colourful()
    Image.fromarray(held).save(path)
    np.testing.assert_array_equal(read_picture(path, channels=channels), held)


def test_a_float_tiff_is_scaled_and_the_first_page_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    assert cv2.imwritemulti(str(path), [picture().astype(np.float32) * 7 - 300, np.zeros((96, 80), np.float32)])
    np.testing.assert_array_equal(read_picture(path, channels=1), picture())


def test_a_bmp_truncated_anywhere_is_unreadable_and_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    path = tmp_path / "image.bmp"
    Image.fromarray(colourful()[:5, :6]).save(path)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(UnreadableImage, match=r"empty|truncated BMP|not an image"):
            decode(path, ImagePreprocess(8))
    assert capfd.readouterr() == ("", "")


def test_a_tiff_truncated_anywhere_gives_no_wrong_picture(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    Image.fromarray(picture()).save(path)
    data = path.read_bytes()
    num_unreadable = 0
    for length in range(1, len(data), 331):
        path.write_bytes(data[:length])
        try:
            np.testing.assert_array_equal(read_picture(path, channels=1), picture())
        except UnreadableImage:
            num_unreadable += 1
    assert num_unreadable > 20


@pytest.mark.parametrize("channels", [1, 3])
def test_an_exif_orientation_is_applied(tmp_path: Path, channels: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter clockwise
    Image.fromarray(colourful()).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(colourful()).save(tmp_path / "plain.jpg")
    turned, plain = (read_picture(tmp_path / name, channels=channels) for name in ("turned.jpg", "plain.jpg"))
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))


@pytest.mark.parametrize("name", ["image.dcm", "1.2.840"])
def test_dicom_is_known_by_its_suffix_or_its_bytes(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    path.write_bytes(b"no preamble" if name.endswith(".dcm") else bytes(128) + b"DICM" + bytes(64))
    monkeypatch.setattr("xlite.data.decode.read_colour_or_grey", {path: picture()}.__getitem__)
    np.testing.assert_array_equal(decode(path, ImagePreprocess(32)), reference(picture(), 32))
    np.testing.assert_array_equal(read_picture(path, channels=3), np.dstack([picture()] * 3))


def test_a_damaged_dicom_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    for content in (b"", b"text", bytes(128) + b"DICM" + bytes(64)):
        path.write_bytes(content)
        with pytest.raises(UnreadableImage):
            decode(path, ImagePreprocess(8))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0, 3)])
def test_an_array_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="an array of shape"):  # OpenCV's CLAHE never ends on one
        ImagePreprocess(8).from_array(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_wherever_it_is(value: float) -> None:
    array = np.ones((8, 8), np.float32)
    array[5, 3] = value
    with pytest.raises(InputError, match="not finite"):
        ImagePreprocess(8).from_array(array)

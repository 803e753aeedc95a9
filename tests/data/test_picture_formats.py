"""Formats beyond PNG, JPEG, TIFF and BMP: read by their bytes, the first frame of several, and nothing else."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xlite.data.decode import read_picture
from xlite.data.image_formats import SUFFIXES, is_picture, is_text
from xlite.data.unreadable import UnreadableImage

GREY = np.add.outer(np.arange(40), 3 * np.arange(30)).astype(np.uint8)
COLOUR = np.dstack([GREY, GREY[::-1], 255 - GREY])
EXACT = {".webp": {"lossless": True}, ".gif": {}, ".jp2": {}, ".j2k": {}, ".ppm": {}, ".pgm": {}, ".pnm": {}}
EXACT |= {".tga": {}, ".pcx": {}, ".sgi": {}, ".qoi": {}, ".apng": {}}


def written(ending: str, array: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, Image.registered_extensions()[ending], **options)
    return out.getvalue()


def setup_module() -> None:
    Image.init()


@pytest.mark.parametrize("ending", EXACT)
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_give_the_picture(tmp_path: Path, ending: str, channels: int) -> None:
    if ending == ".qoi" and ".qoi" not in Image.registered_extensions():
        pytest.skip("this Pillow writes no QOI")
    held = COLOUR if channels == 3 and ending not in (".pgm", ".gif") else GREY
    held_as_saved = COLOUR if ending == ".qoi" else held
    (tmp_path / f"1{ending}").write_bytes(written(ending, held_as_saved, **EXACT[ending]))
    read = read_picture(tmp_path / f"1{ending}", channels=channels)
    if ending != ".qoi" or channels == 3:
        np.testing.assert_array_equal(read, np.dstack([held] * 3) if channels == 3 and held.ndim == 2 else held)
    assert ending in SUFFIXES


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".avif", ".webp"])
def test_lossy_formats_give_nearly_the_picture(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"1{ending}").write_bytes(written(ending, COLOUR, quality=98))
    assert np.abs(read_picture(tmp_path / f"1{ending}", channels=3).astype(int) - COLOUR).mean() < 3
    assert ending in SUFFIXES


@pytest.mark.parametrize("ending", [".webp", ".gif", ".jp2", ".ppm", ".avif", ".png", ".jpg", ".tif", ".bmp"])
def test_the_bytes_decide_the_format_not_the_name(tmp_path: Path, ending: str) -> None:
    data = written(ending, GREY)
    assert is_picture(data[:132]) and not is_text(data[:132])
    (tmp_path / f"1{ending}").write_bytes(data)
    (tmp_path / "1.png").write_bytes(data)
    read = [read_picture(tmp_path / name, channels=3) for name in (f"1{ending}", "1.png")]
    np.testing.assert_array_equal(*read)


@pytest.mark.parametrize("ending", [".gif", ".webp", ".tif", ".apng"])
def test_the_first_frame_of_several_is_read(tmp_path: Path, ending: str) -> None:
    more = {"save_all": True, "append_images": [Image.fromarray(255 - GREY)]}
    lossless = {"lossless": True} if ending == ".webp" else {}
    (tmp_path / f"1{ending}").write_bytes(written(ending, GREY, **more, **lossless))
    np.testing.assert_array_equal(read_picture(tmp_path / f"1{ending}", channels=1), GREY)


def test_16_bits_are_scaled_by_their_own_range(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 9 + 1000
    scaled = np.rint(255 * ((deep - deep.min()) / np.ptp(deep)))
    for ending in (".pgm", ".jp2"):
        (tmp_path / f"1{ending}").write_bytes(written(ending, deep))
        assert np.abs(read_picture(tmp_path / f"1{ending}", channels=1) - scaled).max() <= 1, ending


def test_a_webp_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "1.webp").write_bytes(written(".webp", COLOUR, lossless=True, exif=exif))
    np.testing.assert_array_equal(read_picture(tmp_path / "1.webp", channels=3), np.rot90(COLOUR, -1))


@pytest.mark.parametrize("ending", [".webp", ".gif", ".jp2", ".ppm", ".avif"])
def test_a_truncated_file_gives_no_picture_and_prints_nothing(tmp_path: Path, capfd, ending: str) -> None:
    path, whole = tmp_path / f"1{ending}", written(ending, GREY)
    for length in range(0, len(whole) - 2, max(1, len(whole) // 25)):
        path.write_bytes(whole[:length])
        with pytest.raises(UnreadableImage) as refused:
            read_picture(path, channels=1)
        assert refused.value.reason and "\n" not in refused.value.reason
    assert capfd.readouterr() == ("", "")


def test_a_small_file_of_huge_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.ppm").write_bytes(b"P6 60000 60000 255 \0")
    with pytest.raises(UnreadableImage, match=r"60000 x 60000 px, more than|decompression bomb"):
        read_picture(tmp_path / "1.ppm", channels=3)
    (tmp_path / "2.ppm").write_bytes(b"P6 9000 9000 255 \0")
    with pytest.raises(UnreadableImage, match="9000 x 9000 px, more than"):
        read_picture(tmp_path / "2.ppm", channels=3)


def test_no_program_is_started_for_a_picture(tmp_path: Path) -> None:
    """Pillow's EPS reader would start Ghostscript; PDF, PostScript and the like are no pictures here."""
    (tmp_path / "1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(UnreadableImage, match="not an image"):
        read_picture(tmp_path / "1.png", channels=1)


def test_a_pointer_that_git_lfs_left_says_so(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12345\n"
    assert is_picture(pointer)
    for name in ("1.png", "2.dcm", "3"):
        (tmp_path / name).write_bytes(pointer)
        with pytest.raises(UnreadableImage, match="Git LFS pointer, not the image; run git lfs pull"):
            read_picture(tmp_path / name, channels=1)


@pytest.mark.parametrize("head", [b"", b"BMI,label\n1,2\n", b"P1_image,label\n", b"RIFF1234AVI ", bytes(132), b"GIF8"])
def test_other_bytes_are_no_picture(head: bytes) -> None:
    assert not is_picture(head)

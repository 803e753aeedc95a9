"""Image files of unknown origin: damage is reported once, decoders print nothing, no size fills the memory."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xlite.data.decode import read_picture
from xlite.data.unreadable import UnreadableImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(height: int = 64, width: int = 48) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return (127 + 60 * np.sin(x / 5) + 60 * np.cos(y / 7)).astype(np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int = 8, height: int = 8, *, depth: int = 8, colours: int = 0, data: bytes | None = None) -> bytes:
    """A PNG whose checksums are right, whatever else is wrong with it."""
    packed = zlib.compress(bytes(height * (width + 1))) if data is None else data
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def encoded(ending: str) -> bytearray:
    return bytearray(cv2.imencode(ending, picture())[1].tobytes())


def overwritten(data: bytearray, start: int, stop: int) -> bytes:
    data[start:stop] = np.random.default_rng(0).integers(0, 254, stop - start, dtype=np.uint8).tobytes()
    return bytes(data)


NOISY = {
    "jpeg_header.jpg": overwritten(encoded(".jpg"), 20, 60),
    "tiff_directory.tif": overwritten(encoded(".tif"), len(encoded(".tif")) - 60, len(encoded(".tif"))),
    "tiff_cut.tif": bytes(encoded(".tif")[:300]),
    "png_depth.png": png(depth=7),
    "png_not_packed.png": png(data=b"no zlib stream" * 9),
    "png_palette_depth.png": png(depth=16, colours=3),
    "radiance.bmp": b"#?RADIANCE\n\n",
    "gif.bmp": b"GIF89a" + bytes(50),
    "jpeg2000.bmp": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50),
}


@pytest.mark.parametrize("name", NOISY)
def test_undecodable_files_are_refused_without_output(tmp_path: Path, capfd, name: str) -> None:
    (tmp_path / name).write_bytes(NOISY[name])
    for channels in (1, 3):
        with pytest.raises(UnreadableImage) as refused:
            read_picture(tmp_path / name, channels=channels)
        assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_undetectable_jpeg_damage_is_ignored_without_output(tmp_path: Path, capfd) -> None:
    data = encoded(".jpg")
    (tmp_path / "1.jpg").write_bytes(overwritten(data, len(data) // 2, len(data) // 2 + 40))
    assert read_picture(tmp_path / "1.jpg", channels=1).shape == (64, 48)
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_with_damaged_exif_data_is_read_without_a_warning(tmp_path: Path) -> None:
    for name, more in (("whole.jpg", {}), ("damaged.jpg", {"exif": b"Exif\0\0MM\0*" + b"\xff" * 60})):
        Image.fromarray(picture()).save(tmp_path / name, **more)
    whole, damaged = (read_picture(tmp_path / name, channels=1) for name in ("whole.jpg", "damaged.jpg"))
    np.testing.assert_array_equal(damaged, whole)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_has_the_pixels_that_opencv_reads(tmp_path: Path, channels: int, subsampling: int) -> None:
    colour = np.dstack([picture(), picture()[::-1], 255 - picture()])
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(colour).save(tmp_path / "1.jpg", subsampling=subsampling, quality=80, exif=turned)
    wanted = cv2.imread(str(tmp_path / "1.jpg"), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    wanted = wanted if channels == 1 else cv2.cvtColor(wanted, cv2.COLOR_BGR2RGB)
    read = read_picture(tmp_path / "1.jpg", channels=channels)
    assert read.shape[:2] == (48, 64) and np.array_equal(read, wanted)


def test_odd_metadata_of_a_png_changes_no_pixel_and_prints_nothing(tmp_path: Path, capfd) -> None:
    plain = bytes(cv2.imencode(".png", picture())[1].tobytes())
    odd = chunk(b"iCCP", b"abc") + chunk(b"sRGB", b"\x09") + chunk(b"tEXt", b"Comment\0hello")
    (tmp_path / "1.png").write_bytes(plain[:33] + odd + plain[33:])
    assert np.array_equal(read_picture(tmp_path / "1.png", channels=1), picture())
    assert capfd.readouterr() == ("", "")


def test_a_small_file_with_a_huge_image_size_is_refused_before_decoding(tmp_path: Path) -> None:
    jpeg = bytes(encoded(".jpg"))
    frame = jpeg.index(b"\xff\xc0")
    files = {
        "1.png": png(60_000, 60_000, data=zlib.compress(b"")),
        "1.jpg": jpeg[: frame + 5] + struct.pack(">HH", 60_000, 60_000) + jpeg[frame + 9 :],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableImage, match="60000 x 60000 px, more than 67,108,864 in all"):
            read_picture(tmp_path / name, channels=1)

"""DICOM files: any depth, sign and colour is read correctly, and anything but a single image is refused."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from xlite.data import dicom
from xlite.data.decode import read_picture
from xlite.data.dicom import read_colour_or_grey, read_dicom, read_instance_number
from xlite.data.quiet import without_warnings
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError

LITTLE = "1.2.840.10008.1.2.1"


def write(path: Path, pixels: np.ndarray | bytes, *, syntax: str = LITTLE, bits: int | None = None, **tags) -> Path:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "2.25.1"
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    kind = pixels.dtype if isinstance(pixels, np.ndarray) else np.dtype("<u2")
    made.Rows, made.Columns = pixels.shape[-2:] if isinstance(pixels, np.ndarray) else (8, 6)
    made.BitsAllocated = 8 * kind.itemsize
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(kind.kind == "i")
    made.PixelData = pixels.tobytes() if isinstance(pixels, np.ndarray) else pixels
    made["PixelData"].VR = "OW"
    for name, value in tags.items():
        setattr(made, name, value)
    made.save_as(path, enforce_file_format=True)
    return path


def pattern(kind: str = "<u2") -> np.ndarray:
    values = np.arange(48).reshape(8, 6) * (1000 if kind[-1] == "2" else 2)
    return (values - (20_000 if kind == "<i2" else 0)).astype(kind)


@pytest.mark.parametrize("kind", ["<u2", "<i2", "|u1"])
def test_stored_values_of_any_width_and_sign_are_read_exactly(tmp_path: Path, kind: str) -> None:
    pixels = pattern(kind)
    read = read_dicom(write(tmp_path / "1.dcm", pixels))
    assert read.dtype == np.float32 and np.array_equal(read, pixels.astype(np.float32))


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    path = write(tmp_path / "1.dcm", pattern(), RescaleSlope="0.5", RescaleIntercept="-10")
    assert np.array_equal(read_dicom(path), pattern() * np.float32(0.5) - 10)


@pytest.mark.parametrize(("kind", "bits", "top"), [("|u1", 8, 255), ("<u2", 16, 65535), ("<i2", 16, -1)])
def test_monochrome1_is_inverted_within_its_stored_range(tmp_path: Path, kind: str, bits: int, top: int) -> None:
    path = write(tmp_path / "1.dcm", pattern(kind), bits=bits, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(read_dicom(path), top - pattern(kind).astype(np.float32))


def test_a_file_truncated_anywhere_is_refused_with_a_reason(tmp_path: Path) -> None:
    whole = write(tmp_path / "1.dcm", pattern()).read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path = tmp_path / "cut.dcm"
        path.write_bytes(whole[:length])
        with pytest.raises(UnreadableImage) as refused:
            read_dicom(path)
        assert refused.value.path == path and refused.value.reason and "\n" not in refused.value.reason


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "empty"), (b"a text, no picture" * 20, "not a DICOM"), (b"\x89PNG" * 99, "not a DICOM")]
)
def test_a_file_that_is_not_dicom_is_an_error(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "1.dcm").write_bytes(content)
    with pytest.raises(UnreadableImage, match=said):
        read_dicom(tmp_path / "1.dcm")


def test_values_in_their_own_units_know_no_window_padding_or_table(tmp_path: Path) -> None:
    plain = read_dicom(write(tmp_path / "1.dcm", pattern("<i2")))
    tags = {"WindowCenter": 3, "WindowWidth": 9, "PixelPaddingValue": -20_000, "VOILUTFunction": "SIGMOID"}
    assert np.array_equal(read_dicom(write(tmp_path / "2.dcm", pattern("<i2"), **tags)), plain)  # the lumbar task's


def test_several_frames_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "1.dcm", np.stack([pattern()] * 3), NumberOfFrames=3)
    with pytest.raises(UnreadableImage, match="3 frames in one file; export each slice"):
        read_dicom(path)


def test_colour_is_refused_by_read_dicom(tmp_path: Path) -> None:
    path = write(tmp_path / "1.dcm", pattern("|u1"), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(UnreadableImage, match="not a grey image"):
        read_dicom(path)


def colours(rows: int = 8, columns: int = 6) -> np.ndarray:
    """(H, W, 3) uint8: plain colours, equal in pairs of columns, so that halved chroma keeps them."""
    rng = np.random.default_rng(0)
    return np.repeat(rng.integers(0, 256, (rows, columns // 2, 3), dtype=np.uint8), 2, axis=1)


def write_colours(path: Path, pixels: np.ndarray, kind: str, **tags: object) -> Path:
    """`pixels` (H, W, 3), in the colours that `kind` names, three samples a pixel."""
    rows, columns = pixels.shape[:2]
    data = pixels.reshape(1, -1)
    about = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "Rows": rows, "Columns": columns}
    return write(path, data, PhotometricInterpretation=kind, **{**about, **tags})


def test_rgb_is_read_in_either_planar_configuration(tmp_path: Path) -> None:
    pixels = colours()
    assert np.array_equal(read_colour_or_grey(write_colours(tmp_path / "1.dcm", pixels, "RGB")), pixels)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(8, 6, 3)
    path = write_colours(tmp_path / "2.dcm", planes, "RGB", PlanarConfiguration=1)
    assert np.array_equal(read_colour_or_grey(path), pixels)


def test_luminance_and_chrominance_become_red_green_and_blue(tmp_path: Path) -> None:
    from pydicom.pixels.processing import convert_color_space

    pixels = colours()
    full = convert_color_space(pixels, "RGB", "YBR_FULL")
    read = read_colour_or_grey(write_colours(tmp_path / "1.dcm", full, "YBR_FULL"))
    assert read.shape == pixels.shape and np.abs(read.astype(int) - pixels).max() <= 3
    halved = np.stack([full[:, 0::2, 0], full[:, 1::2, 0], full[:, 0::2, 1], full[:, 0::2, 2]], axis=-1)
    path = write(
        tmp_path / "2.dcm",
        halved.reshape(1, -1),
        PhotometricInterpretation="YBR_FULL_422",
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        Rows=8,
        Columns=6,
    )
    assert np.abs(read_colour_or_grey(path).astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_colours_are_looked_up(tmp_path: Path, bits: int) -> None:
    indices = np.arange(48, dtype=np.uint8).reshape(8, 6)
    palette = np.random.default_rng(1).integers(0, 256, (48, 3)).astype(np.uint16)
    entries = palette if bits == 8 else palette * 257
    tags: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for number, name in enumerate(("Red", "Green", "Blue")):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [48, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = entries[:, number].astype("<u2").tobytes()
    read = read_colour_or_grey(write(tmp_path / "1.dcm", indices, **tags))
    assert read.dtype == np.uint8 and np.array_equal(read, palette[indices])


def test_colours_compressed_as_jpeg_are_read(tmp_path: Path) -> None:
    import cv2

    smooth = cv2.resize(colours(4, 4), (32, 32), interpolation=cv2.INTER_CUBIC)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(smooth, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    path = write(
        tmp_path / "1.dcm",
        encapsulate([jpeg.tobytes()]),
        syntax="1.2.840.10008.1.2.4.50",
        PhotometricInterpretation="YBR_FULL_422",
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        **{"Rows": 32, "Columns": 32, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
    )
    read = read_colour_or_grey(path)
    assert read.shape == (32, 32, 3) and np.abs(read.astype(int) - smooth).mean() < 6


def test_colours_of_more_than_8_bits_keep_their_range(tmp_path: Path) -> None:
    pixels = colours().astype("<u2") * 8
    about = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0, "Rows": 8}
    path = write(tmp_path / "1.dcm", pixels.reshape(1, -1), bits=12, Columns=6, **about)
    assert np.array_equal(read_colour_or_grey(path), (pixels >> 4).astype(np.uint8))


def test_a_picture_is_converted_to_the_requested_channels(tmp_path: Path) -> None:
    import cv2

    pixels = colours()
    path = write_colours(tmp_path / "1.dcm", pixels, "RGB")
    assert np.array_equal(read_picture(path, channels=3), pixels)
    assert np.array_equal(read_picture(path, channels=1), cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def test_unknown_colours_and_damaged_colour_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"neither grey nor a supported colour space \(CMYK"):
        read_colour_or_grey(write_colours(tmp_path / "1.dcm", colours(), "CMYK"))
    with pytest.raises(UnreadableImage, match="neither grey nor"):
        read_colour_or_grey(write(tmp_path / "2.dcm", pattern("|u1"), PhotometricInterpretation="RGB"))
    with pytest.raises(UnreadableImage, match="damaged DICOM"):  # a palette without its tables
        read_colour_or_grey(write(tmp_path / "3.dcm", pattern("|u1"), PhotometricInterpretation="PALETTE COLOR"))
    whole = write_colours(tmp_path / "4.dcm", colours(), "RGB").read_bytes()
    (tmp_path / "4.dcm").write_bytes(whole[:-40])
    with pytest.raises(UnreadableImage, match="damaged DICOM"):
        read_colour_or_grey(tmp_path / "4.dcm")


def test_a_file_with_a_huge_image_size_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "1.dcm", pattern(), Rows=65_535, Columns=65_535)
    for read in (read_dicom, read_colour_or_grey):
        with pytest.raises(UnreadableImage, match="65535 x 65535 px, more than"):
            read(path)


def test_a_file_without_pixels_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "1.dcm", pattern())
    import pydicom

    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    with pytest.raises(UnreadableImage, match="no pixel data"):
        read_dicom(path)


@pytest.mark.parametrize(
    ("syntax", "name", "fix"),
    [
        ("1.2.840.10008.1.2.4.70", "JPEG Lossless", "pip install python-gdcm "),
        ("1.2.840.10008.1.2.4.90", "JPEG 2000", "pip install python-gdcm "),
        ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000", " pylibjpeg-openjpeg to read it"),
        ("1.2.840.10008.1.2.4.100", "MPEG2", "decompress it"),
    ],
)
def test_a_compression_without_decoder_is_named_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, name: str, fix: str
) -> None:
    from pydicom.pixels import get_decoder

    if syntax != "1.2.840.10008.1.2.4.100":  # of which pydicom knows no decoder at all
        monkeypatch.setattr(get_decoder(syntax), "_available", {})
    path = write(tmp_path / "1.dcm", encapsulate([b"\xff\xd8\xff\xd9" * 4]), syntax=syntax)
    with pytest.raises(InputError) as refused:  # not the file's fault: a cache must not remember it as damaged
        read_dicom(path)
    assert name in str(refused.value) and syntax in str(refused.value) and fix in str(refused.value)


def test_the_packages_in_the_message_are_the_extra_s() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    names = [wanted.split(">=")[0] for wanted in project["optional-dependencies"]["dicom"]]
    assert " ".join(names) == dicom._DECODERS


def test_jpeg_lossless_as_gdcm_writes_it_is_read(tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    pixels = (np.arange(64 * 48).reshape(64, 48) % 4000).astype("<u2")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(write(tmp_path / "1.dcm", pixels, bits=12)))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(tmp_path / "2.dcm"))
    assert writer.Write()
    assert np.array_equal(read_dicom(tmp_path / "2.dcm"), pixels)


def test_pydicom_s_own_compression_is_read(tmp_path: Path) -> None:
    import pydicom
    from pydicom.uid import RLELossless

    dataset = pydicom.dcmread(write(tmp_path / "1.dcm", pattern()))
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "2.dcm")
    assert np.array_equal(read_dicom(tmp_path / "2.dcm"), pattern().astype(np.float32))


def test_the_instance_number_is_read_without_the_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "1.dcm", pattern(), InstanceNumber=9)
    path.write_bytes(path.read_bytes()[:-40])
    assert read_instance_number(path) == 9
    assert read_instance_number(write(tmp_path / "2.dcm", pattern())) is None
    (tmp_path / "3.dcm").write_text("no DICOM")
    with pytest.raises(UnreadableImage, match="not a DICOM"):
        read_instance_number(tmp_path / "3.dcm")
    with pytest.raises(UnreadableImage, match="damaged DICOM"):
        read_instance_number(write(tmp_path / "4.dcm", pattern(), InstanceNumber=[1, 2]))


def test_no_warning_leaks_and_the_filters_stay_as_they_were_under_threads(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{k}.dcm", pattern()) for k in range(24)]
    for path in paths:  # an invalid value, of which pydicom warns, and bytes too many
        raw = path.read_bytes().replace(b"2.25.1", b"x.25.1")
        path.write_bytes(raw)
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(4) as pool:
            read = list(pool.map(read_dicom, paths))
    assert not seen and warnings.filters == before
    assert all(np.array_equal(one, pattern().astype(np.float32)) for one in read)


def test_two_files_are_decoded_at_the_same_time() -> None:
    both = threading.Barrier(2)

    def decode(_: int) -> int:
        with without_warnings():
            return both.wait(timeout=10)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(decode, range(2))) == [0, 1]

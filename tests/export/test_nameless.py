"""Copies of raw files have the same pixels and nothing that tells whose they are."""

import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin

from xlite.data.decode import read_picture
from xlite.data.dicom import read_dicom
from xlite.data.phantom.lumbar import write_lumbar_phantom
from xlite.data.scan_lines import load_scan
from xlite.errors import InputError
from xlite.export.nameless import copy_nameless

NAME = "Doe^Jane"


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8))


def test_a_png_keeps_its_pixels_alone(picture, tmp_path):
    about = PngImagePlugin.PngInfo()
    about.add_text("Patient", NAME)
    picture.save(tmp_path / "a.png", pnginfo=about)
    assert NAME.encode() in (tmp_path / "a.png").read_bytes()
    copied = copy_nameless(tmp_path / "a.png", tmp_path / "input_001")
    assert copied.name == "input_001.png" and NAME.encode() not in copied.read_bytes()
    assert (read_picture(copied, channels=3) == read_picture(tmp_path / "a.png", channels=3)).all()


def test_a_grey_picture_of_16_bits_keeps_them(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65_535, (40, 50)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert (np.asarray(Image.open(copy_nameless(tmp_path / "a.png", tmp_path / "b"))) == deep).all()


def test_a_jpeg_is_upright_and_without_exif_and_its_pixels_are_kept(picture, tmp_path):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = NAME, 6
    picture.save(tmp_path / "a.jpg", exif=exif, comment=NAME)
    copied = copy_nameless(tmp_path / "a.jpg", tmp_path / "b")
    assert copied.suffix == ".png" and NAME.encode() not in copied.read_bytes()
    upright = np.rot90(np.asarray(Image.open(tmp_path / "a.jpg")), -1)
    assert (np.asarray(Image.open(copied)) == upright).all() and upright.shape == (50, 40, 3)


def test_a_dicom_slice_keeps_what_decoding_needs_alone(tmp_path):
    write_lumbar_phantom(tmp_path / "l", num_studies=10, image_px=64)
    source = next((tmp_path / "l" / "train_images").rglob("*.dcm"))
    slice_ = pydicom.dcmread(source)
    slice_.PatientName, slice_.PatientBirthDate, slice_.InstitutionName = NAME, "19700101", "Hospital of Doe"
    slice_.RescaleSlope, slice_.RescaleIntercept = "2", "-7"
    slice_.add_new((0x0009, 0x0010), "LO", NAME)
    slice_.save_as(tmp_path / "a.dcm")
    copied = copy_nameless(tmp_path / "a.dcm", tmp_path / "b")
    written = copied.read_bytes()
    for known in (NAME, "Doe", "19700101", slice_.PatientID, slice_.SOPInstanceUID, slice_.StudyInstanceUID):
        assert str(known).encode() not in written
    assert (read_dicom(copied) == read_dicom(tmp_path / "a.dcm")).all()
    others = [pydicom.dcmread(copy_nameless(source, tmp_path / f"input_{k}")) for k in ("012", "021", "102")]
    assert len({one.SOPInstanceUID for one in others}) == 3


def test_a_scan_keeps_its_heights_alone(tmp_path):
    heights = np.random.default_rng(0).normal(size=(20, 30))
    np.savez(tmp_path / "a.npz", Z_fwd=heights, comment=np.array(NAME))
    copied = copy_nameless(tmp_path / "a.npz", tmp_path / "b")
    assert np.load(copied).files == ["z_fwd"] and (load_scan(copied) == heights).all()


def test_another_format_is_refused(tmp_path):
    (tmp_path / "a.xyz").write_text(NAME)
    with pytest.raises(InputError, match=r"a\.xyz: no picture, DICOM or scan file, so its headers cannot be removed"):
        copy_nameless(tmp_path / "a.xyz", tmp_path / "b")

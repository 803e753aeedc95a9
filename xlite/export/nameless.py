"""Copies of raw files that keep what is decoded and nothing else: no header that names a patient."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from xlite.data.glance import starts_as_dicom
from xlite.data.image_formats import DICOM_SUFFIXES
from xlite.data.quiet import without_warnings
from xlite.data.scan_lines import SCAN_SUFFIXES, TOPOGRAPHY, load_scan
from xlite.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

_DECODED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "LUTDescriptor", "LUTData"),
    *("ModalityLUTSequence", "VOILUTSequence"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Data", "Descriptor")
    ),
)
"""Tags that decide the pixels; LUTDescriptor and LUTData are within the two sequences."""


def copy_nameless(source: Path, target: Path) -> Path:
    """Write the picture, DICOM slice or scan of `source` as `target`, whose suffix is replaced by the format's.

    What is burnt into the pixels stays.

    Returns:
        The file written.

    Raises:
        InputError: of a format whose headers this does not know.
        OSError: it cannot be read.
    """
    if source.suffix.lower() in SCAN_SUFFIXES:
        written = target.with_suffix(".npz")
        np.savez_compressed(written, allow_pickle=False, **{TOPOGRAPHY[0]: load_scan(source)})
        return written
    if source.suffix.lower() in DICOM_SUFFIXES or starts_as_dicom(source):
        return _copy_dicom(source, target.with_suffix(".dcm"))
    return _copy_picture(source, target)


def _copy_picture(source: Path, target: Path) -> Path:
    try:
        with without_warnings(), Image.open(source) as opened:
            upright = ImageOps.exif_transpose(opened)
        clean = Image.frombytes(upright.mode, upright.size, upright.tobytes())  # nothing but the pixels
        if upright.mode == "P":
            clean.putpalette(upright.getpalette() or [])
        suffix = ".tif" if upright.mode in ("F", "CMYK") else ".png"  # without loss, also of a JPEG's pixels
        clean.save(target.with_suffix(suffix))
    except OSError as error:
        if error.filename is not None:
            raise
        raise InputError(f"{source.name}: no picture, DICOM or scan file, so its headers cannot be removed") from None
    return target.with_suffix(suffix)


def _copy_dicom(source: Path, target: Path) -> Path:
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    with without_warnings():
        original = pydicom.dcmread(source, force=True)
        clean = _kept(original)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = original.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian)
        meta.MediaStorageSOPClassUID = clean.SOPClassUID = SecondaryCaptureImageStorage
        meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID = UID(f"2.25.{int.from_bytes(target.stem.encode())}")
        clean.file_meta = meta
        clean.save_as(target, enforce_file_format=True)
    return target


def _kept(original: "Dataset") -> "Dataset":
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    clean = Dataset()
    for name in _DECODED:
        if name not in original:
            continue
        element = original[name]
        if element.VR == "SQ":
            setattr(clean, name, Sequence(_kept(item) for item in element.value))
        else:
            clean[name] = element
    return clean

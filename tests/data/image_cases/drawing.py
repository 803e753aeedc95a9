"""Pictures, tables and DICOM files for the cases, and their register."""

import cv2
import numpy as np
from PIL import Image

CASES = {}


def case(*arguments, sub=""):
    """`arguments`: more of the command line; `sub`: the folder inside the case that --data names."""

    def keep(function):
        CASES[function.__name__] = (function, arguments, sub)
        return function

    return keep


def pic(k, cls=0, size=32, colour=False):
    """Noise and a shape: class 0 disc, 1 square, 2 cross, 3 ring, 4 bar ..."""
    rng = np.random.default_rng(k)
    a = rng.normal(90, 18, (size, size)).clip(0, 255).astype(np.uint8)
    c, r = size // 2, size // 4
    v = 210
    if cls % 5 == 0:
        cv2.circle(a, (c, c), r, v, -1)
    elif cls % 5 == 1:
        cv2.rectangle(a, (c - r, c - r), (c + r, c + r), v, -1)
    elif cls % 5 == 2:
        cv2.line(a, (c - r, c - r), (c + r, c + r), v, 3)
        cv2.line(a, (c - r, c + r), (c + r, c - r), v, 3)
    elif cls % 5 == 3:
        cv2.circle(a, (c, c), r, v, 2)
    else:
        cv2.line(a, (0, c), (size, c), v, 4)
    return np.dstack([a, a // 2, 255 - a]) if colour else a


def save(path, k=0, cls=0, size=32, colour=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pic(k, cls, size, colour)).save(path)


def mask(path, k=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    a = np.zeros((32, 32), np.uint8)
    cv2.circle(a, (16, 16), 8 + k % 3, 255, -1)
    Image.fromarray(a).save(path)


def text(path, *lines, encoding="utf-8", end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((end.join(lines) + end).encode(encoding))


def dcm(path, array, **tags):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    array = np.asarray(array)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(tags.pop("syntax", ExplicitVRLittleEndian))
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    raw = tags.pop("raw", None)
    ds.Modality = "DX"
    ds.Rows, ds.Columns = array.shape[-2:]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = 8 * array.dtype.itemsize
    ds.BitsStored = ds.BitsAllocated
    ds.PixelRepresentation = int(array.dtype.kind == "i")
    for tag, value in tags.items():
        setattr(ds, tag, value)
    ds.HighBit = tags.get("HighBit", ds.BitsStored - 1)
    if raw is None:
        ds.PixelData = array.tobytes()
    else:
        from pydicom.encaps import encapsulate

        ds.PixelData = encapsulate(raw)
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def table_of(out, n=40, name="labels.csv", header="image,label", row=lambda i: f"{i:03d}.png,{'ab'[i % 2]}", **how):
    """n pictures out/images/000.png ... (class i % 2) and a table with a line each."""
    for i in range(n):
        save(out / "images" / f"{i:03d}.png", i, i % 2)
    text(out / name, header, *(row(i) for i in range(n)), **how)

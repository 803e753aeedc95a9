"""Writes a lumbar spine data set of phantoms in the layout of RSNA 2024: DICOM series and three tables.

pydicom is imported inside the functions: it takes 0.3 s, which only writing the phantom should pay.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xlite.console import ProgressCallback
from xlite.data.levels import CONDITION, IMAGES, LEVEL_KEYS, LEVELS, POINT_COLUMNS, POINTS, SERIES, SERIES_TABLE
from xlite.data.phantom.lumbar_scene import NUM_LEVELS, Spine, draw_slice, draw_spine, make_frame, slice_positions
from xlite.data.phantom.writing import check_minimum, write_once
from xlite.data.sources.rsna import LABELS
from xlite.errors import InputError
from xlite.storage.files import write_text

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

VERSION = 1  # incremented when any image or label changes
GRADE_SHARES = (0.6, 0.22, 0.18)
"""Share of each grade. RSNA's are 0.88, 0.07 and 0.05: too few Severe levels in a hundred studies to learn from."""
_LEVEL_FACTORS = np.array([0.45, 0.8, 1.2, 1.5, 1.05])  # narrowing is most common at L4/L5; mean 1

_OTHER_CONDITIONS = (
    *("left_neural_foraminal_narrowing", "right_neural_foraminal_narrowing"),
    *("left_subarticular_stenosis", "right_subarticular_stenosis"),
)
_FULL_SIGNAL = 900.0  # stored value of fluid, before the gain of the scanner


@dataclass(frozen=True)
class _Study:
    """The parameters of one patient's files; `seed` decides the rest of the images."""

    study_id: int
    series_id: int
    grades: np.ndarray
    num_slices: int
    gain: float
    seed: np.random.SeedSequence


def lumbar_phantom_folder(root: Path, *, num_studies: int = 100, image_px: int = 128, seed: int = 0) -> Path:
    """The folder of the data set with these parameters under `root`, e.g. `lumbar-100x128-s0-v1`."""
    return root / f"lumbar-{num_studies}x{image_px}-s{seed}-v{VERSION}"


def write_lumbar_phantom(
    folder: Path,
    *,
    num_studies: int = 100,
    image_px: int = 128,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> None:
    """Write the data set into `folder`, atomically, unless it is there already.

    Each study has one sagittal T2 series of 11 to 15 slices, and for each level a grade and a point in the middle
    slice; conditions other than canal stenosis have no grades. The bytes depend on `num_studies`, `image_px` and `seed`
    only.

    Args:
        folder: see `lumbar_phantom_folder`.
        num_studies: at least 10.
        image_px: side of the slices, at least 64 and even.
        seed: not negative.
        progress: called with (studies done, num_studies).

    Raises:
        InputError: a parameter out of range, or `folder` holds something else.
    """
    parameters = {"version": VERSION, "num_studies": num_studies, "image_px": image_px, "seed": seed}
    check_minimum(parameters, num_studies=10, image_px=64, seed=0)
    if image_px % 2:
        raise InputError(f"phantom: image_px is {image_px}; use an even number")
    write_once(folder, parameters, lambda to: _write(to, _draw_studies(num_studies, seed), image_px, progress))


def _draw_studies(num_studies: int, seed: int) -> list[_Study]:
    root, *seeds = np.random.SeedSequence([seed, VERSION]).spawn(num_studies + 1)
    rng = np.random.default_rng(root)
    numbers = rng.choice(4_000_000, 2 * num_studies, replace=False) * 1000 + rng.integers(0, 1000, 2 * num_studies)
    rare = np.array(GRADE_SHARES[1:]) * _LEVEL_FACTORS[:, None]  # (levels, 2)
    edges = np.cumsum(np.concatenate([1 - rare.sum(axis=1, keepdims=True), rare], axis=1), axis=1)[:, :-1]
    grades = (rng.random((num_studies, NUM_LEVELS, 1)) > edges).sum(axis=2)
    return [
        _Study(
            study_id=int(numbers[k]),
            series_id=int(numbers[num_studies + k]),
            grades=grades[k],
            num_slices=int(rng.integers(11, 16)),
            gain=float(rng.uniform(0.4, 1.8)),
            seed=seeds[k],
        )
        for k in range(num_studies)
    ]


def _write(folder: Path, studies: list[_Study], image_px: int, progress: ProgressCallback | None) -> None:
    others = [f"{condition}_{key}" for condition in _OTHER_CONDITIONS for key in LEVEL_KEYS]
    grades = [",".join(["study_id", *(f"spinal_canal_stenosis_{key}" for key in LEVEL_KEYS), *others])]
    series = ["study_id,series_id,series_description"]
    points = [",".join(POINT_COLUMNS)]
    for done, study in enumerate(studies, start=1):
        middle, points_px = _write_series(folder / IMAGES, study, image_px)
        grades.append(",".join([str(study.study_id), *(LABELS[k] for k in study.grades), *("" for _ in others)]))
        series.append(f"{study.study_id},{study.series_id},{SERIES}")
        points += [
            f"{study.study_id},{study.series_id},{middle},{CONDITION},{level},{x:.3f},{y:.3f}"
            for level, (x, y) in zip(LEVELS, points_px.tolist(), strict=True)
        ]
        if progress is not None:
            progress(done, len(studies))
    for name, lines in (("train.csv", grades), (SERIES_TABLE, series), (POINTS, points)):
        write_text(folder / name, "\n".join([*lines, ""]))


def _write_series(images: Path, study: _Study, image_px: int) -> tuple[int, np.ndarray]:
    """Write the slices.

    Returns:
        The instance number of the middle slice, and the levels' points (NUM_LEVELS, 2) in pixels.
    """
    rng = np.random.default_rng(study.seed)
    spine = draw_spine(study.grades, rng)
    frame = make_frame(spine, image_px, rng)
    folder = images / str(study.study_id) / str(study.series_id)
    folder.mkdir(parents=True)
    positions = slice_positions(study.num_slices)
    for number, z in enumerate(positions.tolist(), start=1):
        signal = draw_slice(spine, frame, z, rng) * (_FULL_SIGNAL * study.gain)
        stored = np.rint(signal).clip(0, 4095).astype("<u2")
        _dataset(study, spine, stored, number, z).save_as(folder / f"{number}.dcm", enforce_file_format=True)
    centre = np.mean(spine.middle_z(np.array([disc.s for disc in spine.discs[1 : 1 + NUM_LEVELS]])))
    clicked = spine.points(image_px) + rng.normal(0, 0.8 * image_px / spine.field_of_view, (NUM_LEVELS, 2))
    return int(np.abs(positions - centre).argmin()) + 1, clicked


def _dataset(study: _Study, spine: Spine, stored: np.ndarray, number: int, z: float) -> "Dataset":
    """One slice with the tags that readers of MR series use; the patient's left is at larger z."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    uid = _uid(f"{study.study_id}.{study.series_id}.{number}")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation")
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, uid
    dataset.Modality, dataset.SeriesDescription = "MR", "Sag T2 phantom"
    dataset.PatientID = str(study.study_id)
    dataset.StudyInstanceUID = _uid(f"{study.study_id}")
    dataset.SeriesInstanceUID = _uid(f"{study.study_id}.{study.series_id}")
    dataset.InstanceNumber = number
    pixel_mm = spine.field_of_view / len(stored)
    corner = (len(stored) - 1) / 2 * pixel_mm
    dataset.PixelSpacing = [round(pixel_mm, 5)] * 2
    dataset.SliceThickness = 4.0
    dataset.ImagePositionPatient = [round(z, 3), round(-corner, 3), round(corner, 3)]
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]  # sagittal: columns run to the back, rows to the feet
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = stored.tobytes()
    return dataset


def _uid(name: str) -> "UID":
    """A DICOM UID from a name: the root 2.25 allows any number below 2^128."""
    from pydicom.uid import UID

    return UID(f"2.25.{int.from_bytes(hashlib.sha256(name.encode()).digest()[:15], 'big')}")

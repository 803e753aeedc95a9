"""Writes a chest X-ray data set of phantoms in the layout of NIH ChestX-ray14, to try the library without data."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from xlite.console import ProgressCallback
from xlite.cores import available_cpus
from xlite.data.phantom.chest import draw_chest
from xlite.data.phantom.chest_records import Picture, draw_records
from xlite.data.phantom.writing import check_minimum, write_once
from xlite.errors import InputError
from xlite.storage.files import write_text

VERSION = 1  # incremented when any image or label changes
_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def phantom_folder(root: Path, *, num_images: int = 1200, image_px: int = 256, seed: int = 0) -> Path:
    """The folder of the data set with these parameters under `root`, e.g. `chest-1200x256-s0-v1`."""
    return root / f"chest-{num_images}x{image_px}-s{seed}-v{VERSION}"


def write_phantom(
    folder: Path,
    *,
    num_images: int = 1200,
    image_px: int = 256,
    seed: int = 0,
    num_threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Write the data set into `folder`, atomically, unless it is there already.

    The bytes depend on `num_images`, `image_px` and `seed` only.

    Args:
        folder: see `phantom_folder`.
        num_images: at least 10, so that both official lists have patients.
        image_px: side of the images, at least 64 and a multiple of 4.
        seed: not negative.
        num_threads: default: one per core.
        progress: called with (images done, num_images).

    Raises:
        InputError: a parameter out of range, or `folder` holds something else.
    """
    parameters = {"version": VERSION, "num_images": num_images, "image_px": image_px, "seed": seed}
    check_minimum(parameters, num_images=10, image_px=64, seed=0)
    if image_px % 4:
        raise InputError(f"phantom: image_px is {image_px}; use a multiple of 4")
    write_once(folder, parameters, lambda to: _write(to, parameters, num_threads, progress))


def _write(
    folder: Path, parameters: dict[str, int], num_threads: int | None, progress: ProgressCallback | None
) -> None:
    pictures = draw_records(parameters["num_images"], parameters["seed"])
    images = folder / "images_001" / "images"
    images.mkdir(parents=True)

    def write_picture(picture: Picture) -> None:
        _write_png(images / picture.name, picture, parameters["image_px"], parameters["seed"])

    pool = ThreadPoolExecutor(num_threads or available_cpus())
    try:
        for done, _ in enumerate(pool.map(write_picture, pictures), start=1):
            if progress is not None:
                progress(done, len(pictures))
    finally:
        pool.shutdown(cancel_futures=True)
    table = "".join(line + "\r\n" for line in [_HEADER, *(picture.row() for picture in pictures)])
    (folder / "Data_Entry_2017_v2020.csv").write_bytes(table.encode())
    for name, is_test in (("train_val_list.txt", False), ("test_list.txt", True)):
        chosen = [picture.name for picture in pictures if (picture.patient % 5 == 2) == is_test]
        write_text(folder / name, "\n".join(chosen))  # no newline at the end, as in NIH's lists


def _write_png(path: Path, picture: Picture, image_px: int, seed: int) -> None:
    pixels = draw_chest(picture, seed=seed, image_px=image_px)
    if picture.rgba:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGRA)
    encoded, data = cv2.imencode(".png", pixels)  # with a compression level OpenCV tries all filters: twice the time
    assert encoded, path
    path.write_bytes(data.tobytes())

"""Reads lists of image names, a file a part: train.txt and test.txt, train_list.csv ..."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xlite.data.sources.cells import PARTS
from xlite.data.sources.csv_text import read_text
from xlite.data.sources.image_files import ImageFiles

_SUFFIXES = (".txt", ".lst", ".csv")


def part_of_file(path: Path) -> str | None:
    """The part a file is named after: "val" for valid.csv or val_labels.csv; None for others."""
    words = path.name.split(".")[0].lower().replace("-", "_").split("_")
    found = {PARTS[word] for word in words if word in PARTS}
    return "train" if found == {"train", "val"} else found.pop() if len(found) == 1 else None


def listed_parts(files: ImageFiles, images: Sequence[str]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The part of each image by lists at the top of the folder, and notes.

    Lists count only if every line names an image and each image is on exactly one.
    """
    part_of_image: dict[str, str] = {}
    names = []
    for name in files.others:
        part = part_of_file(Path(name)) if "/" not in name and Path(name).suffix.lower() in _SUFFIXES else None
        if part is None:
            continue
        lines = [line.strip() for line in read_text(files.folder / name).splitlines() if line.strip()]
        found = [files.find(line.split("\t")[0]) for line in lines]
        if not lines or any(len(each) != 1 for each in found):
            return None, (f"{name} is not used: not every line of it names one image",)
        names.append(name)
        part_of_image.update({each[0]: part for each in found})
    if len(set(part_of_image.values())) < 2:
        return None, tuple(f"{name} is not used: there is no list of another part" for name in names)
    if without := [image for image in images if image not in part_of_image]:
        return None, (f"{', '.join(names)} are not used: {len(without)} images are on none, e.g. {without[0]}",)
    return np.array([part_of_image[image] for image in images]), (f"parts by the lists {', '.join(names)}",)

"""Hashes of the pictures a model has seen, small enough to go with it: they tell whether it has seen a given picture.

They say nothing else: a hash is 64 bits of a digest, without id, label or part, and cannot be turned back into one.
"""

from pathlib import Path

import numpy as np

from xlite.data.cache_build import HASHES, has_hashes, hashes_of_rows
from xlite.data.dataset import Dataset
from xlite.data.held_out import HELD_OUT
from xlite.errors import InputError
from xlite.storage.files import atomic_write

FILE = "seen_pictures.npy"
SEEN_PARTS = ("train", "val", HELD_OUT)
"""Parts that a promoted model was trained on, chosen by, or given thresholds by."""


def example_hashes(dataset: Dataset) -> np.ndarray:
    """(N, 2) uint64 `PictureHashes` of the examples; of a cache without hashes those of its pixels."""
    pixels, folder = dataset.open_pixels(), dataset.pixel_file.parent
    if has_hashes(folder, len(pixels)):
        return np.load(folder / HASHES)[dataset.rows]
    return hashes_of_rows(pixels, dataset.rows.tolist())[dataset.rows]


def write_seen_pictures(folder: Path, dataset: Dataset) -> None:
    """Write the sorted hashes of all pictures but the test part's to `folder`, 8 bytes each."""
    rows = np.concatenate([dataset.parts[part] for part in SEEN_PARTS if part in dataset.parts])
    hashes = np.unique(example_hashes(dataset)[rows, 0]).astype("<u8")
    with atomic_write(folder / FILE) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array(file, hashes[hashes != 0], version=(1, 0))


def read_seen_pictures(folder: Path) -> np.ndarray | None:
    """(M,) uint64, sorted; None if the package has none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        hashes = np.load(path, allow_pickle=False)
        if hashes.dtype != np.uint64 or hashes.ndim != 1:
            raise ValueError(f"it holds {hashes.dtype} of shape {hashes.shape}")
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: not the hashes of pictures ({error}); package the model again") from None
    return hashes

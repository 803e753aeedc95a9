"""Images of other data that a model's study has too: its test part, what it was trained on, twins of that."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xlite.data.dataset import Dataset
from xlite.data.seen_pictures import SEEN_PARTS, example_hashes
from xlite.data.twins import ALIKE, correlation


@dataclass(frozen=True, eq=False)
class StudyImages:
    """The M examples of a study, as far as known.

    Attributes:
        ids, groups, parts: (M,) unicode; parts are "train", "val", "test", "held_out" or "". Where a package is all
            there is, ids and groups are "" and each part is "train": a picture that it has seen.
        hashes: (M, 2) uint64, see `PictureHashes`.
        dataset: to compare cached inputs, or None.
    """

    ids: np.ndarray
    groups: np.ndarray
    parts: np.ndarray
    hashes: np.ndarray
    dataset: Dataset | None = None

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> "StudyImages":
        """All examples of a study that is here."""
        parts = np.full(len(dataset.ids), "", dtype="<U8")
        for name, rows in dataset.parts.items():
            parts[rows] = name
        return cls(dataset.ids, dataset.groups, parts, example_hashes(dataset), dataset)

    @classmethod
    def of_hashes(cls, seen: np.ndarray) -> "StudyImages":
        """What a package that lies alone says: the (M,) pixel hashes of the pictures it has seen."""
        blank = np.full(len(seen), "")
        hashes = np.stack([seen, np.zeros_like(seen)], axis=1)
        return cls(blank, blank, np.full(len(seen), "train"), hashes)


@dataclass(frozen=True, eq=False)
class Overlap:
    """What N examples of other data have in common with a study.

    Attributes:
        place: (N,) the study's example with this picture, -1 for none.
        by_id: (N,) bool, it also has this id there: the data is the study's own.
        part: (N,) unicode, its part; "" for none.
        known_patient: (N,) bool, no image of the study, but of a patient whose images it has seen; only where some of
            the data is the study's own, since other data's patient "1" is another one.
    """

    place: np.ndarray
    by_id: np.ndarray
    part: np.ndarray
    known_patient: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """(N,) bool: trained on, or chosen by."""
        return np.isin(self.part, SEEN_PARTS)

    @property
    def refused(self) -> np.ndarray:
        """(N,) bool: the study's own images that it has seen."""
        return self.by_id & self.seen

    @property
    def twin(self) -> np.ndarray:
        """(N,) bool: other images that show a picture it has seen."""
        return ~self.by_id & self.seen


def overlap_of(
    study: StudyImages, ids: np.ndarray, groups: np.ndarray, hashes: np.ndarray, pixels: np.ndarray, rows: np.ndarray
) -> Overlap:
    """Find the N examples with these ids, groups and `hashes` (N, 2) in a study.

    A picture is the same if every pixel is, or if the study's example of the same id, or of the same perceptual hash,
    has nearly the same cached input (`twins.ALIKE`): the same image in another size or format.

    Args:
        pixels: the cached inputs of the other data, made by the model's preprocessing; `rows` (N,) its places there.
    """
    same_id = _first_places(study.ids, ids)
    place, by_id = np.full(len(ids), -1), np.zeros(len(ids), dtype=bool)
    for row in np.flatnonzero(same_id >= 0).tolist():
        other = int(same_id[row])
        if study.hashes[other, 0] == hashes[row, 0] or _alike(study, [other], pixels[rows[row]]):
            place[row], by_id[row] = other, True
    seen_last = np.argsort(~np.isin(study.parts, SEEN_PARTS), kind="stable")  # of copies, one that was seen counts
    exact = _first_places(study.hashes[:, 0], hashes[:, 0], order=seen_last)
    exact[hashes[:, 0] == 0] = -1
    place = np.where(by_id, place, exact)
    if study.dataset is not None:
        near: dict[int, list[int]] = {}
        for at in seen_last.tolist():
            near.setdefault(int(study.hashes[at, 1]), []).append(at)
        for row in np.flatnonzero((place < 0) & (hashes[:, 1] != 0)).tolist():
            found = _alike(study, near.get(int(hashes[row, 1]), []), pixels[rows[row]])
            place[row] = found[0] if found else -1
    part = np.where(place >= 0, study.parts[place], "") if len(study.parts) else np.full(len(ids), "")
    seen_groups = np.unique(study.groups[np.isin(study.parts, SEEN_PARTS)])
    known = (place < 0) & np.isin(groups, seen_groups) & by_id.any()
    return Overlap(place, by_id, part, known)


def _first_places(among: np.ndarray, wanted: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
    """(N,) the place of each wanted value in `among` (M,), the first in `order`; -1 where there is none, or for ""."""
    values, first = among.tolist(), dict[object, int]()
    for place in range(len(values)) if order is None else order.tolist():
        first.setdefault(values[place], place)
    first.pop("", None)
    return np.array([first.get(value, -1) for value in wanted.tolist()], dtype=np.int64)


def _alike(study: StudyImages, places: Sequence[int], pixels: np.ndarray) -> list[int]:
    """Those of the study's examples whose cached inputs are nearly these."""
    if study.dataset is None or study.dataset.input_spec.shape != pixels.shape:
        return []
    cached = study.dataset.open_pixels()
    return [at for at in places if correlation(cached[study.dataset.rows[at]], pixels) >= ALIKE]

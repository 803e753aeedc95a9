"""Finds masks and thumbnails among a data set's pictures: they belong to other pictures and are no examples.

A word in a name is not enough, since "mask" can be a class: there must be a picture that each belongs to. Where the
folders could be classes as well (mask/1.png beside no_mask/1.png), a few of the pictures are looked at.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from xlite.data.decode import read_picture
from xlite.data.glance import glance
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError

_MASK = (
    r"masks?|seg(?:s|mentations?)?|gts?|ground[ _-]?truths?|annot(?:ation)?s?|anno|labels?|contours?|overlays?|rois?"
)
_THUMBNAIL = "thumb(?:nail)?s?"
_MASK_FOLDERS = {
    *("mask", "masks", "seg", "segs", "segmentation", "segmentations", "gt", "gts", "groundtruth", "truth"),
    *("annotation", "annotations", "annots", "anno", "label", "labels", "contour", "contours", "overlay", "overlays"),
    *("roi", "rois"),
}
_THUMBNAIL_FOLDERS = {"thumb", "thumbs", "thumbnail", "thumbnails"}
_THUMBNAIL_CACHE = "@eaDir"  # of Synology's file server; holds nothing else
_PICTURE_FOLDERS = {
    *("image", "images", "img", "imgs", "picture", "pictures", "pics", "photo", "photos", "original", "originals"),
    *("input", "inputs", "raw", "scan", "scans", "frame", "frames", "xray", "xrays", "cxr"),
}
_CLASS_WORDS = {"with", "without", "no", "non", "not", "un", "wearing"}
_MIN_PAIRED = 0.1  # of a folder's masks; the pictures of the others may be missing
_MIN_SHARE = 0.5  # of the pairs that must be certain, or of those looked at that must look right
_NUM_LOOKED_AT = 6
_MAX_LEVELS, _MASK_BINS_SHARE = 32, 0.97
_LAST_CHARACTER = "\U0010ffff"

_Owners = dict[tuple[str, str], list[str]]
"""Sorted paths by stem and folder's name, and by stem and "": thousands may be called image.png."""


@dataclass(frozen=True)
class _Kind:
    """How names say that a file belongs to another: by the end or begin of the stem, or by a folder's words.

    `hint` is quick and found in all such names.
    """

    hint: re.Pattern[str]
    stem: re.Pattern[str]
    folders: Set[str]


def _kind(words: str, folders: Set[str]) -> _Kind:
    number = r"(?:[ _.-]*(?:\d+|left|right|[lr]))?"
    stem = rf"(?P<a>.+?)[ _.-]+(?:{words}){number}|(?:{words})[ _.-]+(?P<b>.+)"
    return _Kind(re.compile(f"{words}|truth", re.IGNORECASE), re.compile(stem, re.IGNORECASE), folders)


_MASKS = _kind(_MASK, _MASK_FOLDERS)
_THUMBNAILS = _kind(_THUMBNAIL, _THUMBNAIL_FOLDERS)


def find_masks(folder: Path, images: Sequence[str], others: Iterable[str] = ()) -> frozenset[str]:
    """The pictures that are masks, segmentations or drawings of other pictures.

    Args:
        folder: where the paths begin.
        images: relative paths with "/".
        others: further files that a mask may belong to, e.g. pictures in a format that is not read.
    """

    def looks_right(mask: str, _: str) -> bool:
        levels = np.bincount(read_picture(folder / mask, channels=1).ravel(), minlength=256)
        bins = np.sort(levels.reshape(16, 16).sum(axis=1))
        return bool(np.count_nonzero(levels) <= _MAX_LEVELS or bins[-2:].sum() >= _MASK_BINS_SHARE * levels.sum())

    return _find(_MASKS, images, others, looks_right)


def find_thumbnails(folder: Path, images: Sequence[str]) -> frozenset[str]:
    """The pictures that are small copies of others. Arguments as `find_masks`."""

    def looks_right(small: str, large: str) -> bool:
        return max(glance(folder / small, pixels=False).size) < max(glance(folder / large, pixels=False).size)

    cached = frozenset(path for path in images if _THUMBNAIL_CACHE in path.split("/"))
    return cached | _find(_THUMBNAILS, [path for path in images if path not in cached], (), looks_right)


def _find(
    kind: _Kind, images: Sequence[str], others: Iterable[str], looks_right: Callable[[str, str], bool]
) -> frozenset[str]:
    """The pictures of `kind`, decided for each folder, or for each folder's endings, as a whole."""
    found: set[str] = set()
    hinted, others = [path for path in images if kind.hint.search(path)], tuple(others)
    for reading in (_by_folder, _by_stem):
        groups: dict[tuple[str, ...], list[_Candidate]] = defaultdict(list)
        for path in hinted:
            if path not in found and (candidate := reading(kind, path)) is not None:
                groups[candidate.group].append(candidate)
        if not groups:
            continue
        left_out = found | {candidate.path for members in groups.values() for candidate in members}
        owners: _Owners = defaultdict(list)
        for path in sorted({*images, *others} - left_out):
            for folder in {"", *path.split("/")[-2:-1]}:
                owners[_stem(path), folder].append(path)
        for members in groups.values():
            if _is_kind(kind, members, owners, looks_right):
                found |= {candidate.path for candidate in members}
    return frozenset(found)


@dataclass(frozen=True)
class _Candidate:
    """A picture whose name says that it belongs to another.

    Attributes:
        group: what is decided as a whole: its folders up to the one that says so, or all and "*" if its stem does.
        rest: folders below that one that do not say so.
        stems: the stems that its owner can have.
    """

    path: str
    group: tuple[str, ...]
    rest: tuple[str, ...]
    stems: tuple[str, ...]


def _by_folder(kind: _Kind, path: str) -> _Candidate | None:
    """By the outermost folder of `kind`, as in ManualMask/leftMask/1.png; folders of pictures may lie above it."""
    folders = tuple(path.split("/")[:-1])
    last_picture = max((i for i, name in enumerate(folders) if _holds_pictures(kind, name)), default=-1)
    saying = [i for i, name in enumerate(folders) if i > last_picture and _says(kind, name)]
    if not saying:
        return None
    at = saying[0]
    rest = tuple(name for i, name in enumerate(folders) if i > at and i not in saying)
    return _Candidate(path, folders[: at + 1], rest, (_stem(path), *_owner_stems(kind, path)))


def _says(kind: _Kind, folder: str) -> bool:
    words = _words(folder)
    return bool(words & kind.folders) and not words & _CLASS_WORDS


def _holds_pictures(kind: _Kind, folder: str) -> bool:
    return bool(_words(folder) & _PICTURE_FOLDERS) and not _says(kind, folder)  # image_masks


def _by_stem(kind: _Kind, path: str) -> _Candidate | None:
    stems = _owner_stems(kind, path)
    return _Candidate(path, (*path.split("/")[:-1], "*"), (), stems) if stems else None


def _owner_stems(kind: _Kind, path: str) -> tuple[str, ...]:
    """The stem without the words of `kind`, and that without one more word: 1_lesion_mask belongs to 1."""
    match = kind.stem.fullmatch(_stem(path))
    if match is None:
        return ()
    owner = match["a"] or match["b"]
    return tuple(dict.fromkeys((owner, re.sub(r"[ _.-]+[^ _.-]+$", "", owner))))


def _is_kind(
    kind: _Kind,
    members: Sequence[_Candidate],
    owners: _Owners,
    looks_right: Callable[[str, str], bool],
) -> bool:
    pairs = [(member, owner) for member in members if (owner := _owner(member, owners)) is not None]
    if not pairs or len(pairs) < _MIN_PAIRED * len(members):
        return False
    if sum(_is_certain(kind, *pair) for pair in pairs) >= _MIN_SHARE * len(pairs):
        return True
    places = np.unique(np.linspace(0, len(pairs) - 1, _NUM_LOOKED_AT).astype(int))
    return sum(_holds(looks_right, pairs[i]) for i in places) >= _MIN_SHARE * len(places)


def _holds(looks_right: Callable[[str, str], bool], pair: tuple[_Candidate, str]) -> bool:
    try:
        return looks_right(pair[0].path, pair[1])
    except (UnreadableImage, InputError, OSError):
        return False


def _owner(member: _Candidate, owners: _Owners) -> str | None:
    """The picture that `member` belongs to: beside it, or where its folder's own siblings are."""
    above, rest = member.group[:-1], member.rest
    inside = "".join(f"{folder}/" for folder in above)
    for stem in member.stems:
        paths = owners.get((stem, rest[-1] if rest else ""), [])
        begin, end = bisect_left(paths, inside), bisect_left(paths, f"{inside}{_LAST_CHARACTER}")
        found = [path for path in paths[begin:end] if _is_below(path, above, rest)]
        beside = [path for path in found if tuple(path.split("/")[:-1]) == above]
        if beside or found:
            return (beside or found)[0]
    return None


def _is_below(path: str, above: tuple[str, ...], rest: tuple[str, ...]) -> bool:
    folders = tuple(path.split("/")[:-1])
    return folders[: len(above)] == above and (not rest or rest in (folders[len(above) :], folders[len(above) + 1 :]))


def _is_certain(kind: _Kind, member: _Candidate, owner: str) -> bool:
    """Whether the names alone settle it: x_mask.png beside x.png, masks/x.png below x.png or beside images/x.png."""
    folders, above = owner.split("/")[:-1], member.group[:-1]
    if len(folders) == len(above):
        return True
    return member.group[-1] != "*" and _holds_pictures(kind, folders[len(above)])


def _stem(path: str) -> str:
    return PurePosixPath(path).stem.casefold()


@lru_cache(maxsize=4096)
def _words(folder: str) -> frozenset[str]:
    """The words in a folder's name, which may be run together as in leftMask."""
    return frozenset(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).lower()))

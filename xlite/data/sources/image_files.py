"""The image files under a folder: listed once, found by the names in a table, sampled for size and colour."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path, PurePosixPath

import numpy as np

from xlite.data.glance import glance, starts_as_dicom
from xlite.data.image_formats import DICOM_SUFFIXES, SUFFIXES
from xlite.data.sources.path_ends import PathEnds, path_parts
from xlite.data.sources.set_aside import find_masks, find_thumbnails
from xlite.data.sources.walk import find_files
from xlite.data.table import Item
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError

_DICOM_DETAIL = "dicom 2"
"""Raised when DICOM files are read differently: part of such items, and so of the key of their pixel cache."""
_NUM_HEADERS, _NUM_COLOURS, _NUM_DICOMS = 300, 48, 12
_WIDE, _SPOTS = 0.1, 0.01  # share of a picture in colour
_MIN_WIDE, _MIN_SPOTS = 0.05, 0.5  # share of the pictures that are so, above which the set is in colour


@dataclass(frozen=True)
class ImageFiles:
    """Files under `folder`, as sorted relative paths with "/".

    Attributes:
        images: files that can be read as pictures: by their suffix, or by their first bytes where it says nothing.
        others: all other files that are not set aside: tables, texts, and all in `unread`.
        masks: pictures that are masks or drawings of other pictures.
        thumbnails: pictures that are small copies of other pictures.
        unread: suffix ("" for none) -> files of `others` that are no documents: perhaps pictures that are not read.
        empty_folders: folders in which there is nothing at all.
    """

    folder: Path
    images: tuple[str, ...]
    others: tuple[str, ...]
    masks: tuple[str, ...] = ()
    thumbnails: tuple[str, ...] = ()
    unread: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    empty_folders: tuple[str, ...] = ()

    def item(self, path: str) -> Item:
        """One of `images` as an example's raw input."""
        file, name = self.folder / path, path.lower()
        is_dicom = name.endswith(DICOM_SUFFIXES) or (not name.endswith(SUFFIXES) and starts_as_dicom(file))
        return Item((file,), _DICOM_DETAIL if is_dicom else "")

    def unread_in(self, depth: int) -> dict[str, Counter[str]]:
        """Folder of `depth` + 1 levels -> suffix -> number of files in `unread` in it and below."""
        counts: dict[str, Counter[str]] = {}
        for suffix, paths in self.unread.items():
            for path in paths:
                if path.count("/") > depth:
                    counts.setdefault("/".join(path.split("/")[: depth + 1]), Counter())[suffix] += 1
        return counts

    @property
    def set_aside_notes(self) -> list[str]:
        """Lines on what was found and is not used, with counts: masks, thumbnails, unread formats."""
        notes = [
            f"left out: {len(paths)} {what} of other images, e.g. {paths[0]}"
            for what, paths in (("masks or drawings", self.masks), ("thumbnails", self.thumbnails))
            if paths
        ]
        if self.unread:
            counts = ", ".join(f"{suffix or 'no suffix'} {len(paths)}" for suffix, paths in self.unread.items())
            first = next(iter(self.unread.values()))[0]
            notes.append(f"left out: files in formats that are not read: {counts}, e.g. {first}")
        return notes

    def find(self, name: str) -> tuple[str, ...]:
        """The images that `name` can mean: none, one, or two of several if it is ambiguous.

        A name means an image if it is the end of the image's path, with or without the file's suffix. Folders above
        `folder` may precede it, as long as the known ones agree. A file with exactly this path takes precedence over
        others that only end with it.
        """
        wanted = path_parts(name)
        while wanted[:1] == [".."]:
            del wanted[0]
        if not wanted:
            return ()
        for index in (self._with_suffix, self._without_suffix):
            exact = index.named(wanted)
            if len(exact) == 1:
                return (exact[0],)
            # Of the folders above `folder` only the last is known: a longer name may extend above it.
            below = [wanted[at:] for at in range(1, len(wanted)) if wanted[at - 1] == self._name]
            found = {path for parts in below for path in index.named(parts)} | {*islice(index.ending_in(wanted), 2)}
            if found:
                return tuple(sorted(found)[:2])
        return ()

    def in_folder(self, name: str) -> tuple[str, ...]:
        """The images in the folder whose path ends in `name`, and below it; none if two folders end so."""
        wanted = path_parts(name)
        if wanted[:1] == [self._name]:
            del wanted[0]
        found = list(islice(self._folders.ending_in(wanted), 2))
        if len(found) != 1:
            return ()
        begin, end = (bisect_left(self.images, f"{found[0]}{after}") for after in "/0")  # "0" comes right after "/"
        return self.images[begin:end]

    @cached_property
    def _name(self) -> str:
        return self.folder.resolve().name

    @cached_property
    def _folders(self) -> PathEnds:
        folders = {parent for path in self.images for parent in map(str, PurePosixPath(path).parents)} - {"."}
        return PathEnds((folder, folder) for folder in folders)

    @cached_property
    def _with_suffix(self) -> PathEnds:
        paths = [path for path in self.images if path.lower().endswith(SUFFIXES)]
        return PathEnds((name, path) for path in paths for name in (path, path.rpartition(".")[0]))

    @cached_property
    def _without_suffix(self) -> PathEnds:
        return PathEnds((path, path) for path in self.images if not path.lower().endswith(SUFFIXES))


def list_images(folder: Path) -> ImageFiles:
    """List the files under `folder` as `find_files` does, and set masks and thumbnails aside.

    Links are followed: data sets are often assembled from links, and only someone with write access can make one. The
    names in a table are only looked up among these files, so text in it cannot reach any other file.

    Raises:
        InputError: as `find_files`.
    """
    found = find_files(folder)
    thumbnails = find_thumbnails(folder, found.images)
    images = [path for path in found.images if path not in thumbnails]
    masks = find_masks(folder, images, chain.from_iterable(found.unread.values()))
    return ImageFiles(
        folder,
        tuple(path for path in images if path not in masks),
        found.others,
        masks=tuple(sorted(masks)),
        thumbnails=tuple(sorted(thumbnails)),
        unread=found.unread,
        empty_folders=found.empty_folders,
    )


@dataclass(frozen=True)
class ImageSample:
    """What up to a few hundred of the images show.

    Attributes:
        sizes: (width, height) -> number of images.
        is_colour: whether the set is in colour: more than 5% of the images over a tenth of their area, or more than
            half of them in spots. A stamp on one radiograph does not count.
        exceptions: what the others are, "" if there are none.
        unreadable: what is wrong with each image that cannot be opened, with its name.
        several: images with several frames or pages, of which the first is read.
    """

    sizes: Counter[tuple[int, int]]
    is_colour: bool
    exceptions: str
    unreadable: tuple[str, ...]
    several: tuple[str, ...]

    @property
    def line(self) -> str:
        """One line to show to the user."""
        num_readable = sum(self.sizes.values())
        total = num_readable + len(self.unreadable)
        if not num_readable:
            return f"of {total} images sampled none can be opened, e.g. {self.unreadable[0]}"
        common = ", ".join(
            f"{w} x {h} ({count})"
            for (w, h), count in sorted(self.sizes.items(), key=lambda entry: (-entry[1], entry[0]))[:3]
        )
        more = f" and {len(self.sizes) - 3} other sizes" if len(self.sizes) > 3 else ""
        colour = "colour: 3 channels" if self.is_colour else "grey: 1 channel"
        line = f"of {total} images sampled: {common}{more} px; {colour}{self.exceptions}"
        if self.several:
            line += f"; {len(self.several)} have several frames or pages, e.g. {self.several[0]}: the first is read"
        if self.unreadable:
            line += f"; {len(self.unreadable)} cannot be opened, e.g. {self.unreadable[0]}"
        return line


def sample_images(paths: Sequence[Path]) -> ImageSample:
    """Read the headers of at most 300 images, evenly spread, and the pixels of some whose format can hold colour."""
    spread = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _NUM_HEADERS)).astype(int))]
    sizes: Counter[tuple[int, int]] = Counter()
    unreadable, several, num_grey, num_colour_formats = [], [], 0, 0
    shares: dict[Path, float] = {}
    dicoms_left = _NUM_DICOMS
    # Permuted, so that the first ones are not all of one class folder.
    for path in np.random.default_rng(0).permutation(np.array(spread, dtype=object)):
        if path.suffix.lower() in DICOM_SUFFIXES or starts_as_dicom(path):
            dicoms_left -= 1
            if dicoms_left < 0:
                continue
        try:
            seen = glance(path, pixels=len(shares) < _NUM_COLOURS)
        except (UnreadableImage, InputError, OSError) as error:
            unreadable.append(str(error))
            continue
        sizes[seen.size] += 1
        several += [_short(path)] if seen.has_several else []
        num_grey += not seen.may_be_colour
        num_colour_formats += seen.may_be_colour
        if seen.colour_share is not None:
            shares[path] = seen.colour_share
    is_colour, exceptions = _decide_colour(shares, num_grey, num_colour_formats)
    return ImageSample(sizes, is_colour, exceptions, tuple(unreadable), tuple(several))


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _decide_colour(shares: Mapping[Path, float], num_grey: int, num_colour_formats: int) -> tuple[bool, str]:
    """(whether a set is in colour, what the exceptions are).

    Args:
        shares: share in colour of the images looked at, a random part of those whose format can hold colour.
        num_grey, num_colour_formats: images whose format cannot hold colour, and can.
    """
    if not shares:
        return False, ""
    weight = num_colour_formats / (num_grey + num_colour_formats) / len(shares)
    spotted = [path for path, share in shares.items() if share >= _SPOTS]
    num_wide = sum(share >= _WIDE for share in shares.values())
    total = num_grey + len(shares)
    if weight * num_wide > _MIN_WIDE or weight * len(spotted) > _MIN_SPOTS:
        grey = next((_short(path) for path in shares if path not in spotted), "")
        num_exceptions = total - len(spotted)
        return True, f" ({num_exceptions} of {total} are grey{grey and f', e.g. {grey}'})" if num_exceptions else ""
    if not spotted:
        return False, ""
    return False, f" ({len(spotted)} of {total} have colour in them, e.g. {_short(spotted[0])}: read as grey)"

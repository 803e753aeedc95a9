"""The image files under a folder: listed once, found by the names a table gives, looked at for size and colour."""

import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from xlite.data.dicom import read_colour_or_grey
from xlite.data.image_bytes import is_dicom
from xlite.data.sources.listing import check_folder
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError
from xlite.storage.text import has_control_characters

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm")
_GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_NUM_HEADERS, _NUM_COLOURS, _NUM_DICOMS = 300, 48, 12
_COLOUR_DIFFERENCE = 16  # JPEG's chroma rounding makes channels of a grey picture differ by less
_DRAFT_PX = 256


@dataclass(frozen=True)
class ImageFiles:
    """Files under `folder`, as sorted paths relative to it with "/" between their parts.

    Attributes:
        images: those with an image's suffix.
        others: the rest, among which DICOM files without a suffix may be.
    """

    folder: Path
    images: tuple[str, ...]
    others: tuple[str, ...]

    def find(self, name: str) -> tuple[str, ...]:
        """The images that `name` can mean: none, one, or several where it is ambiguous.

        A name stands for an image if it is the end of the image's path, the last part with or without its suffix.
        Leading folders that lie above `folder` may stand before it, as long as the parts in common agree. The file
        at exactly that place counts before others that only end so.
        """
        wanted = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        while wanted[:1] == [".."]:
            del wanted[0]
        if not wanted:
            return ()
        for index in (self._images_by_name, self._dicoms_by_name):
            found = [path for path in index.get(wanted[-1], ()) if self._agree(path, wanted)]
            exact = [path for path in found if path.split("/")[:-1] == wanted[:-1]]
            if found:
                return tuple(exact if len(exact) == 1 else found)
        return ()

    def _agree(self, path: str, wanted: Sequence[str]) -> bool:
        above = [*self._above, *path.split("/")[:-1]]
        shared = min(len(above), len(wanted) - 1)
        # Of the folders above `folder` only the last is known: a longer name may go on beyond it.
        return shared == 0 or above[-shared:] == list(wanted[-1 - shared : -1])

    @cached_property
    def _above(self) -> list[str]:
        return [self.folder.resolve().name]

    @cached_property
    def _images_by_name(self) -> dict[str, list[str]]:
        return _by_name(self.images)

    @cached_property
    def _dicoms_by_name(self) -> dict[str, list[str]]:
        return _by_name(path for path in self.others if _starts_as_dicom(self.folder / path))


def _by_name(paths: Iterable[str]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for path in paths:
        last = path.rsplit("/", 1)[-1]
        for name in {last, PurePosixPath(last).stem if last.lower().endswith(SUFFIXES) else last}:
            index.setdefault(name, []).append(path)
    return index


def _starts_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False


def list_images(folder: Path) -> ImageFiles:
    """All files under `folder`; hidden files and folders, __MACOSX, pipes, sockets and devices are passed over.

    Links are followed wherever they lead: data sets are often put together from links, and only who can write the
    folder can make one. What a table names is found among these files alone, so no text in it leads elsewhere.

    Raises:
        InputError: no such folder; one in it that cannot be read; a file name that is not UTF-8 or not plain.
    """
    check_folder(folder)

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); allow it or move it away")

    paths = []
    seen: set[tuple[int, int]] = set()  # a link may lead back up
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(place).stat()
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        inside = Path(place).relative_to(folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        paths += [prefix + name for name in files if not name.startswith(".") and not _is_special(place, name)]
    for path in paths:
        if has_control_characters(path):
            raise InputError(
                f"{folder}: the file name {path!r} is not UTF-8 text or holds control characters; rename it"
            )
    paths.sort()
    images = tuple(path for path in paths if path.lower().endswith(SUFFIXES))
    return ImageFiles(folder, images, tuple(path for path in paths if not path.lower().endswith(SUFFIXES)))


def _is_special(place: str, name: str) -> bool:
    """Whether a pipe, a socket or a device stands there: reading it might never end. A link to nothing is none."""
    try:
        mode = os.stat(f"{place}/{name}").st_mode  # noqa: PTH116  half the cost of Path.stat
    except OSError:
        return False
    return not stat.S_ISREG(mode)


@dataclass(frozen=True)
class Look:
    """What up to a few hundred of the images look like: (width, height) -> how many; whether any is in colour."""

    sizes: Counter[tuple[int, int]]
    is_colour: bool
    num_unreadable: int

    @property
    def line(self) -> str:
        """One line for a person."""
        seen = sum(self.sizes.values())
        common = ", ".join(
            f"{w} x {h} ({count})"
            for (w, h), count in sorted(self.sizes.items(), key=lambda one: (-one[1], one[0]))[:3]
        )
        more = f" and {len(self.sizes) - 3} other sizes" if len(self.sizes) > 3 else ""
        colour = "colour: 3 channels" if self.is_colour else "grey: 1 channel"
        damaged = f"; {self.num_unreadable} cannot be opened" if self.num_unreadable else ""
        return f"of {seen + self.num_unreadable} images looked at: {common or 'none opens'}{more} px; {colour}{damaged}"


def look_at(paths: Sequence[Path]) -> Look:
    """Headers of at most 300 of `paths`, evenly spread; pixels only of some whose format could hold colour."""
    spread = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _NUM_HEADERS)).astype(int))]
    sizes: Counter[tuple[int, int]] = Counter()
    num_unreadable, left_to_decode, dicoms_left, is_colour = 0, _NUM_COLOURS, _NUM_DICOMS, False
    for path in np.random.default_rng(0).permutation(np.array(spread, dtype=object)):  # not one class folder first
        if path.suffix.lower() == ".dcm" or _starts_as_dicom(path):
            dicoms_left -= 1
            size, coloured = _look_at_dicom(path) if dicoms_left >= 0 else ((0, 0), False)
            is_colour |= coloured
        else:
            size, may_be_colour, coloured = _look_at_one(path, decode=left_to_decode > 0 and not is_colour)
            left_to_decode -= may_be_colour
            is_colour |= coloured
        if size is None:
            num_unreadable += 1
        elif size != (0, 0):
            sizes[size] += 1
    return Look(sizes, is_colour, num_unreadable)


def _look_at_one(path: Path, *, decode: bool) -> tuple[tuple[int, int] | None, bool, bool]:
    """((width, height) or None, whether the format could hold colour, whether the pixels do)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the decoder that counts comes later
            with Image.open(path) as image:
                size = image.size
                may_be_colour = image.mode not in _GREY_MODES
                if not (may_be_colour and decode):
                    return size, may_be_colour, False
                image.draft("RGB", (_DRAFT_PX, _DRAFT_PX))  # JPEG alone: decodes an eighth of the pixels at the least
                pixels = np.asarray(image.convert("RGB")).astype(np.int16)
        return size, True, bool(np.ptp(pixels, axis=2).max() > _COLOUR_DIFFERENCE)
    except Exception:  # a damaged file can make Pillow raise nearly anything; the pixel cache reports it by name
        return None, False, False


def _look_at_dicom(path: Path) -> tuple[tuple[int, int] | None, bool]:
    """((width, height) or None, whether its pixels are in colour)."""
    try:
        pixels = read_colour_or_grey(path)
    except (UnreadableImage, InputError, OSError):
        return None, False
    coloured = pixels.ndim == 3 and bool(np.ptp(pixels.astype(np.int16), axis=2).max() > _COLOUR_DIFFERENCE)
    return (pixels.shape[1], pixels.shape[0]), coloured

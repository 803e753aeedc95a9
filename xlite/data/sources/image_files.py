"""The image files under a folder: listed once, found by the names in a table, sampled for size and colour."""

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
_COLOUR_DIFFERENCE = 16  # JPEG's chroma rounding makes the channels of a grey image differ by less
_DRAFT_PX = 256


@dataclass(frozen=True)
class ImageFiles:
    """Files under `folder`, as sorted relative paths with "/".

    Attributes:
        images: files with an image suffix.
        others: all other files, which may include DICOM files without a suffix.
    """

    folder: Path
    images: tuple[str, ...]
    others: tuple[str, ...]

    def find(self, name: str) -> tuple[str, ...]:
        """The images that `name` can mean: none, one, or several if it is ambiguous.

        A name means an image if it is the end of the image's path, with or without the file's suffix. Folders above
        `folder` may precede it, as long as the known ones agree. A file with exactly this path takes precedence over
        others that only end with it.
        """
        wanted = [folder for folder in name.replace("\\", "/").split("/") if folder not in ("", ".")]
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
        # Of the folders above `folder` only the last is compared: a longer name may extend above it.
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
    """List all files under `folder`, except hidden files and folders, __MACOSX, pipes, sockets and devices.

    Symbolic links are followed: data sets are often assembled from links, and only someone with write access can make
    one. The names in a table are only looked up among these files, so text in it cannot reach any other file.

    Raises:
        InputError: no such folder; an unreadable folder in it; a file name that is not UTF-8 or holds control
            characters.
    """
    check_folder(folder)

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); change its permissions or move it away")

    paths = []
    seen: set[tuple[int, int]] = set()  # a link may lead back up
    for current, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(current).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        inside = Path(current).relative_to(folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        paths += [prefix + name for name in files if not name.startswith(".") and not _is_special(current, name)]
    for path in paths:
        if has_control_characters(path):
            raise InputError(
                f"{folder}: the file name {path!r} is not UTF-8 text or holds control characters; rename it"
            )
    paths.sort()
    images = tuple(path for path in paths if path.lower().endswith(SUFFIXES))
    return ImageFiles(folder, images, tuple(path for path in paths if not path.lower().endswith(SUFFIXES)))


def _is_special(folder: str, name: str) -> bool:
    """Whether a file is a pipe, a socket or a device, which could block a reader for ever. A dangling link is not."""
    try:
        mode = os.stat(f"{folder}/{name}").st_mode  # noqa: PTH116  half the cost of Path.stat
    except OSError:
        return False
    return not stat.S_ISREG(mode)


@dataclass(frozen=True)
class ImageSample:
    """Sizes and colour of up to a few hundred of the images.

    Attributes:
        sizes: (width, height) -> number of images.
        is_colour: whether any of them is in colour.
        num_unreadable: images that cannot be opened.
    """

    sizes: Counter[tuple[int, int]]
    is_colour: bool
    num_unreadable: int

    @property
    def line(self) -> str:
        """One line to show to the user."""
        num_readable = sum(self.sizes.values())
        common = ", ".join(
            f"{w} x {h} ({count})"
            for (w, h), count in sorted(self.sizes.items(), key=lambda entry: (-entry[1], entry[0]))[:3]
        )
        more = f" and {len(self.sizes) - 3} other sizes" if len(self.sizes) > 3 else ""
        colour = "colour: 3 channels" if self.is_colour else "grey: 1 channel"
        damaged = f"; {self.num_unreadable} cannot be opened" if self.num_unreadable else ""
        total = num_readable + self.num_unreadable
        return f"of {total} images sampled: {common or 'none can be opened'}{more} px; {colour}{damaged}"


def sample_images(paths: Sequence[Path]) -> ImageSample:
    """Read the headers of at most 300 images, evenly spread, and the pixels of some whose format can hold colour."""
    spread = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _NUM_HEADERS)).astype(int))]
    sizes: Counter[tuple[int, int]] = Counter()
    num_unreadable, decodes_left, dicoms_left, is_colour = 0, _NUM_COLOURS, _NUM_DICOMS, False
    for path in np.random.default_rng(0).permutation(
        np.array(spread, dtype=object)
    ):  # so that the first ones are not all of one class folder
        if path.suffix.lower() == ".dcm" or _starts_as_dicom(path):
            dicoms_left -= 1
            size, in_colour = _size_and_colour_of_dicom(path) if dicoms_left >= 0 else ((0, 0), False)
            is_colour |= in_colour
        else:
            size, may_be_colour, in_colour = _size_and_colour(path, decode=decodes_left > 0 and not is_colour)
            decodes_left -= may_be_colour
            is_colour |= in_colour
        if size is None:
            num_unreadable += 1
        elif size != (0, 0):
            sizes[size] += 1
    return ImageSample(sizes, is_colour, num_unreadable)


def _size_and_colour(path: Path, *, decode: bool) -> tuple[tuple[int, int] | None, bool, bool]:
    """((width, height) or None if unreadable, whether the format can hold colour, whether the pixels do)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata; images are decoded for real later
            with Image.open(path) as image:
                size = image.size
                may_be_colour = image.mode not in _GREY_MODES
                if not (may_be_colour and decode):
                    return size, may_be_colour, False
                image.draft("RGB", (_DRAFT_PX, _DRAFT_PX))  # JPEG only: decodes at a reduced size
                pixels = np.asarray(image.convert("RGB")).astype(np.int16)
        return size, True, bool(np.ptp(pixels, axis=2).max() > _COLOUR_DIFFERENCE)
    except Exception:  # damaged files make Pillow raise anything; the pixel cache reports them by name
        return None, False, False


def _size_and_colour_of_dicom(path: Path) -> tuple[tuple[int, int] | None, bool]:
    """((width, height) or None if unreadable, whether the pixels are in colour)."""
    try:
        pixels = read_colour_or_grey(path)
    except (UnreadableImage, InputError, OSError):
        return None, False
    in_colour = pixels.ndim == 3 and bool(np.ptp(pixels.astype(np.int16), axis=2).max() > _COLOUR_DIFFERENCE)
    return (pixels.shape[1], pixels.shape[0]), in_colour

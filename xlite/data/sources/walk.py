"""Lists the files under a folder and tells pictures from documents and from formats that are not read."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from xlite.data.image_formats import HEAD_BYTES, SUFFIXES, is_picture, is_text
from xlite.errors import InputError
from xlite.storage.text import has_control_characters

# Tables, texts and what programs leave behind: not opened to see whether they are pictures.
_DOCUMENTS = (
    *(".csv", ".tsv", ".tab", ".txt", ".xls", ".xlsx", ".ods", ".parquet", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
    *(".md", ".rst", ".html", ".htm", ".doc", ".docx", ".rtf", ".log", ".ini", ".cfg", ".toml", ".py", ".ipynb", ".r"),
    *(".m", ".sh", ".db", ".sqlite", ".md5", ".sha256"),
)
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


def check_folder(folder: Path) -> None:
    """Raise InputError unless `folder` is an existing folder."""
    if not folder.is_dir():
        problem = "not a folder" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {problem}; give the folder of the data set")


@dataclass(frozen=True)
class FoundFiles:
    """Relative paths with "/", sorted.

    Attributes:
        images: files that can be read as pictures: by their suffix, or by their first bytes where it says nothing.
        others: all other files.
        unread: suffix -> those of `others` that are no documents; "" for none, or one without letters.
        empty_folders: folders in which there is nothing at all.
    """

    images: tuple[str, ...]
    others: tuple[str, ...]
    unread: Mapping[str, tuple[str, ...]]
    empty_folders: tuple[str, ...]


def find_files(folder: Path) -> FoundFiles:
    """List all files under `folder`, except hidden ones, __MACOSX, Thumbs.db, pipes, sockets and devices.

    Links are followed. Only files whose suffix is neither a picture's nor a document's are opened.

    Raises:
        InputError: no such folder; an unreadable folder in it; a file name that is not UTF-8 or holds control
            characters.
    """
    check_folder(folder)
    paths: list[str] = []
    empty: list[str] = []
    for inside, is_empty, names in walk_files(folder):
        paths += [inside + name for name in names]
        empty += [inside.rstrip("/")] if is_empty and inside else []
    paths.sort()
    images, others = [], []
    unread: dict[str, list[str]] = {}
    for path in paths:
        if has_control_characters(path):
            raise InputError(
                f"{folder}: the file name {path!r} is not UTF-8 text or holds control characters; rename it"
            )
        suffix = _suffix(path)
        head = _telling_head(folder / path, suffix)
        if suffix in SUFFIXES or is_picture(head):
            images.append(path)
            continue
        others.append(path)
        if head and not (suffix == "" and is_text(head)):  # README, LICENSE
            unread.setdefault(suffix, []).append(path)
    by_suffix = {suffix: tuple(unread[suffix]) for suffix in sorted(unread)}
    return FoundFiles(tuple(images), tuple(others), by_suffix, tuple(sorted(empty)))


def walk_files(folder: Path) -> Iterator[tuple[str, bool, list[str]]]:
    """(relative folder with "/" at its end, whether nothing is in it, its files) of all that is not left out.

    Raises:
        InputError: a folder in it cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); change its permissions or move it away")

    seen: set[tuple[int, int]] = set()  # a link may lead back up
    for current, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(current).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        inside = Path(current).relative_to(folder).as_posix()
        names = [name for name in files if name[0] != "." and name != "Thumbs.db" and not _is_special(current, name)]
        yield "" if inside == "." else f"{inside}/", not (folders or names), names


def may_be_picture(path: Path) -> bool:
    """Whether a file can be read as a picture: by its suffix, or by its first bytes where it says nothing."""
    suffix = _suffix(path.name)
    return suffix in SUFFIXES or is_picture(_telling_head(path, suffix))


def _telling_head(path: Path, suffix: str) -> bytes:
    """The first bytes of a file whose suffix does not say what it is; none of others."""
    return b"" if suffix in SUFFIXES or suffix.startswith(_DOCUMENTS) else _head(path)


def _is_special(folder: str, name: str) -> bool:
    """Whether a file is a pipe, a socket or a device, which could block a reader for ever. A dangling link is not."""
    try:
        mode = os.stat(f"{folder}/{name}").st_mode  # noqa: PTH116  half the cost of Path.stat
    except OSError:
        return False
    return not stat.S_ISREG(mode)


def _suffix(path: str) -> str:
    """Lower case, with the dot, of compressed files both (.nii.gz); "" without letters, as in DICOM's 1.2.840.5."""
    parts = path.rsplit("/", 1)[-1].lower().split(".")
    last = f".{parts[-1]}" if len(parts) > 1 else ""
    if last in _COMPRESSED and len(parts) > 2:
        return f".{parts[-2]}{last}"
    return last if any(character.isalpha() for character in last) else ""


def _head(path: Path) -> bytes:
    """The file's first bytes, none if it is empty or cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""

"""Finds the image that a name in a table nearly is: but for suffix, case, Unicode form, leading zeros, folders."""

import unicodedata
from collections.abc import Callable

from xlite.data.sources.image_files import ImageFiles
from xlite.data.sources.path_ends import path_parts


class NearNames:
    """Looks up the only image that a name nearly is."""

    def __init__(self, files: ImageFiles) -> None:
        self._indexes: list[tuple[str, Callable[[str], str], dict[str, list[str]]]] = []
        folder = files.folder.resolve().name
        for what, key in (
            ("suffix", _without_suffix),
            ("case", lambda path: _without_suffix(path).casefold()),
            ("Unicode form", lambda path: unicodedata.normalize("NFC", _without_suffix(path)).casefold()),
            ("folder", lambda path: _last(_without_suffix(path))),
            ("leading zeros", lambda path: _last(_without_suffix(path)).lstrip("0") or "0"),
        ):
            index: dict[str, list[str]] = {}
            for path in files.images:
                for each in {key(path), key(f"{folder}/{path}"), key(_last(path))}:
                    index.setdefault(each, []).append(path)
            self._indexes.append((what, key, index))

    def find(self, name: str) -> tuple[str, str] | None:
        """(path, what differs) of the image that `name` nearly is; None without one, or with several."""
        parts = path_parts(name)
        if not parts or ".." in parts:  # ".." leads out of the data set
            return None
        for what, key, index in self._indexes:
            found = index.get(key("/".join(parts)), [])
            if len(found) == 1:
                return found[0], what
        return None


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _without_suffix(path: str) -> str:
    """A path without a suffix of letters; "1.0" keeps its end."""
    stem, _, suffix = path.rpartition(".")
    return stem if _last(stem) and (suffix.isalpha() or suffix.lower() in ("jp2", "j2k")) else path

"""Finds the image that a name in a table nearly is: but for suffix, case, Unicode form, leading zeros, folders."""

import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath

from xlite.data.sources.image_files import ImageFiles


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]


class NearNames:
    """Looks up the only image that a name nearly is. Indexes are made on first use."""

    def __init__(self, files: ImageFiles) -> None:
        self._indexes: list[tuple[str, Callable[[str], str], dict[str, list[str]]]] = []
        folder = files.folder.resolve().name
        for what, key in (
            ("suffix", _without_suffix),
            ("case", lambda path: _without_suffix(path).casefold()),
            ("Unicode form", lambda path: unicodedata.normalize("NFC", _without_suffix(path)).casefold()),
            ("folder", lambda path: PurePosixPath(_without_suffix(path)).name),
            ("leading zeros", lambda path: PurePosixPath(_without_suffix(path)).name.lstrip("0") or "0"),
        ):
            index: dict[str, list[str]] = {}
            for path in files.images:
                keys = {key(path), key(f"{folder}/{path}"), key(PurePosixPath(path).name)}
                for each in keys - {""}:
                    index.setdefault(each, []).append(path)
            self._indexes.append((what, key, index))

    def find(self, name: str) -> tuple[str, str] | None:
        """(path, what differs) of the image that `name` nearly is; None without one, or with several."""
        if ".." in name.replace("\\", "/").split("/"):
            return None  # leads out of the data set
        plain = "/".join(_parts(name))
        for what, key, index in self._indexes:
            found = index.get(key(plain), []) if plain else []
            if len(found) == 1:
                return found[0], what
        return None


def _without_suffix(path: str) -> str:
    """A path without a suffix of letters; "1.0" keeps its end."""
    suffix = PurePosixPath(path).suffix
    return path[: -len(suffix)] if suffix[1:].isalpha() or suffix.lower() in (".jp2", ".j2k") else path

"""Looks paths up by their ends: a table may name a file alone, or some of the folders above it too."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence


def path_parts(name: str) -> list[str]:
    """The folders and the file of a path as people write it, without "." and repeated slashes."""
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


class PathEnds:
    """Paths by the names they go by.

    A sorted list of reversed names: a dictionary by file name would be slow where thousands of files share one, as
    study1/view1_frontal.jpg does in CheXpert.
    """

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        """`entries`: pairs of a name and the path that it stands for."""
        self._entries = sorted((_reversed(name.split("/")), path) for name, path in entries)

    def ending_in(self, parts: Sequence[str]) -> Iterator[str]:
        """The paths whose names end in `parts`; those that have this very name come first."""
        return (path for _, path in self._from(_reversed(parts)))

    def named(self, parts: Sequence[str]) -> list[str]:
        """The paths that have exactly this name."""
        wanted = _reversed(parts)
        found = []
        for name, path in self._from(wanted):
            if name != wanted:
                break
            found.append(path)
        return found

    def _from(self, wanted: str) -> Iterator[tuple[str, str]]:
        for at in range(bisect_left(self._entries, (wanted,)), len(self._entries)):
            if not self._entries[at][0].startswith(wanted):
                return
            yield self._entries[at]


def _reversed(parts: Sequence[str]) -> str:
    return "/".join(reversed(parts)) + "/"

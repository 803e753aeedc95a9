"""A known layout: how a public data set is recognised, and how it becomes one plain table."""

import gzip
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from xlite.data.sources.folder_options import NONE
from xlite.data.sources.image_files import ImageFiles
from xlite.data.sources.tables import read_table

_MAX_HEADER = 2**16
"""Characters of a first line that are read; a file that is no text may have no line break."""


@dataclass(frozen=True)
class Found:
    """A folder as a layout sees it.

    Attributes:
        tables: path by lower-case name, of the tables at the top.
    """

    files: ImageFiles
    tables: Mapping[str, str]

    def rows(self, name: str) -> pd.DataFrame:
        """The table of this lower-case name."""
        return read_table(self.files.folder / self.tables[name]).rows

    def header(self, name: str) -> set[str]:
        """The names in the first row of the table of this lower-case name."""
        path = self.files.folder / self.tables[name]
        opened = gzip.open if name.endswith(".gz") else open
        try:
            with opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
                line = file.readline(_MAX_HEADER)
        except (OSError, EOFError, zlib.error):  # damaged; who reads it as a table says so
            return set()
        return {text.strip().strip('"') for text in line.replace("\t", ",").split(",")}

    def with_columns(self, *names: str) -> list[str]:
        """Lower-case names of the tables that have these columns, in order."""
        return [name for name in self.tables if set(names) <= self.header(name)]

    def named(self, *parts: str) -> list[str]:
        """Names of tables that hold all of `parts`, sorted."""
        return sorted(name for name in self.tables if all(part in name for part in parts))


@dataclass(frozen=True)
class Reading:
    """What a layout makes of a folder.

    Attributes:
        rows: a plain table; what the files' tables do not say is added as columns.
        choices: fields of `FolderOptions` that the layout settles; the person's own take precedence.
        says: what is taken for granted, e.g. "patient from the path".
        source: the table's name; "" where the paths are the table.
    """

    rows: pd.DataFrame
    choices: Mapping[str, object]
    says: str
    source: str = ""


@dataclass(frozen=True)
class Layout:
    """One data set's layout.

    Attributes:
        name: for --layout; title: for people.
        recognise: true of a folder that has it, e.g. the tables that show it.
        read: its table; called only where it is recognised.
    """

    name: str
    title: str
    recognise: Callable[[Found], object]
    read: Callable[[Found], Reading]


def by_paths(pattern: re.Pattern[str]) -> Callable[[Found], bool]:
    """Recognises folders whose first and last image match `pattern`."""

    def recognise(found: Found) -> bool:
        images = found.files.images
        return bool(images) and all(pattern.fullmatch(path) for path in (images[0], images[-1]))

    return recognise


def of_one_table(name: str, title: str, columns: tuple[str, ...], says: str, **choices: object) -> Layout:
    """A layout of one table, recognised by its columns and read as it is.

    Args:
        choices: see `Reading`; without a group or split column the data set has no patients or parts.
    """

    def read(found: Found) -> Reading:
        table = found.with_columns(*columns)[0]
        settled = {"group_column": NONE, "split_column": NONE, **choices}
        return Reading(found.rows(table), settled, says, found.tables[table])

    return Layout(name, title, lambda found: found.with_columns(*columns), read)

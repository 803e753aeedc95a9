"""Output for the user: lines, tables that fit their terminal, progress bars."""

import math
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from rich.box import HEAVY_HEAD
from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from xlite.storage.text import escape_control_characters, single_line

ProgressCallback = Callable[[int, int], None]
"""Called with (done, total)."""
MIN_TEXT = 8
"""Characters to which a text column may shrink before a table is printed wider than its terminal."""


class FittedTable:
    """A table whose numbers are always whole: where it is too wide, its frame goes first, then columns.

    Without a terminal it is complete, however wide. Of the columns that may go, those without any content always do.

    Args:
        columns: {title: what it holds}; line breaks in a title are kept.
        dropped_first: titles of columns that a narrow terminal does without, the least important first.
        complete_in: the file that has every column; needed where any is dropped.
        title, note: above and below it.
    """

    def __init__(
        self,
        columns: Mapping[str, Literal["text", "number"]],
        *,
        dropped_first: Sequence[str],
        complete_in: str = "",
        title: str | None = None,
        note: str = "",
    ) -> None:
        assert set(dropped_first) < set(columns)
        self.columns, self.dropped_first, self.complete_in = dict(columns), list(dropped_first), complete_in
        self.title, self.note = title, note
        self.rows: list[tuple[dict[str, str], str | None]] = []
        self.sections: list[int] = []

    def add_row(self, *cells: str, style: str | None = None) -> None:
        """Add a row, a cell for each column."""
        self.rows.append((dict(zip(self.columns, map(single_line, cells), strict=True)), style))

    def add_section(self) -> None:
        """Draw a line below the rows so far."""
        self.sections.append(len(self.rows))

    def fit(self, width: float) -> tuple[Table, list[str]]:
        """The table at a width in characters, `math.inf` for all of it, and the titles that were dropped for it."""
        filled = [title for title in self.columns if title not in self.dropped_first or self._has_content(title)]
        droppable = [title for title in self.dropped_first if title in filled]
        widths = {title: self._width(title) for title in filled}
        framed, num_dropped = _total(widths, filled, framed=True) <= width, 0
        shown = filled
        while not framed and _total(widths, shown) > width and num_dropped < len(droppable):
            num_dropped += 1
            shown = [title for title in filled if title not in droppable[:num_dropped]]
        needed = {title: size if self._is_number(title) else min(size, MIN_TEXT) for title, size in widths.items()}
        at_most = max(width, _total(needed, shown))
        total = min(at_most, _total(widths, shown, framed=framed))
        return self._drawn(shown, framed=framed, width=int(total)), droppable[:num_dropped]

    def _is_number(self, title: str) -> bool:
        return self.columns[title] == "number"

    def _has_content(self, title: str) -> bool:
        return not self.rows or any(row[title] for row, _ in self.rows)

    def _width(self, title: str) -> int:
        return max(map(cell_len, [*title.split("\n"), *(row[title] for row, _ in self.rows)]))

    def _drawn(self, shown: Sequence[str], *, framed: bool, width: int) -> Table:
        table = Table(title=self.title, title_justify="left", width=width, pad_edge=framed)
        table.box = HEAVY_HEAD if framed else None
        for title in shown:
            is_number = self._is_number(title)
            table.add_column(title, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
        for number, (row, style) in enumerate(self.rows):
            if number in self.sections:
                table.add_section()
            table.add_row(*(Text(row[title]) for title in shown), style=style)
        return table


def _total(widths: Mapping[str, int], shown: Sequence[str], *, framed: bool = False) -> int:
    """Characters of a line: with a frame three more a column and one, without it two between columns."""
    content = sum(widths[title] for title in shown)
    return content + (3 * len(shown) + 1 if framed else 2 * (len(shown) - 1))


def _wrapped(line: str, width: int) -> list[str]:
    """Wrapped between words; a longer word, e.g. a path, stays whole."""
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False) or [""]


class Console:
    """Prints lines and tables and draws progress bars; where there is no terminal, a bar is one line when it ends."""

    def __init__(self, rich_console: RichConsole | None = None) -> None:
        self.rich = rich_console or RichConsole(highlight=False, soft_wrap=True)

    def say(self, text: str = "") -> None:
        """Print text as it is: square brackets are no markup, control characters are escaped.

        On a terminal it is wrapped between words, so that no number is cut in two.
        """
        lines = [escape_control_characters(line) for line in text.split("\n")]
        if self.rich.is_terminal:
            lines = [part for line in lines for part in _wrapped(line, self.rich.width)]
        self.rich.print(Text("\n".join(lines)), soft_wrap=True)

    def show(self, table: FittedTable) -> None:
        """Print a table, and a line that names the columns for which there was no room."""
        drawn, dropped = table.fit(self.rich.width if self.rich.is_terminal else math.inf)
        self.rich.print(drawn, soft_wrap=True)
        if table.note:
            self.say(table.note)
        if dropped:
            titles = ", ".join(title.replace("\n", " ") for title in dropped)
            self.say(f"No room for: {titles}. All columns are in {table.complete_in}")

    @contextmanager
    def progress(self, label: str, unit: str = "", *, total: int | None = None) -> Iterator[ProgressCallback]:
        """A progress bar, and at the end a line with the count and the time; nothing if no progress was reported.

        Args:
            label: of the bar and the line.
            unit: of the count, e.g. "images".
            total: shown before the first report.

        Yields:
            The callback to report (done, total) to.
        """
        started = time.monotonic()
        last = (0, 0)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.rich, transient=True, disable=not self.rich.is_terminal) as bar:
            task = bar.add_task(label, total=total)

            def update(done: int, total: int) -> None:
                nonlocal last
                last = (done, total)
                bar.update(task, completed=done, total=total)

            yield update
        if last[1]:
            counted = unit.removesuffix("s") if last[0] == 1 else unit
            self.say(f"{label}: {last[0]:,} {counted}".rstrip() + f" in {time.monotonic() - started:.1f} s")


class SilentConsole(Console):
    """Prints nothing; for library use and tests."""

    def __init__(self) -> None:
        super().__init__(RichConsole(quiet=True))

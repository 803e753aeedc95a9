"""What a person sees while something works: lines, and progress bars where there is a terminal."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from xlite.storage.text import escape_control_characters

ProgressCallback = Callable[[int, int], None]
LOG_COLUMNS = 160
"""Width of tables in a log file, where there is no terminal to ask."""


class Console:
    """Says lines and draws progress; in a log file a bar becomes a line when it ends."""

    def __init__(self, rich_console: RichConsole | None = None) -> None:
        self.rich = rich_console or RichConsole(highlight=False, soft_wrap=True)
        if not self.rich.is_terminal and "COLUMNS" not in os.environ:
            self.rich.width = LOG_COLUMNS

    def say(self, text: str = "") -> None:
        """Print one line; square brackets are printed as they are."""
        self.rich.print("\n".join(map(escape_control_characters, text.split("\n"))), markup=False)

    @contextmanager
    def progress(self, what: str, unit: str = "", *, total: int | None = None) -> Iterator[ProgressCallback]:
        """A bar for work that reports (done, total); nothing is printed if it never reports.

        `total`: shown before the first report, where that takes long.
        """
        started = time.monotonic()
        last = (0, 0)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.rich, transient=True, disable=not self.rich.is_terminal) as bar:
            task = bar.add_task(what, total=total)

            def update(done: int, total: int) -> None:
                nonlocal last
                last = (done, total)
                bar.update(task, completed=done, total=total)

            yield update
        if last[1]:
            self.say(f"{what}: {last[0]:,} {unit}".rstrip() + f" in {time.monotonic() - started:.1f} s")


class SilentConsole(Console):
    """Says nothing; for library use and tests."""

    def __init__(self) -> None:
        super().__init__(RichConsole(quiet=True))

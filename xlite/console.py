"""Output for the user: lines, and progress bars on a terminal."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from xlite.storage.text import escape_control_characters

ProgressCallback = Callable[[int, int], None]
"""Called with (done, total)."""
LOG_COLUMNS = 160
"""Width of tables in a log file."""


class Console:
    """Prints lines and draws progress bars; where there is no terminal, a bar is one line when it ends."""

    def __init__(self, rich_console: RichConsole | None = None) -> None:
        self.rich = rich_console or RichConsole(highlight=False, soft_wrap=True)
        if not self.rich.is_terminal and "COLUMNS" not in os.environ:
            self.rich.width = LOG_COLUMNS

    def say(self, text: str = "") -> None:
        """Print text as it is: square brackets are no markup, control characters are escaped."""
        self.rich.print("\n".join(map(escape_control_characters, text.split("\n"))), markup=False)

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
            self.say(f"{label}: {last[0]:,} {unit}".rstrip() + f" in {time.monotonic() - started:.1f} s")


class SilentConsole(Console):
    """Prints nothing; for library use and tests."""

    def __init__(self) -> None:
        super().__init__(RichConsole(quiet=True))

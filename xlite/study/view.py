"""What a person sees while a search runs: a line for each trial that ended; below them, on a terminal, a live table."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from xlite.config import model_name
from xlite.console import Console
from xlite.ledger import TrialRecord


@dataclass(frozen=True)
class Pace:
    """How much a search does, for the time left.

    Attributes:
        num_trials: this study is to have; num_ended: it had before.
        expected_epochs: of a trial, on average, if stopping goes as planned.
    """

    num_trials: int
    num_ended: int
    max_epochs: int
    expected_epochs: float


class SearchView:
    """Running trials, the best so far, and the time left; also keeps the leaderboard file current.

    Args:
        metric: name of what trials are compared by.
        write_leaderboard: called after a trial ends, unless that would cost more than a fiftieth of the time.
        best: value of the best complete trial so far, None without one.
    """

    def __init__(
        self,
        console: Console,
        pace: Pace,
        *,
        metric: str,
        write_leaderboard: Callable[[], None],
        best: float | None = None,
    ) -> None:
        self.console, self.pace, self.metric = console, pace, metric
        self.write_leaderboard = write_leaderboard
        self.done = pace.num_ended
        self.num_epochs, self.ended_epochs, self.num_ended = 0, 0, 0
        self.counts = {"complete": 0, "pruned": 0, "failed": 0}
        self.best = best
        self.best_number: int | None = None
        self.running: dict[int, tuple[str, int, float | None]] = {}
        self.started_at = time.monotonic()
        self.next_write = 0.0
        self.live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.rich.is_terminal:
            self.live = Live(self, console=self.console.rich, refresh_per_second=4)
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live is not None:
            self.live.stop()

    def started(self, number: int, overrides: Mapping[str, Any]) -> None:
        """List the trial as running."""
        self.running[number] = (describe(overrides), 0, None)

    def progressed(self, number: int, epoch: int, best_so_far: float) -> None:
        """Update its epoch and best value."""
        self.running[number] = (self.running[number][0], epoch, best_so_far)
        self.num_epochs += 1

    def held_up(self, number: int, reason: str) -> None:
        """Say what a trial waits for."""
        self.console.say(f"Trial {number}: {reason}; it continues when that is fixed")

    def ended(self, number: int, outcome: str, best_so_far: float | None, reason: str) -> None:
        """Count the trial, print its line, write the leaderboard."""
        what, epoch, _ = self.running.pop(number)
        self.done += 1
        self.num_ended += 1
        self.ended_epochs += epoch
        self.counts[outcome] += 1
        if best_so_far is not None and outcome == "complete" and (self.best is None or best_so_far > self.best):
            self.best, self.best_number = best_so_far, number
        value = "      " if best_so_far is None else f"{best_so_far:.4f}"
        self.console.say(
            f"[{self.done}/{self.pace.num_trials}] trial {number:>3} {outcome:<8} {value} "
            f"after {epoch:>2} epochs  {what}"
            + (f"  ({reason})" if reason else "")
            + ("" if self.live else f"  best {self.best_text()}, {self.left_text()} left")  # the live table says so
        )
        now = time.monotonic()
        if now >= self.next_write:
            with suppress(OSError):  # a full disk; the end of the search writes it again, and says what is wrong
                self.write_leaderboard()
            self.next_write = time.monotonic() + 50 * (time.monotonic() - now)

    def __rich__(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for name in ("trial", "epoch", f"best {self.metric}"):
            table.add_column(name, no_wrap=True)
        table.add_column("configuration", overflow="fold")
        for number, (what, epoch, value) in sorted(self.running.items()):
            table.add_row(str(number), f"{epoch}/{self.pace.max_epochs}", "" if value is None else f"{value:.4f}", what)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items() if count)
        head = f"{self.done}/{self.pace.num_trials} trials ({counts or 'none ended yet'})"
        summary = Text(f"{head}, best {self.best_text()}, {self.left_text()} left")
        return Group(summary, table) if self.running else Group(summary)

    def best_text(self) -> str:
        """The best complete trial's value and number."""
        if self.best is None:
            return "none yet"
        return f"{self.best:.4f}" + ("" if self.best_number is None else f" (trial {self.best_number})")

    def left_text(self) -> str:
        """Time left at the pace of epochs so far; how long trials last is learnt from those that ended."""
        if not self.num_epochs:
            return "?"
        weight = 3  # trials that the expectation counts for
        length = (weight * self.pace.expected_epochs + self.ended_epochs) / (weight + self.num_ended)
        todo = (self.pace.num_trials - self.done - len(self.running)) * length
        todo += sum(max(length - epoch, 1) for _, epoch, _ in self.running.values())
        left = (time.monotonic() - self.started_at) / self.num_epochs * max(todo, 0)
        return f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min"


def where_time_went(rows: Sequence[TrialRecord]) -> str:
    """One line: seconds of all trials together, and the share of each kind."""
    totals: dict[str, float] = {}
    for row in rows:
        for kind, seconds in row.summary.seconds_by_kind.items():
            totals[kind] = totals.get(kind, 0.0) + seconds
    whole = sum(totals.values())
    if not whole:
        return "No trial has ended yet"
    shares = ", ".join(f"{kind} {seconds / whole:.1%}" for kind, seconds in sorted(totals.items(), key=lambda i: -i[1]))
    device = sum(row.summary.device_seconds or 0.0 for row in rows)
    what = "GPU" if any(row.summary.device not in ("", "cpu") for row in rows) else "core"
    return f"The trials took {whole:,.0f} s ({device:,.0f} {what}-seconds): {shares}"


def describe(overrides: Mapping[str, Any]) -> str:
    """The searched values a person wants to see first, in a few words."""
    names = model_name(overrides), overrides.get("model.attention"), overrides.get("loss.name")
    words = [str(name) for name in names if name not in (None, "none")]
    if alpha := overrides.get("distill.alpha"):
        words.append(f"KD T={overrides.get('distill.temperature') or 0:.1f} alpha={alpha:.2f}")
    return " ".join(words)

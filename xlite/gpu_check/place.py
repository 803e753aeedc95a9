"""What a step is given: the device, a folder, sizes to suit, and where its numbers go. Imports nothing slow."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

Size = TypeVar("Size")
Tell = Callable[[Mapping[str, Any]], None]


class Wrong(Exception):
    """The step found what may not be; the message says what."""


class PassedOver(Exception):
    """The step cannot be done here; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where a step runs.

    Attributes:
        device: "cpu" runs the same code at toy sizes, to see that it works.
        folder: the step's own, removed after the check.
        tell: takes each number at once, so that a step that is ended has told what it had.
    """

    device: Literal["cpu", "cuda"]
    folder: Path
    tell: Tell

    @property
    def on_gpu(self) -> bool:
        """Whether this is a real check."""
        return self.device == "cuda"

    def pick(self, real: Size, toy: Size) -> Size:
        """What suits the device."""
        return real if self.on_gpu else toy

    def number(
        self, what: str, value: float | str | bool, *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """A measured value; one that misses its goal is reported, and the step is not failed by it."""
        self.tell(_row(what, value, at_least, at_most) | {"must": False})

    def must(
        self, what: str, value: float | bool, *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """A value that has to be in these limits (a bool without limits: True); otherwise the step has failed."""
        if isinstance(value, bool):
            at_least = 1.0
        self.tell(_row(what, value, at_least, at_most) | {"must": True})


def _row(what: str, value: float | str | bool, at_least: float | None, at_most: float | None) -> dict[str, Any]:
    """JSON values: a number that is not finite is a word, and misses every goal."""
    row: dict[str, Any] = {"what": what, "value": value, "goal": "", "reached": None}
    if isinstance(value, float) and not math.isfinite(value):
        row["value"] = str(value)
    words = (("at least", at_least), ("at most", at_most))
    limits = [f"{word} {limit:g}" for word, limit in words if limit is not None]
    if limits and not isinstance(value, str):
        low, high = -math.inf if at_least is None else at_least, math.inf if at_most is None else at_most
        row |= {"goal": " and ".join(limits), "reached": math.isfinite(value) and low <= value <= high}
    if isinstance(value, bool):
        row["goal"] = "" if at_least is None else "yes"
    return row

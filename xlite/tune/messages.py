"""What a trial tells the driver, one dataclass for each kind of message, and how it travels in Ray's results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xlite.train.summary import RunSummary
from xlite.tune.asha import EPOCH_KEY, VALUE_KEY

MESSAGE_KEY = "message"
"""The result's key for the message; ASHA reads EPOCH_KEY and VALUE_KEY beside it, Ray "done"."""


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over and on disk. `finished`: training ended by itself with it."""

    summary: RunSummary = field(repr=False)  # Ray keeps what it cannot write as JSON by its repr
    finished: bool


@dataclass(frozen=True)
class Failed:
    """The trial cannot go on. `out_of_memory`: it may be tried again with more; `summary`: of what was trained."""

    reason: str
    summary: RunSummary = field(repr=False)
    out_of_memory: bool = False


@dataclass(frozen=True)
class HeldUp:
    """The trial waits, e.g. for space on a full disk, and continues by itself."""

    reason: str


@dataclass(frozen=True)
class CutOff:
    """The trial cannot train on this machine as it is now: the search ends, and its next run continues the trial."""

    reason: str


@dataclass(frozen=True)
class GpuFaults:
    """The GPU that the trial shares failed under it so often that it should have one to itself."""

    num_faults: int


Message = EpochDone | Failed | HeldUp | CutOff | GpuFaults


def as_result(message: Message) -> dict[str, Any]:
    """A message as the result of a step of a trainable."""
    if isinstance(message, EpochDone):
        summary = message.summary
        known = {EPOCH_KEY: summary.epochs, VALUE_KEY: summary.best_value}
        return {MESSAGE_KEY: message, **known, "done": message.finished}
    return {MESSAGE_KEY: message, "done": not isinstance(message, HeldUp)}


def message_of(result: Mapping[str, Any]) -> Message | None:
    """The message of a result; None where a worker died without one."""
    return result.get(MESSAGE_KEY)

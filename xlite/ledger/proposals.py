"""What the ledger answers when it is asked for a trial."""

from dataclasses import dataclass
from typing import Any

from xlite.errors import InputError


@dataclass(frozen=True)
class Proposal:
    """The next trial: its number and the dotted configuration keys it changes."""

    number: int
    overrides: dict[str, Any]


class Refused(InputError):
    """An enqueued trial lies outside of the space; it is recorded as failed. `proposal`: what was enqueued."""

    def __init__(self, message: str, proposal: Proposal) -> None:
        super().__init__(message)
        self.proposal = proposal

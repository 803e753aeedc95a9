"""Who read the test part of a study, and when: every number on it is worth less with each reading."""

import getpass
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

KEY = "test_read:"
"""Of a study's attributes; the read's identity follows."""


@dataclass(frozen=True)
class TestRead:
    """One reading of the test part.

    Attributes:
        identity: hash of all that its numbers are a function of; the same again tells nothing new and is no new read.
        when: local time, ISO 8601 to the second; "" where an earlier version did not record it.
        who: user@host.
        command: what read it, in a few words.
    """

    __test__ = False  # no test case, whatever pytest makes of its name

    identity: str
    when: str
    who: str
    command: str

    @classmethod
    def now(cls, identity: str, command: str) -> "TestRead":
        """By this user, now."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user without a name
            user = "unknown"
        return cls(identity, datetime.now().isoformat(timespec="seconds"), f"{user}@{socket.gethostname()}", command)

    def __str__(self) -> str:
        return f"{self.command}, {self.when or 'at an unknown time'}" + (f", {self.who}" if self.who else "")

    @property
    def attribute(self) -> tuple[str, dict[str, Any]]:
        """Key and JSON value, as a study stores it."""
        return KEY + self.identity, asdict(self)


def reads_in(attributes: Mapping[str, Any]) -> list[TestRead]:
    """The reads among a study's attributes, oldest first."""
    reads = [TestRead(**value) for key, value in attributes.items() if key.startswith(KEY)]
    return sorted(reads, key=lambda read: read.when)

"""The mark in a database that says which folder's study it holds."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mark:
    """Whose study a database holds.

    Attributes:
        identity: as in study.json; "" where 0.1.0 wrote the study.
        folder: the study's, when it was last written; None where the database lies in it, or 0.1.0 wrote the study.
    """

    identity: str
    folder: Path | None

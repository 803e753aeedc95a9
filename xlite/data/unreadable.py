"""The error for raw files that can never be read."""

from pathlib import Path


class UnreadableImage(ValueError):
    """The bytes of a file are not a complete image or scan; reading it again would not help.

    Attributes:
        path: the file.
        reason: what is wrong, without the file's name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

"""The table: one row per example, whatever the raw format was."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Table:
    """One row per example.

    Attributes:
        ids: (N,) unicode, unique.
        files: N paths of the raw files, in row order.
        groups: (N,) unicode; rows of one group (a patient) never cross a split.
        targets: (N, L) float32 of 0, 1 or NaN (unknown).
        labels: the L label names.
        official: (N,) unicode of "train" or "test" where the data set came with official lists, else None.
    """

    ids: np.ndarray
    files: tuple[Path, ...]
    groups: np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]
    official: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        assert len(self.files) == n and self.groups.shape == (n,), (n, len(self.files), self.groups.shape)
        assert self.targets.shape == (n, len(self.labels)), (self.targets.shape, n, len(self.labels))
        assert self.official is None or self.official.shape == (n,)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray | Sequence[int]) -> "Table":
        """The same table with only `rows` (integer positions), in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            ids=self.ids[index],
            files=tuple(self.files[i] for i in index),
            groups=self.groups[index],
            targets=self.targets[index],
            official=None if self.official is None else self.official[index],
        )

    def content_hash(self) -> str:
        """16 hex digits over ids, groups, targets and labels; files' places on disk do not count."""
        digest = hashlib.sha256()
        for strings in (self.ids, self.groups, np.asarray(self.labels)):
            digest.update("\0".join(strings.tolist()).encode())
            digest.update(b"\1")
        digest.update(np.ascontiguousarray(self.targets, dtype="<f4").tobytes())
        if self.official is not None:
            digest.update("\0".join(self.official.tolist()).encode())
        return digest.hexdigest()[:16]

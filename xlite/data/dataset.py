"""A prepared data set, as a training run needs it: pixels on disk, targets and split in memory."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xlite.data.held_out import HELD_OUT
from xlite.data.input_spec import InputSpec
from xlite.data.split import PARTS, Part


@dataclass(frozen=True)
class Dataset:
    """A prepared data set; cheap to pickle, since workers open the pixel file themselves.

    Attributes:
        pixel_file: a .npy of (M, *input_spec.shape).
        pixel_key: the pixel cache's key, which stands for its content.
        rows: (N,) row of the pixel file for each example.
        ids, groups: (N,) unicode.
        targets: as in `Table`; their meaning is the task's target spec.
        labels: L names.
        parts: train, val and test as positions among the N examples, disjoint; with `held_out` where there is one.
        split_hash: content hash of the split these parts come from.
        input_spec: of one example.
        auxiliary: (N, E) int64 that models take beside the input, or None.
        preprocess: recorded with every model.
        test_is_sealed: whether `part` of test or held_out is an error, as it is during selection.
    """

    pixel_file: Path
    pixel_key: str
    rows: np.ndarray
    ids: np.ndarray
    groups: np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]
    parts: dict[str, np.ndarray]
    split_hash: str
    input_spec: InputSpec
    auxiliary: np.ndarray | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    test_is_sealed: bool = True

    def open_pixels(self) -> np.ndarray:
        """The whole pixel file, mapped read-only; trials share it through the page cache."""
        return np.load(self.pixel_file, mmap_mode="r")

    def part(self, part: Part | Literal["held_out"]) -> np.ndarray:
        """Positions of one part. Test and held_out are readable only from `unsealed()`: selection must not see them."""
        if part in ("test", HELD_OUT) and self.test_is_sealed:
            raise PermissionError(f"the {part} part is read at promotion only; use Dataset.unsealed() there")
        return self.parts[part]

    def unsealed(self) -> "Dataset":
        """The same data with all parts readable."""
        return replace(self, test_is_sealed=False)

    def with_train(self, positions: np.ndarray) -> "Dataset":
        """The same data with these rows as training part, e.g. a stratified subset."""
        return replace(self, parts={**self.parts, "train": positions})

    def auxiliary_of(self, positions: np.ndarray) -> np.ndarray | None:
        """(B, E) of these examples, or None."""
        return None if self.auxiliary is None else self.auxiliary[positions]

    def train_hash(self) -> str:
        """16 hex digits over the pixel key and the training part's ids, targets, labels and auxiliary integers."""
        return self._hash(self.parts["train"])

    def content_hash(self) -> str:
        """The same over train, val and test."""
        return self._hash(np.concatenate([self.parts[part] for part in PARTS]))

    def _hash(self, rows: np.ndarray) -> str:
        digest = hashlib.sha256(self.pixel_key.encode())
        digest.update("\0".join([*self.labels, "", *self.ids[rows].tolist()]).encode())
        digest.update(np.ascontiguousarray(self.targets[rows], dtype="<f4").tobytes())
        if self.auxiliary is not None:
            digest.update(np.ascontiguousarray(self.auxiliary[rows], dtype="<i8").tobytes())
        return digest.hexdigest()[:16]

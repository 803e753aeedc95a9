"""A member of a teacher: what each kind has in common."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from xlite.device import Device


class Member(Protocol):
    """One frozen source of answers.

    Attributes:
        name: for people, e.g. a backbone or a file's name.
        key: stands for its answers: file hashes, preprocessing, kind of answers.
        settings: JSON values that decide its answers beside the key.
        notes: lines to show when it is loaded.
    """

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def answer(
        self, pixels: np.ndarray, auxiliary: np.ndarray | None, rows: np.ndarray, *, device: Device
    ) -> np.ndarray:
        """Its logits for views (B, *shape of the pixel file), see `Teacher.answer`.

        Raises:
            InputError: an answer is not a finite number.
        """

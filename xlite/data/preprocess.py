"""What turns an example's raw files into one row of the pixel cache; each task has one."""

from dataclasses import asdict
from typing import Any, ClassVar, Protocol

import numpy as np

from xlite.data.table import Item


class Preprocess(Protocol):
    """A frozen dataclass whose fields, with its name, are part of the cache's key: each decides what is read.

    A field `version` is raised when `read` changes what it gives, so that old caches are not taken for new ones.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example: (S, S), (S, S, C), (T, S, S, C) or (H, P)."""

    @property
    def dtype(self) -> str:
        """NumPy's code of its numbers: "|u1" (0-255) or "<f2"."""

    def read(self, item: Item) -> np.ndarray:
        """The example's input, of `shape` and `dtype`; called from several threads at once.

        Raises:
            UnreadableImage: the files will never give one.
            OSError: they cannot be read at all today.
        """


def parameters(preprocess: Preprocess) -> dict[str, Any]:
    """Name and fields: what decides the pixels; in the cache's key and in every model's description."""
    return {"kind": type(preprocess).__name__, **asdict(preprocess)}

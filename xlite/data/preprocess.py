"""What turns an example's raw files into one row of the pixel cache; each task has one."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xlite.data.input_spec import InputSpec
from xlite.data.picture_hash import PictureHashes, hashes_of
from xlite.data.table import Item
from xlite.errors import InputError

RawSource = Path | Item | np.ndarray
"""What a prediction can be asked of: a raw file, an example's files and detail, or an array."""


@dataclass(frozen=True)
class ModelInput:
    """One example ready for a model.

    Attributes:
        pixels: of the preprocessing's `input_spec`.
        auxiliary: the integers that go with it.
        parts: which of the parts (scan lines) of an example are to be answered for; None: it has no parts.
    """

    pixels: np.ndarray
    auxiliary: tuple[int, ...] = ()
    parts: slice | None = None


class Preprocess(ABC):
    """Base of frozen dataclasses whose fields, with the class's name, are part of the cache's key.

    A field `version` is raised when `read` changes what it gives, so that old caches are not taken for new ones.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    @abstractmethod
    def input_spec(self) -> InputSpec:
        """What `read` gives."""

    @abstractmethod
    def read(self, item: Item) -> np.ndarray:
        """The example's input; called from several threads at once.

        Raises:
            UnreadableImage: the files will never give one.
            OSError: they cannot be read at all today.
        """

    def read_hashed(self, item: Item) -> tuple[np.ndarray, PictureHashes]:
        """`read`, and hashes of what the example shows; here of the input itself."""
        array = self.read(item)
        return array, hashes_of(array)

    def from_array(self, array: np.ndarray) -> np.ndarray:
        """An input from a caller's array; here it must be one already.

        Raises:
            InputError: its shape or type is another.
        """
        spec = self.input_spec
        if array.shape != spec.shape or not np.can_cast(array.dtype, spec.dtype, "same_kind"):
            raise InputError(
                f"an array of shape {array.shape} and type {array.dtype}: give the preprocessed input, {spec.shape} "
                f"and {np.dtype(spec.dtype).name}, or its raw file"
            )
        return array.astype(spec.dtype)

    def inputs(self, source: RawSource, auxiliary: tuple[int, ...] = ()) -> list[ModelInput]:
        """The examples in a raw source; here a file is one example.

        Raises:
            InputError: they cannot be told from this source alone; UnreadableImage, OSError: as `read`.
        """
        if isinstance(source, np.ndarray):
            return [ModelInput(self.from_array(source), auxiliary)]
        return [ModelInput(self.read(source if isinstance(source, Item) else Item((source,))), auxiliary)]


def parameters(preprocess: Preprocess) -> dict[str, Any]:
    """Name and fields: what decides the pixels; in the cache's key and in every model's description."""
    return {"kind": type(preprocess).__name__, **asdict(preprocess)}

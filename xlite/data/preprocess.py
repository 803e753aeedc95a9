"""Preprocessing: from an example's raw files to its row of the pixel cache."""

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
"""The input of a prediction: a raw file, an example's files and detail, or an array."""


@dataclass(frozen=True)
class ModelInput:
    """One example ready for a model.

    Attributes:
        pixels: as `input_spec` says.
        auxiliary: the integers that the model takes beside them.
        parts: the scan lines of the example to answer; None: it has no lines.
    """

    pixels: np.ndarray
    auxiliary: tuple[int, ...] = ()
    parts: slice | None = None


class Preprocess(ABC):
    """Base of frozen dataclasses whose fields, with the class's name, are part of the cache's key.

    A field `version` is incremented when `read` gives different pixels, so that old caches are not used.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    @abstractmethod
    def input_spec(self) -> InputSpec:
        """The spec of what `read` returns."""

    @abstractmethod
    def read(self, item: Item) -> np.ndarray:
        """The example's input; called from several threads at once.

        Raises:
            UnreadableImage: the files are damaged; reading them again would not help.
            OSError: they cannot be read now.
        """

    def read_hashed(self, item: Item) -> tuple[np.ndarray, PictureHashes]:
        """`read`, and hashes of what the example shows; here of the input itself."""
        array = self.read(item)
        return array, hashes_of(array)

    def from_array(self, array: np.ndarray) -> np.ndarray:
        """An input from a caller's array; here the array must be preprocessed already.

        Raises:
            InputError: it has another shape or type.
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
            InputError: this source is not enough.
            UnreadableImage, OSError: as `read`.
        """
        if isinstance(source, np.ndarray):
            return [ModelInput(self.from_array(source), auxiliary)]
        return [ModelInput(self.read(source if isinstance(source, Item) else Item((source,))), auxiliary)]

    def require(self, field: str, valid: bool, rule: str) -> None:
        """Raise InputError, naming the field, its value and the rule, unless `valid`."""
        if not valid:
            raise InputError(f"{field} must be {rule}, but got {getattr(self, field)}")


def parameters(preprocess: Preprocess) -> dict[str, Any]:
    """Name and fields, which decide the pixels; part of the cache's key and of every model's description."""
    return {"kind": type(preprocess).__name__, **asdict(preprocess)}

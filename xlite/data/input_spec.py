"""The input spec: layout, shape and type of one example, and the integers that a model takes beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

Layout = Literal["image", "slices", "lines"]
_RANK: Mapping[Layout, int] = {"image": 2, "slices": 3, "lines": 2}  # axes before that of the channels


@dataclass(frozen=True)
class InputSpec:
    """One example in the pixel file.

    Attributes:
        layout: "image", a stack of "slices", or the "lines" of a scan; also the `model.architecture` that takes it.
        shape: (S, S) or (S, S, C) of an image, (T, S, S, C) of slices, (H, P) or (H, P, C) of lines.
        dtype: NumPy's code: "|u1" (0-255) or "<f2".
        auxiliary: names of the integers beside each example, e.g. ("level",).
        auxiliary_max: the largest value of each in a data set; () before one is read.
    """

    layout: Layout
    shape: tuple[int, ...]
    dtype: str = "|u1"
    auxiliary: tuple[str, ...] = ()
    auxiliary_max: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.shape) - _RANK[self.layout] in (0, 1), (self.layout, self.shape)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "InputSpec":
        """The inverse of `dataclasses.asdict`, also through JSON."""
        auxiliary, highest = tuple(values["auxiliary"]), tuple(values["auxiliary_max"])
        return cls(values["layout"], tuple(values["shape"]), values["dtype"], auxiliary, highest)

    @property
    def has_channel_axis(self) -> bool:
        """Whether the last axis is that of the channels; grey images and scan lines have none."""
        return len(self.shape) > _RANK[self.layout]

    @property
    def channels(self) -> int:
        """A model's `in_channels`."""
        return self.shape[-1] if self.has_channel_axis else 1

    @property
    def image_size(self) -> int:
        """Side of an image or a slice in pixels; points of a line."""
        return self.shape[_RANK[self.layout] - 1]

    @property
    def num_slices(self) -> int:
        """Slices of one example, 1 if it is no stack."""
        return self.shape[0] if self.layout == "slices" else 1

    @property
    def model_axes(self) -> tuple[int, ...]:
        """The axes of a batch (B, *shape) in the order of models: channels of images and lines are second."""
        if self.has_channel_axis and self.layout != "slices":
            return (0, 3, 1, 2)
        return tuple(range(len(self.shape) + 1))

    def with_auxiliary(self, values: np.ndarray | None) -> "InputSpec":
        """This spec with the maxima of a data set's auxiliary integers (N, E), or None."""
        num_columns = 0 if values is None else values.shape[1]
        assert num_columns == len(self.auxiliary), (num_columns, self.auxiliary)
        return self if values is None else replace(self, auxiliary_max=tuple(values.max(axis=0).tolist()))

    def example(self) -> tuple[np.ndarray, np.ndarray | None]:
        """A blank batch of one and its (1, E) auxiliary integers, to time a model on."""
        auxiliary = np.array([self.auxiliary_max], dtype=np.int64) if self.auxiliary_max else None
        return np.zeros((1, *self.shape), dtype=self.dtype), auxiliary

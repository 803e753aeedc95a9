"""Whether an exported float32 graph answers as PyTorch does; fp16 and int8 are judged otherwise, by what they lose."""

from collections.abc import Sequence

import numpy as np

from xlite.data.preprocess import ModelInput
from xlite.errors import InputError
from xlite.package.predict import PackagePredictor
from xlite.predictor import Predictor

TOLERANCE = 1e-4
"""The largest difference of a probability. Between two inputs that are closer than this, ranks may differ."""


def check_equal(reference: Predictor, packaged: PackagePredictor, inputs: Sequence[ModelInput]) -> float:
    """The largest difference of a probability, on the inputs one by one and all together.

    Raises:
        InputError: it is above the tolerance, or ranks differ.
    """
    wanted = reference.answers(inputs)
    together = packaged.answers(inputs)
    alone = np.concatenate([packaged.answers([one]) for one in inputs[:4]])
    return max(_compare(wanted, together), _compare(wanted[: len(alone)], alone))


def _compare(wanted: np.ndarray, told: np.ndarray) -> float:
    assert wanted.shape == told.shape, (wanted.shape, told.shape)
    difference = float(np.abs(wanted - told).max())
    if not difference <= TOLERANCE:  # NaN is refused too
        raise InputError(
            f"the exported model's probabilities differ from PyTorch's by up to {difference:.2g} (at most "
            f"{TOLERANCE:g}); this model cannot be packaged with these versions of torch and onnxruntime"
        )
    if (swapped := _swapped(wanted, told)) > 0:
        raise InputError(f"the exported model ranks {swapped} pairs of inputs otherwise than PyTorch; not packaged")
    return difference


def _swapped(wanted: np.ndarray, told: np.ndarray) -> int:
    """Pairs of rows that `told` ranks otherwise, though `wanted` has them further apart than the tolerance."""
    columns = zip(*(array.reshape(-1, array.shape[-1]).T for array in (wanted, told)), strict=True)
    return sum(
        int(np.sum((a[:, None] - a > TOLERANCE) & (b[:, None] <= b)))
        for a, b in ((x[:512], y[:512]) for x, y in columns)
    )

"""A package's own check: inputs in golden/ with the answers that are expected of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xlite.data.table import Item
from xlite.errors import InputError
from xlite.package.predict import PackagePredictor
from xlite.storage.files import read_json_object

EXPECTED = "golden/expected.json"
TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 1e-3, "int8": 1e-2}
"""Largest difference of a probability, by precision. Kernels and their order of additions differ between processors and
versions of ONNX Runtime; int8 rounds at every layer, so that one step more or less shows."""


@dataclass(frozen=True)
class SelfTest:
    """What the golden inputs gave: how many, the largest difference of a probability, and the one allowed."""

    num_inputs: int
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether no probability differs by more than the tolerance; NaN does."""
        return self.difference <= self.tolerance


def self_test(predictor: PackagePredictor, folder: Path) -> SelfTest:
    """Predict the inputs of `folder`/golden/ and compare.

    Raises:
        InputError: there are none, expected.json is damaged, or an input cannot be read.
    """
    file = folder / EXPECTED
    if not file.is_file():
        raise InputError(
            f"{file}: no such file: this package has no self-test; give its whole folder, or make one with "
            "xlite package --golden own"
        )
    values = read_json_object(file)
    try:
        sources = [golden_source(file.parent, one) for one in values["inputs"]]
        expected = [np.asarray(rows, dtype=np.float64) for rows in values["probabilities"]]
        if len(sources) != len(expected) or not sources:
            raise ValueError(f"{len(sources)} inputs, {len(expected)} answers")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: damaged ({error!r}); package the model again") from None
    told = predictor.rows([predictor.inputs(*source) for source in sources])
    for rows, wanted in zip(told, expected, strict=True):
        if rows.shape != wanted.shape:
            raise InputError(f"{file}: answers of shape {wanted.shape}, the model gives {rows.shape}; package it again")
    differences = [np.abs(rows - wanted).max() for rows, wanted in zip(told, expected, strict=True)]
    return SelfTest(len(told), float(np.max(differences)), TOLERANCES[predictor.about.precision])


def golden_source(folder: Path, one: Mapping[str, Any]) -> tuple[Path | Item, tuple[int, ...]]:
    """An entry of "inputs", in golden/, as `PackagePredictor.inputs` takes it.

    A path where there is one file without detail: so a scan is cut into windows as in every prediction.
    """
    paths = tuple(folder / name for name in one["files"])
    source = Item(paths, one["detail"]) if one["detail"] or len(paths) > 1 else paths[0]
    return source, tuple(one["auxiliary"])

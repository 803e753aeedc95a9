"""What a predictor is asked about and what it answers: raw files or arrays, and a probability for each label."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xlite.data.input_spec import InputSpec
from xlite.data.preprocess import ModelInput, Preprocess
from xlite.data.table import Item
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError

Source = str | Path | Item | np.ndarray
Answer = dict[str, float] | list[dict[str, float]]


def model_inputs(
    preprocess: Preprocess, source: Source, auxiliary: Sequence[int], highest: Sequence[int]
) -> list[ModelInput]:
    """The model's inputs of one source: one, or the windows of a scan.

    Args:
        auxiliary: the integers that go with an item or array.
        highest: the largest of each in the training data; () if not known.

    Raises:
        InputError: the file cannot be read, or the source does not fit this model.
    """
    try:
        inputs = preprocess.inputs(Path(source) if isinstance(source, str) else source, tuple(auxiliary))
    except UnreadableImage as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror or error})") from None
    names = preprocess.input_spec.auxiliary
    for given in (one.auxiliary for one in inputs):
        if len(given) != len(names) or any(not 0 <= value <= most for value, most in zip(given, highest, strict=False)):
            most = f" of at most {tuple(highest)}" if highest else ""
            raise InputError(f"auxiliary={tuple(given)}: this model takes ({', '.join(names)}){most} beside its input")
    return inputs


def batch_arrays(spec: InputSpec, inputs: Sequence[ModelInput]) -> tuple[np.ndarray, np.ndarray | None]:
    """(N, *shape) pixels and (N, E) int64 auxiliary integers, None where the model takes none."""
    auxiliary = np.array([one.auxiliary for one in inputs], dtype=np.int64) if spec.auxiliary else None
    return np.stack([one.pixels for one in inputs]), auxiliary


def rows_of(inputs: Sequence[Sequence[ModelInput]], answers: np.ndarray) -> list[np.ndarray]:
    """The answers (N, ..., L) by source: (L,) each, of a scan (lines, L) with each line once.

    Args:
        inputs: of each source, N in all.
    """
    rows, left = [], iter(answers)
    for some in inputs:
        of_lines = [next(left) if one.parts is None else next(left)[one.parts] for one in some]
        rows.append(of_lines[0] if some[0].parts is None else np.concatenate(of_lines))
    return rows


def named(labels: Sequence[str], rows: np.ndarray) -> Answer:
    """One source's answers of `rows_of` by label."""
    if rows.ndim == 1:
        return dict(zip(labels, rows.tolist(), strict=True))
    return [dict(zip(labels, line, strict=True)) for line in rows.tolist()]

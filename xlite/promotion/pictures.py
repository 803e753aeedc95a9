"""Where a promoted student looks, in TensorBoard: explained validation examples."""

from pathlib import Path

import numpy as np

from xlite.data.dataset import Dataset
from xlite.data.table import Table
from xlite.errors import InputError
from xlite.explain.maps import explain
from xlite.explain.overlay import sheet
from xlite.predictor import load
from xlite.tasks.target_spec import TargetSpec
from xlite.train.hparams import PICTURES
from xlite.train.pictures import write_pictures

MAX_EXAMPLES = 4
"""About half a second each, on the built-in data."""
_ABOUT = (
    "The label's map over a validation example that has it. Of an image or a slice: class activation map; of "
    "scan lines: gradient times input"
)


def show_explanations(folder: Path, run: Path, spec: TargetSpec, table: Table, dataset: Dataset) -> None:
    """Explain, for each of the first labels, the first validation example that has it.

    Nothing is drawn from the first raw file on that cannot be read now, and where the model cannot be opened from its
    folder, as with a preprocessing of one's own.

    Args:
        folder: of the promoted models, which is passed on, and so without pictures of patients.
        run: TensorBoard's run for them.
        table, dataset: of the study's data, row by row the same.
    """
    (run / PICTURES).unlink(missing_ok=True)  # of an earlier promotion
    pictures: dict[str, bytes] = {}
    try:
        predictor = load(folder, target_spec=spec)
        for label, position in _examples(dataset).items():
            auxiliary = () if dataset.auxiliary is None else tuple(dataset.auxiliary[position].tolist())
            found = explain(predictor, table.items[position], [label], auxiliary=auxiliary)
            pictures[f"explained/{label}"] = sheet(found, f"a validation example of {label}")
    except InputError:
        pass
    if pictures:
        write_pictures(run, pictures, _ABOUT)


def _examples(dataset: Dataset) -> dict[str, int]:
    """Label -> position of the first validation example that has it, in any of its parts."""
    positions = dataset.part("val")
    has_label = (dataset.targets[positions] == 1).reshape(len(positions), -1, len(dataset.labels)).any(axis=1)
    there = np.flatnonzero(has_label.any(axis=0)).tolist()[:MAX_EXAMPLES]
    return {dataset.labels[number]: int(positions[has_label[:, number].argmax()]) for number in there}

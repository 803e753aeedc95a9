"""A teacher in an ONNX file: it answers views at its own input size."""

import glob
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device
from xlite.distill.teachers.labels import LabelMatch, match_labels
from xlite.distill.teachers.onnx_graph import Graph, open_graph
from xlite.distill.teachers.resize import resize
from xlite.distill.teachers.values import as_logits
from xlite.errors import InputError


@dataclass(frozen=True)
class OnnxTeacher:
    """An ONNX file as a teacher for some data.

    Attributes:
        name: the file's.
        key: over the file, its external weights, the preparation, and whether probabilities are of classes.
        graph: its session; on a CPU it takes one thread, since batches run side by side.
        input_spec: of the views it is asked about.
        match: its labels among the data's.
        exclusive: whether these are classes.
    """

    name: str
    key: str
    graph: Graph
    input_spec: InputSpec
    match: LabelMatch
    exclusive: bool

    @property
    def settings(self) -> dict[str, Any]:
        """None: its key has all of them."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """A line on labels that it does not know."""
        return self.match.notes(self.name)

    @torch.inference_mode()
    def answer(
        self, pixels: np.ndarray, auxiliary: np.ndarray | None, rows: np.ndarray, *, device: Device
    ) -> np.ndarray:
        """Its logits for these views, resized to its own input size; `rows` do not matter."""
        images, _ = device.inputs(self.input_spec, pixels)
        resized = resize(images, self.graph.shape[0], self.input_spec).cpu().numpy()
        values = self.graph.run(self.graph.prepare(resized))
        if not np.isfinite(values).all():
            raise InputError(f"{self.name}: its outputs are not finite; are `scale`, `mean` and `std` right?")
        if self.graph.preparation.output == "probabilities" and (values.min() < -1e-4 or values.max() > 1 + 1e-4):
            raise InputError(
                f"{self.name}: its outputs are from {values.min():g} to {values.max():g}, so not probabilities; write "
                "logits as `output`"
            )
        logits = as_logits(values, self.graph.preparation.output, exclusive=self.exclusive)
        return self.match.select(logits)


def load_onnx(file: Path, dataset: Dataset, *, kind: str, device: Device) -> OnnxTeacher:
    """Open an ONNX file and try it on a batch.

    Args:
        kind: of the data's targets.

    Raises:
        InputError: it cannot be run, or does not fit its labels or the data.
    """
    spec = dataset.input_spec
    if spec.layout != "image":
        raise InputError(f"{file}: an ONNX teacher takes images, the data is of {spec.layout}")
    graph = open_graph(file, device)
    exclusive = kind != "multilabel"
    match = match_labels(file, graph.preparation.labels, dataset.labels, partial=not exclusive)
    digest = hashlib.sha256(graph.preparation.model_dump_json().encode())
    if exclusive and graph.preparation.output == "probabilities":
        digest.update(b"of classes")
    weights = file.parent.glob(f"{glob.escape(file.name)}?data*")  # may lie beside, in model.onnx.data
    for part in (file, *sorted(weights)):
        digest.update(part.read_bytes())
    return OnnxTeacher(file.name, digest.hexdigest(), graph, spec, match, exclusive)

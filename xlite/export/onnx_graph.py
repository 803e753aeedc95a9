"""PyTorch models to one ONNX graph: the input as preprocessing gives it, mean logits and calibrated probabilities."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import torch
from torch import Tensor, nn

from xlite.data.input_spec import InputSpec
from xlite.errors import InputError
from xlite.metrics.calibration import Calibration
from xlite.models.build import call
from xlite.package.about import About
from xlite.storage.files import atomic_write

OPSET = 18
"""The highest that PyTorch's exporter writes itself; a later one would be converted from it."""
_LARGEST = onnx.checker.MAXIMUM_PROTOBUF  # one file, as protobuf allows


def write_onnx(models: Sequence[nn.Module], about: About, path: Path) -> None:
    """Write one file, without external data, that takes and returns what `About` says, for any number of examples.

    Args:
        models: at least one, on the CPU; their logits are averaged.
        path: replaced whole.

    Raises:
        InputError: a model that PyTorch cannot export, or all of them together are larger than 2 GiB.
    """
    num_bytes = sum(tensor.nbytes for model in models for tensor in model.state_dict().values())
    if num_bytes >= _LARGEST:
        raise InputError(f"{len(models)} models of {num_bytes / 2**30:.1f} GiB: one ONNX file holds at most 2 GiB")
    graph = PackagedGraph(models, about).eval()
    pixels, auxiliary = _blank_batch(about.input_spec)
    names = ("pixels",) if auxiliary is None else ("pixels", "auxiliary")
    arguments = (pixels,) if auxiliary is None else (pixels, auxiliary)
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        # Two inputs that share their first axis: only one of the two equal names is kept, as it should be.
        warnings.filterwarnings("ignore", message="# The axis name: batch will not be used")
        try:
            program = torch.onnx.export(
                graph,
                arguments,
                dynamo=True,
                opset_version=OPSET,
                input_names=names,
                output_names=("logits", "probabilities"),
                dynamic_shapes=tuple({0: batch} for _ in names),
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            problem = str(error.__cause__ or error).strip().splitlines()[0][:200]
            raise InputError(f"this model cannot be exported to ONNX ({problem})") from None
    assert program is not None
    _forget_where_it_was_made(program.model)
    program.model.metadata_props.update(about.to_metadata())
    with atomic_write(path) as temporary:
        onnx.save_model(program.model_proto, temporary)


class PackagedGraph(nn.Module):
    """pixels (N, *input shape), auxiliary (N, E) int64 -> logits and calibrated probabilities, (N, ..., L) float32."""

    slopes: Tensor
    intercepts: Tensor

    def __init__(self, models: Sequence[nn.Module], about: About) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.axes, self.exclusive = about.input_spec.model_axes, about.exclusive
        calibration = Calibration.from_json(about.calibration) if about.calibration else None
        calibration = calibration or Calibration.identity(about.labels)
        for name in ("slopes", "intercepts"):
            self.register_buffer(name, torch.tensor(getattr(calibration, name), dtype=torch.float32))

    def forward(self, pixels: Tensor, auxiliary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        images = pixels.permute(self.axes)
        answers = [call(model, images, auxiliary) for model in self.models]
        logits = answers[0] if len(answers) == 1 else torch.stack(answers).mean(0)
        if self.exclusive:
            return logits, (self.slopes * logits.log_softmax(-1)).softmax(-1)
        return logits, (self.slopes * logits + self.intercepts).sigmoid()


def _blank_batch(spec: InputSpec) -> tuple[Tensor, Tensor | None]:
    """Two examples: a batch of one would fix the graph's batch size."""
    pixels = torch.from_numpy(np.zeros((2, *spec.shape), spec.dtype))
    if not spec.auxiliary:
        return pixels, None
    return pixels, torch.ones(2, len(spec.auxiliary), dtype=torch.int64)


def _forget_where_it_was_made(model: onnx_ir.Model) -> None:
    """Remove stack traces and the like, which hold this machine's paths, from the graph and all its parts."""
    for part in (model.graph, *(function.graph for function in model.functions.values())):
        part.metadata_props.clear()
        for node in onnx_ir.traversal.RecursiveGraphIterator(part):
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()

"""8-bit integers for the layers of an ONNX graph: ranges of activations on training images, then the graph."""

import copy
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorsData,
    create_calibrator,
    quant_pre_process,
)

from xlite.errors import InputError
from xlite.export.layers import WEIGHTED, Layers

Method = Literal["MinMax", "Entropy", "Percentile"]
METHODS: tuple[Method, ...] = ("MinMax", "Entropy", "Percentile")
Feed = Mapping[str, np.ndarray]
PERCENTILE = 99.99
"""Share of the values, in percent, within a range by "Percentile"."""
MERGED = ("Relu", "Clip")
"""Activations that become the range of the layer before them: 8 bits from 0 on, and one node less."""
LAYERS_ONLY = (*WEIGHTED, *MERGED)
EVERY_OPERATOR = (*LAYERS_ONLY, "Add", "Mul", "Sigmoid", "Concat", "Softmax", "AveragePool")
"""What onnxruntime quantises by default, as far as these graphs have it."""
_CALIBRATED_AT_ONCE = 2  # batches whose every activation is in memory


@dataclass(frozen=True)
class Recipe:
    """One way to quantise.

    Attributes:
        per_channel: a scale for each output channel of a weight, instead of one for all.
        method: how a range follows from an activation's values.
        kept: names of layers that stay float besides the last; `described` says it in words.
        every_operator: also sums, products and activations between the layers.
    """

    per_channel: bool
    method: Method
    kept: frozenset[str] = frozenset()
    described: str = "last layer"
    every_operator: bool = False

    @property
    def weights(self) -> str:
        """How weights are scaled, in words."""
        return "per channel" if self.per_channel else "per tensor"


def prepared(path: Path) -> onnx.ModelProto:
    """The graph in `path` with constants folded, batch norms merged into convolutions and all shapes inferred.

    Raises:
        InputError: onnxruntime or ONNX cannot read it, or no layer of it can be quantised.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        out = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(path, out, skip_symbolic_shape=True)
            model = onnx.load(out)
        except Exception as error:  # of no common class
            raise InputError(f"{path}: cannot be quantised ({' '.join(str(error).split())[:200]})") from None
    if not Layers(model).all.keys() - Layers(model).last:
        raise InputError(f"{path}: no layer but the last has weights ({', '.join(WEIGHTED)}); nothing to quantise")
    return model


def activation_ranges(model: onnx.ModelProto, batches: Sequence[Feed], method: Method) -> TensorsData:
    """The range of each activation over these inputs of the graph.

    Few batches are in memory at a time: a histogram needs every activation of a batch.
    """
    options = {"symmetric": False, "percentile": PERCENTILE}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        given, augmented = Path(folder) / "given.onnx", Path(folder) / "augmented.onnx"
        onnx.save(model, given)
        operators = EVERY_OPERATOR if method == "MinMax" else LAYERS_ONLY
        calibrator = create_calibrator(
            given, operators, str(augmented), CalibrationMethod[method], extra_options=options
        )
        for start in range(0, len(batches), _CALIBRATED_AT_ONCE):
            calibrator.collect_data(_Feeds(batches[start : start + _CALIBRATED_AT_ONCE]))
        return calibrator.compute_data()


def quantised(model: onnx.ModelProto, ranges: TensorsData, recipe: Recipe) -> onnx.ModelProto:
    """A copy of a `prepared` graph with QuantizeLinear and DequantizeLinear around the chosen layers.

    Weights are int8, activations uint8, the fastest pair on a CPU with 8-bit dot products (VNNI). On an x86 CPU without
    them onnxruntime sums in 16 bits, which can overflow, unless the session asks for exact sums; `open_package` does.

    Raises:
        InputError: onnxruntime cannot quantise an operator of it.
    """
    layers = Layers(model)
    operators = EVERY_OPERATOR if recipe.every_operator else LAYERS_ONLY
    float_ones = layers.last | layers.after_last | recipe.kept
    chosen = [
        node.name
        for node in model.graph.node
        if node.op_type in operators and (node.op_type not in WEIGHTED or node.name in layers.all)
        if node.name not in float_ones
    ]
    with _quiet():
        try:
            quantiser = QDQQuantizer(
                copy.deepcopy(model),
                recipe.per_channel,
                False,  # weights of 8 bits; with 7 some students lose 2.5 points of AUC
                QuantType.QInt8,
                QuantType.QUInt8,
                copy.deepcopy(ranges),  # it narrows those before a Relu or Clip that it merges
                chosen,
                [],
                list(operators),
                {},
            )
            quantiser.quantize_model()
        except Exception as error:  # of no common class
            raise InputError(f"this graph cannot be quantised ({' '.join(str(error).split())[:200]})") from None
    quantiser.model.topological_sort()
    return _compact(quantiser.model.model)


def _compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without what ONNX Runtime can do without: shapes, zero points that are 0, and long names.

    Of a model of a million weights this is a tenth of the file.
    """
    graph = model.graph
    del graph.value_info[:]
    signed = (TensorProto.INT8, TensorProto.INT32)  # an absent zero point is 0
    zeros = {one.name for one in graph.initializer if one.data_type in signed and not numpy_helper.to_array(one).any()}
    kept_names = {value.name for value in (*graph.input, *graph.output)} | {""}
    short: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if name in kept_names else short.setdefault(name, f"t{len(short)}")

    for node in graph.node:
        node.name = ""
        if node.op_type == "DequantizeLinear" and len(node.input) == 3 and node.input[2] in zeros:
            del node.input[2]
    used = {name for node in graph.node for name in node.input}
    constants = [one for one in graph.initializer if one.name in used]
    for one in constants:
        one.name = renamed(one.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed(name) for name in names]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    return model


class _Feeds(CalibrationDataReader):
    """Batches one after another, as onnxruntime asks for them."""

    def __init__(self, batches: Iterable[Feed]) -> None:
        self._left: Iterator[Feed] = iter(batches)

    def get_next(self) -> Feed | None:
        return next(self._left, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Context without what onnxruntime prints and logs on the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)

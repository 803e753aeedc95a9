"""A small package for tests: an ONNX graph made by hand, whose answers NumPy gives as well, and its files."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from xlite.data.decode import ImagePreprocess
from xlite.data.preprocess_registry import described
from xlite.package.about import About
from xlite.package.manifest import write_manifest

IMAGES = ImagePreprocess(image_size=16)


def about_of(preprocess=IMAGES, *, labels=("Effusion", "Mass"), kind="multilabel", highest=(), **more) -> About:
    """What a package of `preprocess` says of itself; thresholds of labels are 0.5."""
    about = About(
        task="toy",
        target_kind=kind,
        labels=tuple(labels),
        preprocess=described(preprocess),
        input=json.loads(json.dumps(asdict(replace(preprocess.input_spec, auxiliary_max=tuple(highest))))),
        thresholds=dict.fromkeys(labels, 0.5) if kind == "multilabel" else {},
        threshold_method="f1" if kind == "multilabel" else "",
        calibration=None,
        num_models=1,
        precision="fp32",
        training_inputs={},
        versions={"xlite": "0.1.0"},
        promotion="0123456789abcdef",
    )
    return replace(about, **more)


def weights_of(about: About) -> np.ndarray:
    """(L,) slopes of the logits, one sign after the other."""
    return np.array([1.5 - number for number in range(len(about.labels))], dtype=np.float32)


def expected(about: About, pixels: np.ndarray) -> np.ndarray:
    """The probabilities (N, ..., L) of inputs (N, *shape): of each input's (scan: line's) mean."""
    spec = about.input_spec
    kept = 2 if spec.layout == "lines" else 1
    means = pixels.astype(np.float32).mean(axis=tuple(range(kept, pixels.ndim))) / 64 - 1
    logits = means[..., None] * weights_of(about)
    if about.exclusive:
        return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return 1 / (1 + np.exp(-logits))


def write_graph(about: About, file: Path, *, extra: str = "", metadata: bool = True) -> Path:
    """Write model.onnx. `extra`: an operator to put before the output, e.g. one that no runtime has."""
    spec = about.input_spec
    kept = 2 if spec.layout == "lines" else 1
    axes = np.arange(kept, len(spec.shape) + 1)
    constants = {
        "axes": axes.astype(np.int64),
        "scale": np.float32(64),
        "one": np.float32(1),
        "weights": weights_of(about),
        "last": np.array([-1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["level"]),
        helper.make_node("Unsqueeze", ["level", "last"], ["column"]),
        helper.make_node("Mul", ["column", "weights"], ["logits"]),
        helper.make_node("Softmax" if about.exclusive else "Sigmoid", ["logits"], ["p" if extra else "probabilities"]),
    ]
    if extra:
        nodes.append(helper.make_node(extra, ["p"], ["probabilities"]))
    kind = {"|u1": TensorProto.UINT8, "<f2": TensorProto.FLOAT16}[spec.dtype]
    inputs = [helper.make_tensor_value_info("pixels", kind, ["N", *spec.shape])]
    if spec.auxiliary:  # part of the sum with weight 0, so that the graph keeps it
        inputs.append(helper.make_tensor_value_info("auxiliary", TensorProto.INT64, ["N", len(spec.auxiliary)]))
    lines = [spec.shape[0]] if spec.layout == "lines" else []
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *lines, len(about.labels)])
        for name in ("logits", "probabilities")
    ]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata:
        helper.set_model_props(model, about.to_metadata())
    onnx.save(model, file)
    return file


def write_package(folder: Path, about: About | None = None, **graph) -> About:
    """A folder with model.onnx and package.json."""
    folder.mkdir(parents=True, exist_ok=True)
    about = about or about_of()
    write_graph(about, folder / "model.onnx", **graph)
    write_manifest(folder, about)
    return about

"""ONNX files for tests, made with onnx.helper: the mean of each image quadrant, turned into one output a label."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GREY = {"labels": ["a", "b", "c"], "output": "logits", "scale": 1}


def quadrants(image):
    """(S, S) pixels -> the means of its quadrants, what these files' outputs are made of."""
    half = len(image) // 2
    parts = (image[:half, :half], image[:half, half:], image[half:, :half], image[half:, half:])
    return np.array([part.mean() for part in parts])


def weights_of(num_outputs, *, seed=0, channels=1):
    return np.random.default_rng(seed).normal(scale=3, size=(4 * channels, num_outputs)).astype(np.float32)


def write_onnx(
    file: Path, *, size=16, num_outputs=3, batch="N", channels=1, ends_with=(), about=GREY, seed=0, rank_4=True, **more
) -> Path:
    """Write a file of input (batch, channels, size, size), its outputs `quadrants @ weights_of(...)`.

    Args:
        ends_with: operators after that, by name.
        about: the JSON written beside it; None: metadata is in `more["metadata"]`, if anywhere.
    """
    half = size // 2
    shape = [batch, channels, size, size] if rank_4 else [batch, channels * size * size]
    nodes = [
        helper.make_node("AveragePool", ["x"], ["pooled"], kernel_shape=[half, half], strides=[half, half]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y0"]),
    ]
    if not rank_4:
        nodes = [helper.make_node("Identity", ["x"], ["y0"])]
    for number, name in enumerate(ends_with):
        nodes.append(helper.make_node(name, [f"y{number}"], [f"y{number + 1}"], domain=more.get("domain", "")))
    last = f"y{len(ends_with)}"
    graph = helper.make_graph(
        nodes,
        "quadrants",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in more.get("outputs", [last])],
        [numpy_helper.from_array(weights_of(num_outputs, seed=seed, channels=channels), "w")],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid("own", 1)] if "domain" in more else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    for key, value in more.get("metadata", {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, file)
    if about is not None:
        file.with_suffix(".json").write_text(json.dumps(about))
    return file

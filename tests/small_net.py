"""A small convolutional ONNX graph for tests of smaller files, with data whose labels it answers, made by hand."""

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from small_package import about_of

from xlite.data.dataset import Dataset
from xlite.export.judged import Ground
from xlite.package.golden import EXPECTED
from xlite.package.manifest import write_manifest
from xlite.storage.files import write_json
from xlite.tasks.target_spec import MULTILABEL

LABELS = ("Effusion", "Mass")
SIDE, WIDTH, HIDDEN = 16, 24, 256


def small_net(*, uneven: bool = False, seed: int = 0) -> onnx.ModelProto:
    """Normalise, convolve, gate (squeeze and excitation), convolve by depth and width, mean, two linear layers.

    Args:
        uneven: one channel of the depthwise convolution is 100 times as large, and its input as much smaller, so that
            one scale for all its weights rounds the others to 0.
    """
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)

    stem, depthwise = drawn(WIDTH, 1, 3, 3), drawn(WIDTH, 1, 3, 3)
    if uneven:
        stem[0] /= 100
        depthwise[0] *= 100
    weights = {
        "body.stem.weight": stem,
        "body.0.se.reduce.weight": drawn(4, WIDTH, 1, 1),
        "body.0.se.expand.weight": drawn(WIDTH, 4, 1, 1),
        "body.0.depthwise.weight": depthwise,
        "body.0.wide.weight": drawn(WIDTH, WIDTH, 1, 1),
        "head.0.weight": drawn(HIDDEN, WIDTH),
        "head.1.weight": drawn(len(LABELS), HIDDEN),
    }
    constants = {"mean": np.float32(128), "std": np.float32(64), "axes": np.array([2, 3]), "one": np.array([1])}
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["pixels", "one"], ["image"], name="unsqueeze"),
        node("Cast", ["image"], ["float"], name="cast", to=TensorProto.FLOAT),
        node("Sub", ["float", "mean"], ["centred"], name="sub"),
        node("Div", ["centred", "std"], ["normal"], name="div"),
        node("Conv", ["normal", "body.stem.weight"], ["stem"], name="stem", pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["stem"], ["active"], name="relu"),
        node("ReduceMean", ["active", "axes"], ["squeezed"], name="squeeze"),
        node("Conv", ["squeezed", "body.0.se.reduce.weight"], ["reduced"], name="reduce"),
        node("Relu", ["reduced"], ["reduced_active"], name="relu_reduced"),
        node("Conv", ["reduced_active", "body.0.se.expand.weight"], ["expanded"], name="expand"),
        node("HardSigmoid", ["expanded"], ["gate"], name="gate"),
        node("Mul", ["active", "gate"], ["gated"], name="excite"),
        node("Conv", ["gated", "body.0.depthwise.weight"], ["deep"], name="deep", pads=[1] * 4, group=WIDTH),
        node("Relu", ["deep"], ["deep_active"], name="relu_deep"),
        node("Conv", ["deep_active", "body.0.wide.weight"], ["wide"], name="wide"),
        node("HardSwish", ["wide"], ["features"], name="hard_swish"),
        node("ReduceMean", ["features", "axes"], ["vector"], name="mean", keepdims=0),
        node("Gemm", ["vector", "head.0.weight"], ["hidden"], name="hidden", transB=1),
        node("HardSwish", ["hidden"], ["hidden_active"], name="hidden_swish"),
        node("Gemm", ["hidden_active", "head.1.weight"], ["logits"], name="last", transB=1),
        node("Sigmoid", ["logits"], ["probabilities"], name="sigmoid"),
    ]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in {**weights, **constants}.items()]
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(LABELS)])
        for name in ("logits", "probabilities")
    ]
    graph = helper.make_graph(nodes, "small", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def images(num: int, seed: int = 1) -> np.ndarray:
    """(num, 16, 16) uint8: blobs of all sizes and places, so that answers differ."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    centre, width = rng.uniform(0, SIDE, (num, 2, 1, 1)), rng.uniform(1, 8, (num, 1, 1))
    blobs = np.exp(-((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2) / width**2)
    return np.clip(255 * blobs * rng.uniform(0.3, 1, (num, 1, 1)) + rng.normal(0, 8, blobs.shape), 0, 255).astype(
        np.uint8
    )


def ground_of(folder: Path, model: onnx.ModelProto, *, num: int = 120) -> Ground:
    """Training and validation images, half each, whose labels are the model's own answers above their medians.

    So the model's AUC is 1. The test part is one image that nobody may read.
    """
    from xlite.export.judged import opened

    pixels = images(num)
    pixels[-1] = 255
    np.save(folder / "pixels.npy", pixels)
    logits = opened(model.SerializeToString(), 1).run(["logits"], {"pixels": pixels})[0]
    about = about_of(labels=LABELS)
    half = num // 2
    dataset = Dataset(
        folder / "pixels.npy",
        "key",
        np.arange(num),
        np.array([f"i{k}" for k in range(num)]),
        np.array([f"p{k}" for k in range(num)]),
        (logits > np.median(logits, axis=0)).astype(np.float32),
        LABELS,
        {"train": np.arange(half), "val": np.arange(half, num - 1), "test": np.array([num - 1])},
        "split",
        about.input_spec,
    )
    return Ground(dataset, MULTILABEL, about)


def write_net(folder: Path, model: onnx.ModelProto, *, golden: bool = True) -> None:
    """The model as an fp32 package, with weights for PyTorch, which a smaller one does without."""
    folder.mkdir()
    about = about_of(labels=LABELS)
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    helper.set_model_props(copy, about.to_metadata())
    onnx.save(copy, folder / "model.onnx")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "MODEL_CARD.md").write_text("# Model card\n")
    if golden:
        (folder / "golden").mkdir()
        cv2.imwrite(str(folder / "golden" / "input_001.png"), images(1)[0])
        one = {"files": ["input_001.png"], "detail": None, "auxiliary": []}
        write_json(folder / EXPECTED, {"inputs": [one], "probabilities": [[[0.5, 0.5]]]})
    write_manifest(folder, about)

"""The ONNX graph answers as the PyTorch models do, for every kind of model that the shipped spaces can ask for."""

import dataclasses
import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import timm
import torch
from conftest import REPO

from xlite.config import ModelConfig
from xlite.data.decode import ImagePreprocess
from xlite.data.preprocess import ModelInput
from xlite.data.preprocess_registry import described
from xlite.data.scan_lines import ScanLinePreprocess
from xlite.data.slices import SlicePreprocess
from xlite.device import choose_device
from xlite.errors import InputError
from xlite.export.equality import check_equal
from xlite.export.onnx_graph import OPSET, write_onnx
from xlite.metrics.calibration import Calibration
from xlite.models.build import build_model
from xlite.package.about import About
from xlite.package.predict import open_package
from xlite.predictor import Predictor
from xlite.tasks.target_spec import TARGET_SPECS

LABELS = ("a", "b|<script>", "c")
PLATT = Calibration(LABELS, ("platt", "none", "temperature"), (1.5, 1.0, 0.7), (0.4, 0.0, 0.0))
TEMPERATURE = Calibration(LABELS, ("temperature",) * 3, (1.5,) * 3, (0.0,) * 3, exclusive=True)
IMAGE, COLOUR = ImagePreprocess(64), ImagePreprocess(64, channels=3)
SLICES, LINES = SlicePreprocess(64, num_slices=3), ScanLinePreprocess(points=24, window_lines=16)
HIGHEST = {IMAGE: (), COLOUR: (), SLICES: (4,), LINES: (16,)}
ROOMS = {"slices": {"num_slices": 3}, "lines": {"width": 16, "ffn_width": 32, "attention_heads": 2}}


def model_config(preprocess, **keys):
    layout = preprocess.input_spec.layout
    return ModelConfig(**{"architecture": layout, "backbone": "lcnet_050", **ROOMS.get(layout, {}), **keys})


def exported(folder, preprocess, kind, config, num_models=1, calibration=None):
    """The same models in PyTorch and as a package's graph, reloaded from its file."""
    spec = dataclasses.replace(preprocess.input_spec, auxiliary_max=HIGHEST[preprocess])
    size = {"in_channels": spec.channels, "image_size": spec.image_size}
    models = tuple(build_model(config, num_labels=3, seed=seed, **size).eval() for seed in range(num_models))
    about = About(
        "t", kind, LABELS, described(preprocess), dataclasses.asdict(spec), {}, "",
        calibration.to_json() if calibration else None, num_models, "fp32", {}, {"opset": str(OPSET)}, "0",
    )  # fmt: skip
    write_onnx(models, about, folder / "model.onnx")
    reference = Predictor(
        models, LABELS, {}, preprocess, TARGET_SPECS[kind], choose_device("fp32", kind="cpu"), HIGHEST[preprocess],
        calibration,
    )  # fmt: skip
    return reference, open_package(folder / "model.onnx", threads=1), about


def random_inputs(preprocess, num=5):
    rng, spec = np.random.default_rng(0), preprocess.input_spec
    pixels = rng.integers(0, 256, (num, *spec.shape)).astype(spec.dtype)
    numbers = rng.integers(1, 1 + max(HIGHEST[preprocess], default=1), (num, len(spec.auxiliary))).tolist()
    return [ModelInput(one, tuple(own)) for one, own in zip(pixels, numbers, strict=True)]


@pytest.mark.parametrize(
    ("preprocess", "kind", "keys", "num_models", "calibration"),
    [
        pytest.param(IMAGE, "multilabel", {"attention": "performer"}, 1, PLATT, id="image-performer"),
        pytest.param(SLICES, "ordinal", {"head": "coral", "attention": "mhsa"}, 1, TEMPERATURE, id="slices-mhsa-coral"),
        pytest.param(LINES, "multiclass", {"layers": 1, "causal": True}, 2, TEMPERATURE, id="lines-two-models"),
    ],
)
def test_the_graph_answers_as_pytorch_and_says_what_it_is(preprocess, kind, keys, num_models, calibration, tmp_path):
    reference, packaged, about = exported(
        tmp_path, preprocess, kind, model_config(preprocess, **keys), num_models, calibration
    )
    assert check_equal(reference, packaged, random_inputs(preprocess)) < 1e-5
    assert packaged.about.to_metadata() == about.to_metadata()
    graph = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert [opset.version for opset in graph.opset_import if opset.domain == ""] == [OPSET]
    assert [one.name for one in (*graph.graph.input, *graph.graph.output)] == (
        ["pixels"] + ["auxiliary"] * bool(HIGHEST[preprocess]) + ["logits", "probabilities"]
    )
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    written = (tmp_path / "model.onnx").read_bytes()
    assert str(REPO).encode() not in written and str(Path(torch.__file__).parents[2]).encode() not in written


def answering(values):
    return SimpleNamespace(answers=lambda inputs: np.asarray(values)[inputs])


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([[0.5], [0.1]], "differ from PyTorch's by up to 0.00015"),
        ([[0.5], [np.nan]], "differ from PyTorch's by up to nan"),
        ([[0.5], [0.09985]], None),
    ],
)
def test_a_graph_that_answers_otherwise_is_refused(told, words):
    wanted, inputs = answering([[0.50008], [0.09985]]), [0, 1]
    if words is None:
        assert check_equal(wanted, answering(told), inputs) == pytest.approx(8e-5)
        return
    with pytest.raises(InputError, match=words):
        check_equal(wanted, answering(told), inputs)


def test_ranks_may_differ_only_between_inputs_that_are_closer_than_the_tolerance():
    close, far = [[0.50000], [0.50005]], [[0.50000], [0.50015]]
    assert check_equal(answering(close), answering(close[::-1]), [0, 1]) < 1e-4
    with pytest.raises(InputError, match="ranks 1 pairs of inputs otherwise than PyTorch"):
        check_equal(answering(far), answering([[0.50009], [0.50008]]), [0, 1])


def choices_of_the_spaces():
    """Every backbone x attention x head that a shipped space, a grid or a default teacher can ask for, by task."""
    found = set()
    for file in sorted((REPO / "search_spaces").glob("*.py")):
        text = file.read_text()
        for preprocess, kind in ((SLICES, "ordinal"),) if "lumbar" in file.name else ((IMAGE, "multilabel"),):
            names = set(backbones_in(text))
            heads = ("classes", "coral") if preprocess is SLICES else ("classes",)
            attentions = [name for name in ("none", "mhsa", "performer") if f'"{name}"' in text] or ["none"]
            found |= {(preprocess, kind, *each) for each in itertools.product(sorted(names), attentions, heads)}
    return sorted(found, key=str)


def backbones_in(text):
    return {name for name in re.findall(r'"([a-z0-9_]+)"', text) if timm.is_model(name)}


TEACHERS = (
    "resnet10t",
    "resnet50",
    "densenet121",
    "tf_efficientnet_lite2",
    "tf_efficientnetv2_s",
    "vit_tiny_patch16_224",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preprocess", "kind", "backbone", "attention", "head"),
    [*choices_of_the_spaces(), *((COLOUR, "multiclass", teacher, "none", "classes") for teacher in TEACHERS)],
)
def test_every_student_and_teacher_is_exported(preprocess, kind, backbone, attention, head, tmp_path):
    config = model_config(preprocess, backbone=backbone, attention=attention, head=head)
    reference, packaged, _ = exported(tmp_path, preprocess, kind, config)
    assert check_equal(reference, packaged, random_inputs(preprocess)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("normalise_lines", [False, True])
@pytest.mark.parametrize("layers", [1, 4, 6])
@pytest.mark.parametrize("head", ["classes", "coral"])
def test_every_scan_line_encoder_is_exported(causal, normalise_lines, layers, head, tmp_path):
    config = model_config(LINES, causal=causal, normalise_lines=normalise_lines, layers=layers, head=head)
    reference, packaged, _ = exported(tmp_path, LINES, "ordinal" if head == "coral" else "multiclass", config)
    assert check_equal(reference, packaged, random_inputs(LINES)) < 1e-5

"""An ONNX file teaches: its preprocessing is what it says, and what does not fit is one line."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx_files import GREY, quadrants, weights_of, write_onnx

from xlite.data.input_spec import InputSpec
from xlite.device import choose_device
from xlite.distill.teacher import check_file, load_teacher
from xlite.distill.teachers.onnx_file import load_onnx
from xlite.errors import InputError

CPU = choose_device("fp32", kind="cpu")


def load(file, dataset, kind="multilabel"):
    return load_onnx(file, dataset, kind=kind, device=CPU)


def ask(member, pixels):
    return member.answer(pixels, None, np.arange(len(pixels)), device=CPU)


def expected(images, *, low=0.0, high=1.0):
    """The outputs by hand, for images of the file's own size."""
    return np.stack([quadrants(low + image / 255 * (high - low)) for image in images.astype(float)]) @ weights_of(3)


@pytest.fixture
def views(tiny_dataset):
    return np.array(tiny_dataset.open_pixels()[:7])


def test_views_come_in_the_range_and_at_the_size_that_it_names(tiny_dataset, views, tmp_path):
    at_own_size = write_onnx(tmp_path / "own.onnx", size=32)
    np.testing.assert_allclose(ask(load(at_own_size, tiny_dataset), views), expected(views), rtol=1e-4, atol=1e-4)
    for scale, low, high in ((255, 0, 255), ([-1024, 1024], -1024, 1024)):
        file = write_onnx(tmp_path / f"{high}.onnx", size=32, about={**GREY, "scale": scale})
        asked = ask(load(file, tiny_dataset), views)
        np.testing.assert_allclose(asked, expected(views, low=low, high=high), rtol=1e-3, atol=1e-2)
    smaller = ask(load(write_onnx(tmp_path / "small.onnx", size=16), tiny_dataset), views)
    np.testing.assert_allclose(smaller, expected(views), atol=0.1)  # the means of quadrants, but for antialiasing
    normalised = write_onnx(tmp_path / "n.onnx", size=32, about={**GREY, "mean": 0.5, "std": [0.25]})
    np.testing.assert_allclose(ask(load(normalised, tiny_dataset), views), expected(views, low=-2, high=2), atol=1e-3)


def test_a_grey_view_is_shown_to_a_colour_model_and_the_other_way(tiny_dataset, views, tmp_path):
    colour = load(write_onnx(tmp_path / "rgb.onnx", size=32, channels=3), tiny_dataset)
    by_hand = np.stack([np.tile(quadrants(image / 255), 3) for image in views]) @ weights_of(3, channels=3)
    np.testing.assert_allclose(ask(colour, views), by_hand, atol=1e-3)
    of_colour = replace(tiny_dataset, input_spec=InputSpec("image", (32, 32, 3)))
    grey = load(write_onnx(tmp_path / "grey.onnx", size=32), of_colour)
    np.testing.assert_allclose(ask(grey, np.stack([views] * 3, axis=-1)), expected(views), atol=1e-3)


def test_a_graph_of_a_fixed_batch_is_run_in_that_batch_and_filled_up(tiny_dataset, views, tmp_path):
    free = load(write_onnx(tmp_path / "free.onnx", size=32), tiny_dataset)
    for size in (1, 4, 16):
        fixed = load(write_onnx(tmp_path / f"{size}.onnx", size=32, batch=size), tiny_dataset)
        np.testing.assert_allclose(ask(fixed, views), ask(free, views), rtol=1e-5)


def test_probabilities_become_logits(tiny_dataset, views, tmp_path):
    about = {**GREY, "output": "probabilities"}
    labels = load(write_onnx(tmp_path / "p.onnx", size=32, ends_with=["Sigmoid"], about=about), tiny_dataset)
    np.testing.assert_allclose(ask(labels, views), expected(views), atol=1e-2)
    classes = load(
        write_onnx(tmp_path / "s.onnx", size=32, ends_with=["Softmax"], about=about), tiny_dataset, "multiclass"
    )
    soft = torch.from_numpy(expected(views)).log_softmax(1).numpy()
    np.testing.assert_allclose(ask(classes, views), soft, atol=1e-2)


def test_metadata_says_the_same_as_a_json_beside_it_which_has_precedence(tiny_dataset, views, tmp_path):
    stored = {"labels": "a, b, c", "output": "logits", "scale": "[-1, 1]", "made_by": "somebody"}
    file = write_onnx(tmp_path / "m.onnx", size=32, about=None, metadata=stored)
    np.testing.assert_allclose(ask(load(file, tiny_dataset), views), expected(views, low=-1, high=1), atol=1e-3)
    first = load(file, tiny_dataset).key
    file.with_suffix(".json").write_text('{"scale": 1}')
    again = load(file, tiny_dataset)
    np.testing.assert_allclose(ask(again, views), expected(views), atol=1e-3)
    assert first != again.key  # another preprocessing is another teacher


def test_labels_are_matched_by_name_and_one_that_it_does_not_know_gets_no_soft_part(tiny_dataset, views, tmp_path):
    about = {**GREY, "labels": ["C", "", "a"]}
    file = write_onnx(tmp_path / "m.onnx", size=32, about=about)
    member = load(file, tiny_dataset)
    asked, raw = ask(member, views), expected(views)
    np.testing.assert_allclose(asked[:, [0, 2]], raw[:, [2, 0]], atol=1e-3)
    assert np.isnan(asked[:, 1]).all()
    assert member.notes == ("m.onnx does not know b: no soft part from it",)
    with pytest.raises(InputError, match=r"knows 3 labels \(C, , a\), the data has 3 labels .*; it lacks b"):
        load(file, tiny_dataset, "multiclass")


def test_a_model_exported_by_torch_answers_as_it_does_there(tiny_dataset, views, tmp_path):
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(1, 4, 3, stride=2),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
    ]
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
    file = tmp_path / "t[1].onnx"
    torch.onnx.export(
        model, (torch.zeros(2, 1, 32, 32),), file, dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )  # fmt: skip
    file.with_suffix(".json").write_text(json.dumps(GREY))
    member = load(file, tiny_dataset)
    with torch.inference_mode():
        there = model(torch.from_numpy(views / 255).float()[:, None]).numpy()
    np.testing.assert_allclose(ask(member, views), there, atol=1e-4)
    data = tmp_path / "t[1].onnx.data"
    key = member.key
    data.write_bytes((data.read_bytes() if data.exists() else b"") + b"\0")  # weights beside the file count
    assert load(file, tiny_dataset).key != key


WRONG = {
    "operator": ({"ends_with": ["Frobnicate"], "domain": "own"}, r"onnxruntime cannot run it .*Frobnicate"),
    "rank": ({"rank_4": False}, r"its inputs are x tensor\(float\) of rank 2; a teacher takes one batch of images"),
    "outputs": ({"num_outputs": 5}, r"outputs of shape \(2, 5\), its 3 labels make it \(2, 3\); correct `labels`"),
    "no labels": ({"about": {"output": "logits", "scale": 1}}, r"`labels`: Field required"),
    "nothing said": ({"about": None}, r"its metadata \(or a JSON beside it, m.json\): `labels`: .*`output`: .*`scale`"),
    "key": ({"about": {**GREY, "sacle": 255}}, r"m.json: `sacle`: Extra inputs are not permitted"),
    "scale": ({"about": {**GREY, "scale": 7}}, r"`scale`: Input should be 1 or 255; "),
    "label": ({"about": {**GREY, "labels": [1, 2, 3]}}, r"`labels`: Input should be a valid string"),
    "labels twice": ({"about": {**GREY, "labels": ["a", "a", "c"]}}, r"two of its labels are called a"),
    "no common label": ({"about": {**GREY, "labels": ["x", "y", "z"]}}, r"knows 3 labels \(x, y, z\), the data has"),
    "open size": ({"size": "S"}, r"name one side that fits as `image_size`"),
    "open channels": ({"channels": "C"}, r"name the channels that its input has"),
    "other size": ({"about": {**GREY, "image_size": 24}}, r"its input is 16 x 16; name one side"),
    "std": ({"about": {**GREY, "std": [1, 1, 1]}}, r"`std` has 3 values, its input 1 channel"),
    "two outputs": ({"outputs": ["y0", "flat"]}, r"it has the outputs y0, flat; name one as `output_name`"),
    "another output": ({"about": {**GREY, "output_name": "z"}}, r"it has no output z; it has y0"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_one_line(what, tiny_dataset, tmp_path):
    changes, line = dict(WRONG[what][0]), WRONG[what][1]
    size, channels = changes.get("size", 16), changes.get("channels", 1)
    file = write_onnx(tmp_path / "m.onnx", **{**changes, "size": 16, "channels": 1})
    if size == "S" or channels == "C":
        import onnx

        model = onnx.load(file)
        axes = model.graph.input[0].type.tensor_type.shape.dim
        for axis in axes[2:] if size == "S" else axes[1:2]:
            axis.dim_param = "open"
        onnx.save(model, file)
    with pytest.raises(InputError, match=line) as caught:
        load(file, tiny_dataset)
    assert "\n" not in str(caught.value) and str(file.with_suffix("")) in str(caught.value)


def test_a_named_output_of_several_is_used(tiny_dataset, views, tmp_path):
    file = write_onnx(tmp_path / "m.onnx", size=32, outputs=["flat", "y0"], about={**GREY, "output_name": "y0"})
    np.testing.assert_allclose(ask(load(file, tiny_dataset), views), expected(views), atol=1e-3)


def test_files_that_are_none_data_that_is_no_image_and_outputs_that_are_no_answer(tiny_dataset, views, tmp_path):
    with pytest.raises(InputError, match=r"no.onnx: no such file"):
        check_file(tmp_path / "no.onnx", None, CPU)
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07not a graph")
    with pytest.raises(InputError, match=r"bad.onnx: onnxruntime cannot run it \("):
        check_file(tmp_path / "bad.onnx", None, CPU)
    stack = replace(tiny_dataset, input_spec=InputSpec("slices", (3, 32, 32, 1)))
    with pytest.raises(InputError, match="an ONNX teacher takes images, the data is of slices"):
        load(write_onnx(tmp_path / "m.onnx"), stack)
    infinite = load(write_onnx(tmp_path / "inf.onnx", ends_with=["Log"], about={**GREY, "mean": 1}), tiny_dataset)
    with pytest.raises(InputError, match=r"inf.onnx: its outputs are not finite; are `scale`, `mean` and `std` right"):
        ask(infinite, views)
    called = load(write_onnx(tmp_path / "p.onnx", about={**GREY, "output": "probabilities"}), tiny_dataset)
    with pytest.raises(InputError, match="so not probabilities; write logits as `output`"):
        ask(called, views)


def test_without_onnxruntime_the_line_says_how_to_install_it(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs onnxruntime, which is not installed: pip install onnxruntime"):
        load_teacher([write_onnx(tmp_path / "m.onnx")], tiny_dataset, kind="multilabel", device=CPU)

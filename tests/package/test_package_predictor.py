"""A package answers what its graph computes, for every layout and kind; what does not fit is one line."""

import json
import sys
from dataclasses import asdict, replace

import cv2
import numpy as np
import onnx
import pytest
from small_package import about_of, expected, write_graph, write_package

import xlite
from xlite.data.decode import ImagePreprocess, decode
from xlite.data.preprocess import Preprocess
from xlite.data.scan_lines import ScanLinePreprocess
from xlite.data.slices import SlicePreprocess
from xlite.errors import InputError
from xlite.package.manifest import write_manifest
from xlite.package.predict import PackagePredictor, open_package
from xlite.tasks.target_spec import MULTILABEL

RNG = np.random.default_rng(0)
KINDS = {
    "grey": about_of(),
    "colour": about_of(ImagePreprocess(24, channels=3)),
    "classes": about_of(ImagePreprocess(24, clahe_clip=0), labels="abc", kind="multiclass"),
    "slices": about_of(SlicePreprocess(8, num_slices=3), labels="abc", kind="ordinal", highest=(4,)),
    "lines": about_of(ScanLinePreprocess(points=16, window_lines=12), labels="abc", kind="multiclass"),
}


@pytest.mark.parametrize("about", KINDS.values(), ids=KINDS)
def test_answers_are_those_of_the_graph(about, tmp_path) -> None:
    write_package(tmp_path, about)
    predictor = open_package(tmp_path, threads=1)
    spec = about.input_spec
    arrays = [(RNG.random(spec.shape) * 200).astype(spec.dtype) for _ in range(2 * predictor.batch_size + 1)][:40]
    auxiliary = [(number % 5,) if spec.auxiliary else () for number in range(len(arrays))]
    if spec.layout == "lines":
        auxiliary = [(spec.shape[0],)] * len(arrays)
    inputs = [predictor.inputs(*pair)[0] for pair in zip(arrays, auxiliary, strict=True)]
    wanted = expected(about, np.stack([one.pixels for one in inputs]))
    np.testing.assert_allclose(predictor.answers(inputs), wanted, atol=1e-6)
    answer = predictor.predict(arrays[1], auxiliary[1])
    first = answer[0] if isinstance(answer, list) else answer
    assert list(first) == list(about.labels)
    np.testing.assert_allclose(list(first.values()), wanted[1][0] if spec.layout == "lines" else wanted[1], atol=1e-6)


def test_a_file_is_preprocessed_as_in_training(tmp_path) -> None:
    write_package(tmp_path / "p")
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), RNG.integers(0, 255, (90, 70), dtype=np.uint8))
    wanted = expected(about_of(), decode(picture, ImagePreprocess(16))[None])[0]
    for path in (tmp_path / "p", tmp_path / "p" / "model.onnx"):
        predictor = xlite.load(path)
        assert isinstance(predictor, PackagePredictor)
        np.testing.assert_allclose(list(predictor.predict(str(picture)).values()), wanted, atol=1e-6)
    assert predictor.thresholds == {"Effusion": 0.5, "Mass": 0.5} and predictor.predict_batch([]) == []


def test_a_graph_alone_runs_on_no_other_device_and_takes_no_target_spec(tmp_path) -> None:
    write_package(tmp_path)
    assert isinstance(xlite.load(tmp_path / "model.onnx", device="cpu"), PackagePredictor)
    for given in ({"device": "cuda"}, {"device": "gpu"}, {"target_spec": MULTILABEL}):
        with pytest.raises(InputError, match=r"model.onnx: runs on the CPU.* leave out device= and target_spec="):
            xlite.load(tmp_path / "model.onnx", **given)
        with pytest.raises(InputError, match=r"one model is needed, there is none"):  # PyTorch's, which is asked
            xlite.load(tmp_path, **given)


def test_a_scan_is_answered_line_by_line(tmp_path) -> None:
    about = KINDS["lines"]
    write_package(tmp_path / "p", about)
    np.save(tmp_path / "scan.npy", RNG.normal(size=(30, 40)))  # 12 + 12 + 6 lines: the last window overlaps
    predictor = open_package(tmp_path / "p")
    lines = predictor.predict(tmp_path / "scan.npy")
    assert isinstance(lines, list) and len(lines) == 30
    windows = predictor.inputs(tmp_path / "scan.npy")
    wanted = np.concatenate([expected(about, one.pixels[None])[0][one.parts] for one in windows])
    np.testing.assert_allclose([list(line.values()) for line in lines], wanted, atol=1e-3)


def damaged(folder, about):
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[: len(data) // 2])


def other_metadata(folder, about):
    write_graph(replace(about, labels=("Mass", "Effusion"), thresholds={}), folder / "model.onnx")


def more_labels(folder, about):
    model = onnx.load(folder / "model.onnx")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, replace(about, labels=("a", "b", "c")).to_metadata())
    onnx.save(model, folder / "model.onnx")


def other_size(folder, about):
    wrong = json.loads(json.dumps(asdict(replace(about.input_spec, shape=(32, 32)))))
    model = onnx.load(folder / "model.onnx")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, replace(about, input=wrong).to_metadata())
    onnx.save(model, folder / "model.onnx")


def edited(folder, about):
    model = onnx.load(folder / "model.onnx")
    next(one for one in model.metadata_props if one.key == "xlite_thresholds").value = '{"Effusion": 0.1, "Mass": 0.5}'
    onnx.save(model, folder / "model.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged, r"model.onnx: ONNX Runtime [\d.]+ cannot load it \(.*\); copy the file again"),
        (lambda f, about: (f / "model.onnx").write_text("a,b\n"), r"ONNX Runtime [\d.]+ cannot load it"),
        (lambda f, about: write_graph(about, f / "model.onnx", extra="Sparkle"), r"cannot load it \(.*Sparkle"),
        (lambda f, about: write_graph(about, f / "model.onnx", metadata=False), r"not a packaged model of X-Lite"),
        (lambda f, about: (f / "model.onnx").unlink(), r"model.onnx: no such file"),
        (more_labels, r"2 outputs for 3 labels \(a, b, c\)"),
        (other_size, r"its inputs are .*\(16, 16\).*but its description says .*\(32, 32\)"),
        (edited, r"metadata were changed after the export"),
    ],
)
def test_a_graph_that_is_not_the_one_described_is_refused_in_a_line(change, message, tmp_path, capfd) -> None:
    about = write_package(tmp_path)
    change(tmp_path, about)
    with pytest.raises(InputError, match=message) as refused:
        open_package(tmp_path / "model.onnx")
    assert "\n" not in str(refused.value) and capfd.readouterr() == ("", "")


def test_a_folder_whose_description_is_of_another_model_is_refused(tmp_path) -> None:
    about = write_package(tmp_path)
    other_metadata(tmp_path, about)
    write_manifest(tmp_path, about)
    with pytest.raises(InputError, match=r"another model than package.json describes"):
        open_package(tmp_path)


def test_sources_that_do_not_fit_are_refused(tmp_path) -> None:
    write_package(tmp_path, KINDS["slices"])
    predictor = open_package(tmp_path)
    stack = np.zeros(KINDS["slices"].input_spec.shape, np.uint8)
    for source, auxiliary, message in (
        (stack, (), r"this model takes \(level\) of at most \(4,\)"),
        (stack, (5,), r"auxiliary=\(5,\)"),
        (tmp_path / "a.dcm", (1,), r"one slice is not an example"),
        (stack[1:], (1,), r"an array of shape"),
    ):
        with pytest.raises(InputError, match=message):
            predictor.predict(source, auxiliary)


OWN = """
from dataclasses import dataclass
from xlite.data.decode import ImagePreprocess

@dataclass(frozen=True)
class Inverted(ImagePreprocess):
    version: int = 4

    def read(self, item):
        return 255 - super().read(item)
"""


def test_a_preprocessing_of_ones_own_is_used_where_its_module_is_and_asked_for_where_not(tmp_path, monkeypatch) -> None:
    (tmp_path / "inverting.py").write_text(OWN)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        from inverting import Inverted  # type: ignore[import-not-found]

        own: Preprocess = Inverted(16)
        write_package(tmp_path / "p", about_of(own))
        cv2.imwrite(str(tmp_path / "a.png"), RNG.integers(0, 255, (20, 20), dtype=np.uint8))
        wanted = expected(about_of(own), 255 - decode(tmp_path / "a.png", ImagePreprocess(16))[None])[0]
        told = open_package(tmp_path / "p").predict(tmp_path / "a.png")
        np.testing.assert_allclose(list(told.values()), wanted, atol=1e-6)
    del sys.modules["inverting"]
    with pytest.raises(InputError, match=r"inverting:Inverted cannot be imported .* put the module inverting"):
        open_package(tmp_path / "p")

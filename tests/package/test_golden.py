"""The self-test says how far a package's answers are from the expected ones, and fails beyond a stated difference."""

import json

import cv2
import numpy as np
import pytest
from small_package import about_of, write_package

from xlite.data.scan_lines import ScanLinePreprocess
from xlite.errors import InputError
from xlite.package.golden import EXPECTED, TOLERANCES, self_test
from xlite.package.predict import open_package


def write_golden(folder, predictor, files, *, off=0.0, details=None):
    inputs = [
        {"files": [name], "detail": detail, "auxiliary": []}
        for name, detail in zip(files, details or [""] * len(files), strict=True)
    ]
    rows = predictor.rows([predictor.inputs(folder / "golden" / name) for name in files])
    values = {"inputs": inputs, "probabilities": [(one + off).tolist() for one in rows]}
    (folder / EXPECTED).write_text(json.dumps(values))


@pytest.fixture
def package(tmp_path):
    write_package(tmp_path)
    (tmp_path / "golden").mkdir()
    rng = np.random.default_rng(0)
    for name in ("0.png", "1.png"):
        cv2.imwrite(str(tmp_path / "golden" / name), rng.integers(0, 255, (30, 30), dtype=np.uint8))
    return tmp_path


def test_equal_answers_pass_and_others_fail_with_their_difference(package) -> None:
    predictor = open_package(package)
    write_golden(package, predictor, ["0.png", "1.png"])
    result = self_test(predictor, package)
    assert result.passed and result.num_inputs == 2 and result.difference < 1e-6
    for off, passed in ((0.5 * TOLERANCES["fp32"], True), (1.5 * TOLERANCES["fp32"], False), (np.nan, False)):
        write_golden(package, predictor, ["0.png", "1.png"], off=off)
        assert self_test(predictor, package).passed is passed
    assert not np.isfinite(self_test(predictor, package).difference)


def test_a_scan_is_compared_line_by_line(tmp_path) -> None:
    preprocess = ScanLinePreprocess(points=8, window_lines=8)
    write_package(tmp_path, about_of(preprocess, labels="ab", kind="multiclass"))
    (tmp_path / "golden").mkdir()
    np.save(tmp_path / "golden" / "s.npy", np.random.default_rng(0).normal(size=(20, 9)))
    predictor = open_package(tmp_path)
    write_golden(tmp_path, predictor, ["s.npy"])
    assert self_test(predictor, tmp_path).passed
    values = json.loads((tmp_path / EXPECTED).read_text())
    assert len(values["probabilities"][0]) == 20
    values["probabilities"][0].pop()
    (tmp_path / EXPECTED).write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"answers of shape \(19, 2\), the model gives \(20, 2\)"):
        self_test(predictor, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "this package has no self-test"),
        ("{}", "damaged"),
        ('{"inputs": [], "probabilities": []}', "damaged"),
        ('{"inputs": [{"files": ["0.png"]}], "probabilities": [[0.5, 0.5]]}', "damaged"),
        (
            '{"inputs": [{"files": ["9.png"], "detail": "", "auxiliary": []}], "probabilities": [[1, 1]]}',
            "9.png: cannot",
        ),
    ],
)
def test_a_damaged_record_is_one_line(text, message, package) -> None:
    if text is not None:
        (package / EXPECTED).write_text(text)
    with pytest.raises(InputError, match=message):
        self_test(open_package(package), package)

"""`xlite predict` on folders of every kind of file: what is written, listed, refused; the same from a bare package."""

import ast
import csv
import io
import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import REPO
from small_package import about_of, expected, write_package

from xlite.commands import cli, predict
from xlite.data.decode import ImagePreprocess, decode
from xlite.data.phantom.lumbar import write_lumbar_phantom
from xlite.data.scan_lines import ScanLinePreprocess
from xlite.data.slices import SlicePreprocess
from xlite.package.manifest import write_manifest
from xlite.package.runtime import runtime_files, write_runtime
from xlite.package.stream import Prediction, predictions
from xlite.package.unlike import TrainingInputs
from xlite.package.write import as_text, rows_of_prediction

FORMULA = "=cmd|' /C calc'!A0"
ODD = ("=1+2.png", "a,b\nc.png", "<script>.png", "naïve 中文.png")
RNG = np.random.default_rng(0)


def picture(path, px=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, RNG.integers(0, 255, (px, px), dtype=np.uint8))[1].tobytes())


@pytest.fixture
def home(tmp_path):
    """A package and a folder of pictures, broken ones and other files among them."""
    write_package(tmp_path / "p", about_of(labels=(FORMULA, "Mass")))
    folder = tmp_path / "images"
    for name in ("b.jpg", "a.png", "sub/c.tif", "sub/d.bmp", *ODD):
        picture(folder / name)
    (folder / "e.png").write_bytes((folder / "a.png").read_bytes()[:-20])
    (folder / "table.png").write_text("a,b\n1,2\n")
    (folder / "f.dcm").write_bytes(b"\0" * 128 + b"DICM\2\0\0\0")
    for other in ("README.md", "labels.csv", ".hidden.png", ".cache/x.png"):
        picture(folder / ".cache" / "y.png")
        (folder / other).write_text("text")
    return tmp_path


def table(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines(keepends=True)))


def run(home, *words, code=0):
    """The exit code is `code`; in the package's folder's parent."""
    with pytest.raises(SystemExit) as left:
        cli.run(predict.run, predict.parser(), ["--model", str(home / "p"), *(str(word) for word in words)])
    assert left.value.code == code


def test_a_folder_s_images_are_rows_and_what_cannot_be_read_is_listed(home, capsys) -> None:
    run(home, home / "images", "--threads", 2, code=3)
    said = capsys.readouterr()
    header, *rows = csv.reader(said.out.splitlines(keepends=True))
    names = ["probability", "yes"]
    assert header == ["id", *(f"{name}_{end}" for end in names for name in ("'" + FORMULA, "Mass")), "flags"]
    assert {row[0] for row in rows} == {
        *("a.png", "b.jpg", "sub/c.tif", "sub/d.bmp", "'=1+2.png", "a,b\\nc.png", "<script>.png"),
        "naïve 中文.png",
    }
    assert [row[0] for row in rows if "/" in row[0]] == ["sub/c.tif", "sub/d.bmp"]
    about = about_of(labels=(FORMULA, "Mass"))
    row = next(row for row in rows if row[0] == "a.png")
    wanted = expected(about, decode(home / "images" / "a.png", ImagePreprocess(16))[None])[0]
    np.testing.assert_allclose([float(cell) for cell in row[1:3]], wanted, rtol=1e-5)
    assert row[3:] == [*("yes" if value >= 0.5 else "no" for value in wanted), ""]
    lines = said.err.splitlines()
    assert "passed over: e.png: truncated PNG (no IEND chunk)" in lines
    assert "passed over: table.png: not an image: its first bytes are of no format that is read" in lines
    assert any(line.startswith("passed over: f.dcm: no pixel data") for line in lines)
    assert sum(line.startswith("passed over: ") for line in lines) == 3
    assert "8 images predicted" in lines[3] and "3 could not be read" in lines[4]
    assert ".csv 1" in lines[5] and ".md 1" in lines[5] and len(lines) == 6


def test_every_format_says_the_same(home, capsys) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    told = []
    for suffix in ("csv", "json", "parquet"):
        out = home / f"out.{suffix}"
        run(home, home / "images", "--out", out, code=3)
        assert capsys.readouterr().out == ""
        if suffix == "csv":
            rows = table(out)
            rows = [{name.removeprefix("'"): cell for name, cell in row.items()} for row in rows]
        else:
            rows = json.loads(out.read_text("utf-8")) if suffix == "json" else pq.read_table(out).to_pylist()
        told.append(
            [
                (row["id"].removeprefix("'"), f"{float(row['Mass_probability']):.6g}", row[f"{FORMULA}_yes"])
                for row in rows
            ]
        )
    assert told[1] == told[2] and len(told[0]) == 8
    assert [(*row[:2], "yes" if row[2] else "no") for row in told[1]] == told[0]


def test_classes_name_the_most_probable_one(home) -> None:
    about = write_package(home / "p", about_of(labels=("a", "b", "c"), kind="multiclass"))
    run(home, home / "images" / "a.png", "--out", home / "o.json")
    (row,) = json.loads((home / "o.json").read_text())
    values = expected(about, decode(home / "images" / "a.png", ImagePreprocess(16))[None])[0]
    assert list(row) == ["id", "a_probability", "b_probability", "c_probability", "class", "flags"]
    assert row["class"] == "abc"[values.argmax()] and row["id"] == "a.png"


def test_scans_give_a_row_a_line(home) -> None:
    write_package(home / "p", about_of(ScanLinePreprocess(8, 8), labels="ab", kind="multiclass"))
    for number in range(3):
        np.save(home / f"images/{number}.npy", RNG.normal(size=(20, 9)))
    (home / "images" / "3.npz").write_text("damaged")
    run(home, home / "images", "--out", home / "o.csv", code=3)
    rows = table(home / "o.csv")
    assert [(row["id"], int(row["line"])) for row in rows] == [(f"{n}.npy", k) for n in range(3) for k in range(20)]


def test_a_file_that_is_no_scan_by_its_name_is_passed_over(home, capsys) -> None:
    write_package(home / "p", about_of(ScanLinePreprocess(8, 8), labels="ab", kind="multiclass"))
    np.save(home / "a.npy", RNG.normal(size=(20, 9)))
    (home / "a.npy").rename(home / "A.NPY")
    (home / "B.SXM").write_text("x")
    run(home, home / "A.NPY", home / "images" / "README.md", home / "B.SXM", "--out", home / "o.csv", code=3)
    assert len(table(home / "o.csv")) == 20
    said = capsys.readouterr().err
    assert "README.md: not a scan; give .npz, .npy, .sxm" in said and "B.SXM: nanonispy2 reads no file" in said


def test_levels_of_studies_are_rows_with_the_ids_of_training(home, capsys) -> None:
    preprocess = SlicePreprocess(8, num_slices=3)
    known = TrainingInputs(((0, 255),) * 3, ((0, 255),) * 3, sides=(320, 640)).to_json()
    write_package(home / "p", about_of(preprocess, labels="abc", kind="ordinal", highest=(4,), training_inputs=known))
    write_lumbar_phantom(home / "d", num_studies=12, image_px=64)
    run(home, home / "d", "--out", home / "o.csv")
    rows = table(home / "o.csv")
    assert rows[0]["id"].endswith("_l1_l2") and rows[0]["class"] in "abc" and len(rows) > 30
    assert {row["flags"] for row in rows} == {"size"}
    capsys.readouterr()
    run(home, home / "images", code=2)
    said = capsys.readouterr()
    assert said.out == "" and "must be told where each is" in said.err


def test_what_is_unlike_the_training_images_is_flagged_and_counted(home, capsys) -> None:
    picture(home / "tiny" / "t.png", 1)
    picture(home / "tiny" / "u.png")
    pixels = np.stack([decode(home / "tiny" / "u.png", ImagePreprocess(16))] * 3)
    known = TrainingInputs.measured(pixels, [40]).to_json()
    write_package(home / "p", about_of(training_inputs=known))
    run(home, home / "tiny")
    said = capsys.readouterr()
    assert [row["flags"] for row in csv.DictReader(said.out.splitlines())] == ["size; near-constant", ""]
    assert "1 are unlike the training images (size 1, near-constant 1)" in said.err


def test_standard_output_is_utf_8_whatever_the_locale_s_encoding_is(home, monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    run(home, home / "images" / ODD[-1])
    assert raw.getvalue().decode("utf-8").splitlines()[1].startswith(f"{ODD[-1]},")


def test_several_places_keep_their_names(home) -> None:
    places = [home / "images" / "sub", home / "images" / "a.png"]
    run(home, *places, "--out", home / "o.csv")
    ids = [row["id"] for row in table(home / "o.csv")]
    assert ids == [f"{places[0]}/c.tif", f"{places[0]}/d.bmp", str(places[1])]


def test_nothing_is_left_of_a_file_that_did_not_become_whole(home, capsys, monkeypatch) -> None:
    (home / "empty").mkdir()
    (home / "empty" / "notes.txt").write_text("x")
    run(home, home / "empty", "--out", home / "o.csv", code=2)
    assert "no images there; other files in these folders, not read: .txt 1" in capsys.readouterr().err

    def interrupted(*args, **named):
        yield from (outcome for outcome, _ in zip(predictions(*args, **named), range(3), strict=False))
        raise KeyboardInterrupt

    monkeypatch.setattr("xlite.package.stream.predictions", interrupted)
    run(home, home / "images", "--out", home / "o.csv", code=130)
    assert not [path.name for path in home.iterdir() if "o.csv" in path.name]


@pytest.mark.parametrize("model", ["p", "p/model.onnx"])
@pytest.mark.parametrize(
    "out",
    ["images/a.png", "p/model.onnx", "p/package.json", "p/metrics.json", "SCAN.NPY", "train_label_coordinates.csv"],
)
def test_inputs_and_the_package_are_not_written_over(home, out, model, capsys) -> None:
    for name in ("SCAN.NPY", "train_label_coordinates.csv", "p/metrics.json"):
        (home / name).write_text("x")
    write_manifest(home / "p", about_of(labels=(FORMULA, "Mass")))
    before = (home / out).read_bytes()
    run(home, home / "images", "--format", "csv", "--out", home / out, "--model", home / model, code=2)
    assert "it is an input or a part of the package" in capsys.readouterr().err
    assert (home / out).read_bytes() == before


def test_the_self_test_exits_with_1_where_answers_differ(home, capsys) -> None:
    picture(home / "p" / "golden" / "0.png")
    values = expected(about_of(), decode(home / "p" / "golden" / "0.png", ImagePreprocess(16))[None])[0]
    for off, code, word in ((0, 0, "passed"), (0.01, 1, "FAILED")):
        golden = {
            "inputs": [{"files": ["0.png"], "detail": "", "auxiliary": []}],
            "probabilities": [(values + off).tolist()],
        }
        (home / "p" / "golden" / "expected.json").write_text(json.dumps(golden))
        write_manifest(home / "p", about_of(labels=(FORMULA, "Mass")))
        run(home, "--self-test", code=code)
        assert f"self-test {word}: 1 inputs" in capsys.readouterr().out


BARE = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "ray", "pandas", "pydantic", "scipy", "rich", "onnx", "sklearn"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_package_alone_gives_the_same_without_torch_pandas_or_this_repository(home, capsys, tmp_path) -> None:
    write_runtime(home / "p")
    write_manifest(home / "p", about_of(labels=(FORMULA, "Mass")))
    run(home, home / "images", code=3)
    wanted = capsys.readouterr()
    words = [sys.executable, "-I", "-c", BARE, str(home / "p" / "predict.py"), str(home / "images")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, wanted.out), done.stderr
    assert done.stderr.splitlines()[:3] == wanted.err.splitlines()[:3]
    assert not list((home / "p" / "runtime").rglob("predictor.py"))


def test_the_runtime_holds_this_library_s_own_files(home) -> None:
    (home / "p" / "runtime" / "xlite" / "old").mkdir(parents=True)
    write_runtime(home / "p")
    copied = {path.relative_to(home / "p" / "runtime"): path for path in (home / "p" / "runtime").rglob("*.py")}
    names = {name.as_posix() for name in copied}
    assert names >= {
        f"xlite/{name}.py"
        for name in (
            *("__init__", "errors", "commands/predict", "package/predict", "package/golden", "data/decode"),
            *("data/slices", "data/scan_lines", "data/levels", "storage/text"),
        )
    }
    assert not {name for name in names if name.split("/")[1] in ("export", "train", "models", "promotion", "tune")}
    assert all(path.read_bytes() == (REPO / name).read_bytes() for name, path in copied.items())
    assert not (home / "p" / "runtime" / "xlite" / "old").exists()


@pytest.mark.slow
def test_a_fresh_environment_with_the_package_s_requirements_alone_gives_the_same(home, capsys, tmp_path) -> None:
    write_runtime(home / "p")
    write_manifest(home / "p", about_of(labels=(FORMULA, "Mass")))
    run(home, home / "images", code=3)
    wanted = capsys.readouterr().out
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "-r", str(home / "p" / "requirements.txt")]
    subprocess.run(install, check=True, timeout=500)
    words = [python, str(home / "p" / "predict.py"), str(home / "images")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (3, wanted), done.stderr


def test_requirements_are_as_those_of_this_library(home) -> None:
    write_runtime(home / "p")
    lines = [line.strip("# ") for line in (home / "p" / "requirements.txt").read_text().splitlines()]
    needed = [line for line in lines if re.fullmatch(r"[a-z0-9-]+>=[\d.]+", line)]
    assert len(needed) == 10
    text = (REPO / "pyproject.toml").read_text()
    assert [line for line in needed if f'"{line}"' not in text] == []


def test_what_the_runtime_imports_is_required_or_optional() -> None:
    names = {
        name.split(".")[0]
        for path in runtime_files()
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    required, optional = {"numpy", "onnxruntime", "cv2", "PIL", "pydicom"}, {"pyarrow", "nanonispy2", "albumentations"}
    assert names - set(sys.stdlib_module_names) == {"xlite"} | required | optional


def test_a_probability_at_its_threshold_is_a_yes_and_without_a_threshold_nothing_is_said() -> None:
    about = about_of(labels=("a", "b", "c"), thresholds={"a": 0.5, "b": 0.5})
    prediction = Prediction("x", np.array([0.5, np.nextafter(np.float32(0.5), np.float32(0)), 0.9], np.float32), ())
    ((_, *_, first, second, third, flags),) = rows_of_prediction(about, prediction)
    assert (first, second, third, flags) == (True, False, None, "")
    assert as_text(about, prediction).splitlines() == ["x", "  c   0.900", "  a   0.500  yes", "  b   0.500  no"]

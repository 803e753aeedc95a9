"""The bad-input table, predictions: packages, what is to be predicted, and where the answers go."""
# ruff: noqa: E501  (a table: a row a line)

import json
from collections.abc import Callable
from pathlib import Path

from bad_inputs import Given, Row, content, removed
from small_package import about_of, write_graph, write_package

from xlite.data.slices import SlicePreprocess
from xlite.package.manifest import write_manifest

IMAGES = "{home}/nih/images_001"


def package(*changes: Given, seal: bool = False) -> Given:
    """The package p/, then changes to its folder; `seal`: its manifest is of the files as they are then."""

    def given(home: Path) -> None:
        about = write_package(home / "p")
        for change in changes:
            change(home / "p")
        if seal:
            write_manifest(home / "p", about)

    return given


def manifest(change: Callable[[dict], object]) -> Given:
    def given(folder: Path) -> None:
        values = json.loads((folder / "package.json").read_text())
        change(values)
        (folder / "package.json").write_text(json.dumps(values))

    return given


def graph(**extra) -> Given:
    return lambda folder: write_graph(about_of(), folder / "model.onnx", **extra)


def lumbar(home: Path) -> None:
    write_package(home / "p", about_of(SlicePreprocess(8, num_slices=3), labels="abc", kind="ordinal", highest=(4,)))


def other_labels(folder: Path) -> None:
    write_manifest(folder, about_of(labels=("Mass", "Effusion")))


# fmt: off
PREDICT = [
    # what is asked
    Row("predict-nothing", "predict", "", r"give files or folders to predict, or --self-test alone", package(), shell=True),
    Row("predict-both", "predict", f"{IMAGES} --self-test", r"or --self-test alone", package()),
    Row("predict-nowhere", "predict", "{home}/nowhere", r"nowhere: no such file or folder", package(), shell=True),
    Row("predict-empty", "predict", "{home}/results", r"results: no images there; other files in these folders, not read: \.db 1", package()),
    Row("predict-threads", "predict", f"{IMAGES} --threads 0", r"--threads: got '0'", package()),
    Row("predict-no-points", "predict", IMAGES, r"must be told where each is.*train_label_coordinates\.csv with the columns study_id", lumbar),
    # the package
    Row("predict-no-package", "predict", IMAGES, r"/p: no such file; give a package's folder", shell=True),
    Row("predict-study", "predict", f"{IMAGES} --model {{home}}/results/kd", r"kd: no package\.json, so not a package; give a study's promoted/"),
    Row("predict-missing-file", "predict", IMAGES, r"model\.onnx: missing from the package", package(removed("model.onnx"))),
    Row("predict-changed-file", "predict", IMAGES, r"model\.onnx: changed since it was packaged", package(content("model.onnx", "x"))),
    Row("predict-newer", "predict", IMAGES, r"package format 9, but this version reads format 1", package(manifest(lambda v: v.update(format=9)))),
    Row("predict-manifest", "predict", IMAGES, r"package\.json: not valid JSON", package(content("package.json", "{"))),
    Row("predict-manifest-half", "predict", IMAGES, r"package\.json: damaged", package(manifest(lambda v: v.pop("files")))),
    Row("predict-field", "predict", IMAGES, r"metadata were changed after the export", package(manifest(lambda v: v["about"].update(xlite_thresholds="{}")))),
    Row("predict-labels", "predict", IMAGES, r"another model than package\.json describes", package(other_labels)),
    Row("predict-onnx-damaged", "predict", IMAGES, r"model\.onnx: ONNX Runtime .* cannot load it", package(content("model.onnx", "a,b\n1,2\n"), seal=True), shell=True),
    Row("predict-onnx-operator", "predict", IMAGES, r"ONNX Runtime .* cannot load it \(.*Sparkle", package(graph(extra="Sparkle"), seal=True), shell=True),
    Row("predict-onnx-foreign", "predict", f"{IMAGES} --model {{home}}/p/model.onnx", r"model\.onnx: not a packaged model of X-Lite", package(graph(metadata=False))),
    Row("predict-no-golden", "predict", "--self-test", r"golden/expected\.json: no such file: this package has no self-test", package()),
    Row("predict-golden-damaged", "predict", "--self-test", r"golden/expected\.json: damaged", package(content("golden/expected.json", "{}"), seal=True)),
    # where answers go
    Row("predict-out-suffix", "predict", f"{IMAGES} --out {{home}}/out.xlsx", r"out\.xlsx: end it in \.csv, \.json, \.parquet", package()),
    Row("predict-out-folder", "predict", f"{IMAGES} --out {{home}}/no/out.csv", r"/no: no such folder", package()),
    Row("predict-out-image", "predict", f"{IMAGES} --format csv --out {{home}}/nih/images_001/images/00000000_000.png", r"it is an input or a part of the package", package()),
    Row("predict-parquet-stdout", "predict", f"{IMAGES} --format parquet", r"--format parquet: it is no text; name a file with --out", package()),
    Row("predict-name-escape", "predict", "'{home}/\x1b[2Jx.png'", r"/\\x1b\[2Jx\.png: no such file", package()),
]
# fmt: on

"""A package whose files are not those that were packaged is refused in one line that names the file."""

import json

import pytest
from small_package import about_of

from xlite.errors import InputError
from xlite.package.manifest import is_package, open_manifest, packaged_files, write_manifest

KEPT = ["golden/1.png", "metrics.json", "model.onnx", "runtime/xlite/errors.py"]
LEFT_OUT = [
    *(".model.safetensors.spare", "events.out.tfevents.1", "lock", "model.checkpoint-a.safetensors"),
    *("model_1/events.out.tfevents.2", "runtime/__pycache__/a.pyc", "s.zip"),
]


@pytest.fixture
def folder(tmp_path):
    for name in (*KEPT, *LEFT_OUT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path, about_of())
    return tmp_path


def edited(change):
    def apply(folder):
        values = json.loads((folder / "package.json").read_text())
        change(values)
        (folder / "package.json").write_text(json.dumps(values))

    return apply


def test_a_package_is_its_files_without_what_training_left_there(folder) -> None:
    assert is_package(folder) and packaged_files(folder) == KEPT
    for name in LEFT_OUT:
        (folder / name).unlink()
    (folder / "predictions.csv").write_text("a file of the user's")
    assert open_manifest(folder) == about_of()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "golden/1.png").unlink(), r"golden/1.png: missing from the package"),
        (lambda f: (f / "model.onnx").write_text("x"), r"model.onnx: changed since it was packaged"),
        (lambda f: (f / "package.json").unlink(), r"no package.json, so not a package"),
        (lambda f: (f / "package.json").write_text("{"), r"package.json: not valid JSON"),
        (lambda f: (f / "package.json").write_text("[]"), r"package.json: a JSON list"),
        (edited(lambda v: v.update(format=2)), r"package format 2, but this version reads format 1"),
        (edited(lambda v: v.update(files=None)), r"package.json: damaged"),
        (edited(lambda v: v.update(files={"a": 1})), r"package.json: damaged"),
        (edited(lambda v: v["about"].update(xlite_labels='["Mass"]')), r"metadata were changed after the export"),
        (edited(lambda v: v.update(about={})), r"not a packaged model of X-Lite"),
    ],
)
def test_what_was_changed_is_named(folder, change, message) -> None:
    change(folder)
    with pytest.raises(InputError, match=message) as refused:
        open_manifest(folder)
    assert "\n" not in str(refused.value)

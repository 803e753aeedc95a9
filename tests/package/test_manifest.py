"""A package whose files are not those that were packaged is refused in one line that names the file."""

import json

import pytest
from small_package import about_of

from xlite.errors import InputError
from xlite.package.card import sealed
from xlite.package.manifest import (
    foreign_files,
    is_package,
    open_manifest,
    packaged_files,
    remove_package,
    write_manifest,
)

KEPT = [
    *("MODEL_CARD.md", "golden/1.png", "metrics.json", "model.json", "model.onnx", "model.safetensors"),
    *("model_2.json", "model_2.safetensors", "runtime/xlite/errors.py", "seen_pictures.npy", "smaller.json"),
]
LEFT_OUT = [
    *(".model.safetensors.spare", "events.out.tfevents.1", "lock", "model.checkpoint-a.safetensors"),
    *("model_1/events.out.tfevents.2", "runtime/__pycache__/a.pyc", "s.zip", "golden/.DS_Store", "my.onnx"),
    *("predictions.csv", "evaluation/x/predictions.csv", "data/cache/pixels.npy", "data/cache/splits/split.csv"),
    *("MODEL_CARD-before.md", "model_1.checkpoint-a.safetensors", "00012/model.onnx"),
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
    assert open_manifest(folder) == about_of() and foreign_files(folder) == ["predictions.csv"]


@pytest.mark.parametrize("edited", [False, True])
def test_a_package_is_removed_but_not_what_is_the_promotion_s_or_a_person_s(edited, folder) -> None:
    (folder / "MODEL_CARD.md").write_text(sealed("body\n", "abc") + "my words\n" * edited)
    remove_package(folder)
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    gone = {"model.onnx", "seen_pictures.npy"} | {name for name in KEPT if name.startswith(("golden", "runtime"))}
    gone |= {"golden/.DS_Store", "runtime/__pycache__/a.pyc"} | (set() if edited else {"MODEL_CARD.md"})
    assert left == {*KEPT, *LEFT_OUT} - gone


def test_a_promotion_without_a_package_names_the_command_and_a_front_its_members(tmp_path) -> None:
    own = tmp_path / "kd" / "promoted"
    for place in (own, own / "00012", own / "00031"):
        place.mkdir(parents=True)
    (tmp_path / "kd" / "study.json").write_text("{}")
    for name in ("00012", "00031"):
        (own / name / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match=r"00012: its model is not packaged; xlite package --study kd$"):
        open_manifest(own / "00012")
    for name in ("00012", "00031"):
        write_manifest(own / name, about_of())
    with pytest.raises(InputError, match=r"packages of several models; give one of its folders 00012, 00031$"):
        open_manifest(own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "golden/1.png").unlink(), r"golden/1.png: missing from the package"),
        (lambda f: (f / "model.onnx").write_text("x"), r"model.onnx: changed since it was packaged"),
        (lambda f: (f / "package.json").unlink(), r"its model is not packaged; xlite package --study NAME"),
        (lambda f: (f / "package.json").write_text("{"), r"package.json: not valid JSON"),
        (lambda f: (f / "package.json").write_text("[]"), r"package.json: a JSON list"),
        (edited(lambda v: v.update(format=2)), r"package format 2, but this version reads format 1"),
        (edited(lambda v: v.update(files=None)), r"package.json: damaged"),
        (edited(lambda v: v.update(files={"a": 1})), r"package.json: damaged"),
        (edited(lambda v: v.update(files={"../a": "1"})), r"package.json: damaged, it names files elsewhere"),
        (edited(lambda v: v["about"].update(xlite_labels='["Mass"]')), r"metadata were changed after the export"),
        (edited(lambda v: v.update(about={})), r"not a packaged model of X-Lite"),
    ],
)
def test_what_was_changed_is_named(folder, change, message) -> None:
    change(folder)
    with pytest.raises(InputError, match=message) as refused:
        open_manifest(folder)
    assert "\n" not in str(refused.value)

"""Artifacts come back exactly, and damage or a torn save is noticed."""

import json
from pathlib import Path

import pytest
import torch

from xlite.config import ModelConfig
from xlite.errors import InputError
from xlite.models import artifact
from xlite.models.artifact import load_artifact, load_model, save_artifact, state_copy
from xlite.models.build import build_model
from xlite.models.student import Student

LABELS = ["Mass", "Nodule"]


def describe(student: Student) -> dict:
    return {
        "labels": LABELS,
        "model": student.config.model_dump(),
        "in_channels": student.in_channels,
        "image_size": 64,
    }


def _student(attention: str = "performer", seed: int = 0, **model) -> Student:
    return build_model(ModelConfig(attention=attention, **model), num_labels=2, seed=seed)


def _save(folder: Path, student: Student) -> dict:
    description = {**describe(student), "task": "chestxray14", "metrics": {"macro_auc": 0.7}}
    save_artifact(folder, "student", state_copy(student), description)
    return description


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("attention", ["none", "mhsa", "performer"])
def test_a_student_comes_back_to_the_bit_from_either_file(tmp_path: Path, suffix: str, attention: str) -> None:
    student = _student(attention).eval()
    written = _save(tmp_path / "new" / "folder", student)
    loaded, description = load_model(tmp_path / "new" / "folder" / f"student{suffix}")
    images = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(images), student(images))
    assert {key: description[key] for key in written} == written
    assert description["format"] == 1


def test_exactly_two_files_are_left(tmp_path: Path) -> None:
    _save(tmp_path, _student())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student.json", "student.safetensors"]


def test_a_pretrained_student_is_rebuilt_without_its_first_weights(tmp_path: Path) -> None:
    student = _student()
    for start in ({"pretrained": True}, {"weights": "gone.safetensors"}):
        description = {
            **describe(student),
            "model": ModelConfig(attention="performer", **start).model_dump(),
        }
        save_artifact(tmp_path, "student", state_copy(student), description)
        loaded, _ = load_model(tmp_path / "student.json")
        assert loaded.config == ModelConfig(attention="performer", **start)
        assert torch.equal(loaded.head[0].weight, student.head[0].weight)


def test_copied_weights_do_not_follow_training() -> None:
    student = _student()
    best = state_copy(student)
    expected = {key: value.clone() for key, value in best.items()}
    optimiser = torch.optim.SGD(student.parameters(), lr=1.0)
    student(torch.zeros(2, 64, 64, dtype=torch.uint8)).square().sum().backward()
    optimiser.step()
    assert not torch.equal(student.state_dict()["head.3.linear.bias"], expected["head.3.linear.bias"])
    assert not torch.equal(
        student.state_dict()["backbone.body.bn1.running_mean"], best["backbone.body.bn1.running_mean"]
    )
    assert all(torch.equal(best[key], value) for key, value in expected.items())


def test_a_crash_between_the_two_files_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path, _student(seed=0))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(artifact, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            _save(tmp_path, _student(seed=1))
    with pytest.raises(
        InputError, match=r"student.safetensors: damaged, or not the weights that student.json describes"
    ):
        load_artifact(tmp_path / "student.json")
    _save(tmp_path, _student(seed=1))
    load_artifact(tmp_path / "student.json")


def test_a_cut_file_is_noticed(tmp_path: Path) -> None:
    _save(tmp_path, _student())
    weights = tmp_path / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"student.safetensors: damaged"):
        load_artifact(weights)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (".json", r"student.json: no such file"),
        (".safetensors", r"student.safetensors: no such file, though student.json is there"),
    ],
)
def test_a_missing_half_is_named(tmp_path: Path, gone: str, message: str) -> None:
    _save(tmp_path, _student())
    (tmp_path / f"student{gone}").unlink()
    with pytest.raises(InputError, match=message):
        load_artifact(tmp_path / "student.safetensors")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a model description"),
        ('{"format": 9}', "format 9, but this version reads format 1"),
        ('{"format": 1, "labels": 3}', "`labels` is missing or not a list"),
    ],
)
def test_a_description_that_is_none_is_named(tmp_path: Path, text: str, message: str) -> None:
    _save(tmp_path, _student())
    (tmp_path / "student.json").write_text(text)
    with pytest.raises(InputError, match=f"student.json: {message}"):
        load_artifact(tmp_path / "student.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["one"]}, "the weights do not fit the model it describes"),
        ({"model": {"backbone": "resnet18", "depth": 3}}, "model: depth=3: Extra inputs"),
        ({"model": {"backbone": "nothing_like_it"}}, "timm has no such model"),
    ],
)
def test_a_description_of_another_model_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    _save(tmp_path, _student())
    path = tmp_path / "student.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        load_model(path)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model.pt: not a model; give its .safetensors or .json file"):
        load_artifact(tmp_path / "model.pt")

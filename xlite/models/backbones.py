"""Backbones: any timm image model cut after its last feature map."""

import math
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from xlite.config import ModelConfig
from xlite.errors import InputError, first_line
from xlite.models.origins import Origins, check_unchanged, published_file
from xlite.models.pretrained import load_state, read_published, read_weights
from xlite.models.weight_sources import check_name, quiet

_PROBE_PX = 64
Layout = Literal["NCHW", "NHWC", "tokens"]


class Backbone(nn.Module):
    """A timm model cut after its last feature map. images: (B, in_channels, H, W) float -> (B, num_features, h, w).

    Parameters that the feature map does not depend on (classifiers, convolutions after pooling) are removed.

    Raises:
        _Unsuitable: it has no square feature map, or does not take images of this size.
    """

    def __init__(self, body: nn.Module, *, in_channels: int, image_size: int | None) -> None:
        super().__init__()
        self.num_features = int(body.num_features)  # type: ignore[arg-type]
        self.num_prefix_tokens = int(getattr(body, "num_prefix_tokens", 0))
        features, used = _dry_run(body, in_channels, image_size)
        self.layout = _layout(body, features, self.num_features, self.num_prefix_tokens)
        _remove_unused(body, used)
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        features = self.body.forward_features(images)  # type: ignore[operator]
        if self.layout == "NCHW":
            return features
        if self.layout == "NHWC":
            return features.permute(0, 3, 1, 2)
        tokens = features[:, self.num_prefix_tokens :]
        side = math.isqrt(tokens.shape[1])
        return tokens.transpose(1, 2).unflatten(2, (side, side))


def create_backbone(
    config: ModelConfig, *, in_channels: int, image_size: int | None = None, origins: Origins | None = None
) -> Backbone:
    """The backbone that `config` names: random, pretrained (`config.pretrained`) or from a file (`config.weights`).

    Args:
        image_size: px; None accepts any backbone that takes 64 px or its native size.
        origins: the weights that it must start from; None takes the first source's.

    Raises:
        InputError: no such backbone; it has no square feature map; it does not take this size; its weights are
            unavailable, have changed or do not fit.
    """
    check_name(config.backbone)
    published = published_file(config.backbone, origins) if config.pretrained else None
    overlay = {"file": str(published.path)} if published is not None and not published.in_order else None
    with quiet():
        body = _create_body(config.backbone, overlay, in_channels)
    try:
        backbone = Backbone(body, in_channels=in_channels, image_size=image_size)
    except _Unsuitable as error:
        raise InputError(f"model.backbone={config.backbone}: {error}") from None
    if published is not None and published.in_order:
        state = read_published(config.backbone, published)
        load_state(backbone.body, state, path=published.path, name=config.backbone)
    elif config.weights is not None:
        path, origin = Path(config.weights), (origins or {}).get(config.weights)
        state = read_weights(path)
        if origin is not None:
            check_unchanged(path, origin)
        load_state(backbone.body, state, path=path, name=config.backbone)
    return backbone


class _Unsuitable(Exception):
    """The reason a timm model cannot be used; the caller adds the model's name."""


def _create_body(name: str, overlay: dict[str, str] | None, in_channels: int) -> nn.Module:
    arguments: dict[str, Any] = {"num_classes": 0, "in_chans": in_channels}
    if overlay is not None:
        arguments |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
    try:
        try:
            return timm.create_model(name, dynamic_img_size=True, **arguments)  # ViTs refuse other sizes without it
        except TypeError:
            return timm.create_model(name, **arguments)
    except Exception as error:  # of any type: timm passes on those of its model code
        if overlay is None:
            problem = f"model.backbone={name}: timm cannot build it for {in_channels} channels ({first_line(error)})"
        else:
            problem = f"{overlay['file']}: does not fit {name} ({first_line(error)}); delete it to download it again"
        raise InputError(problem) from None


class _Recorder(TorchFunctionMode):
    """Records the ids of the parameters that take part in any operation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.seen.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, nn.Parameter))
        return func(*args, **kwargs)


def _dry_run(body: nn.Module, in_channels: int, image_size: int | None) -> tuple[Tensor, set[int]]:
    """The features of one blank image, and the ids of the parameters that they depend on."""
    native = int(body.pretrained_cfg.get("input_size", (3, 224, 224))[-1])  # type: ignore[union-attr,operator]
    body.eval()
    for size in [image_size] if image_size is not None else [_PROBE_PX, native]:
        images = torch.zeros(1, in_channels, size, size, device=next(body.parameters()).device)
        recorder = _Recorder()
        try:
            with torch.no_grad(), recorder:
                features = body.forward_features(images)  # type: ignore[operator]
        except Exception as error:
            reason = first_line(error)
            continue
        body.train()
        return features, recorder.seen
    raise _Unsuitable(f"it does not take {size} px images ({reason}); it was made for data.image_size={native}")


def _layout(body: nn.Module, features: object, num_features: int, num_prefix_tokens: int) -> Layout:
    if isinstance(features, Tensor):
        if features.ndim == 4 and features.shape[1] == num_features and getattr(body, "output_fmt", "") != "NHWC":
            return "NCHW"
        if features.ndim == 4 and features.shape[3] == num_features:
            return "NHWC"
        if features.ndim == 3 and features.shape[2] == num_features:
            num_tokens = features.shape[1] - num_prefix_tokens
            if num_tokens > 0 and math.isqrt(num_tokens) ** 2 == num_tokens:
                return "tokens"
    raise _Unsuitable("it gives no square feature map; take another timm model, e.g. efficientnet_b0")


def _remove_unused(module: nn.Module, used: set[int]) -> None:
    """Replace each maximal submodule that has parameters, none of them in `used`, with an identity."""
    for name, child in list(module.named_children()):
        parameters = list(child.parameters())
        if parameters and not any(id(parameter) in used for parameter in parameters):
            setattr(module, name, nn.Identity())
        else:
            _remove_unused(child, used)

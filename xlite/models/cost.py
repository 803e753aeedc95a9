"""What a student costs: parameters and size on disk."""

from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from xlite.config import ModelConfig
from xlite.models.build import make_model
from xlite.models.limits import Cost
from xlite.storage.tensors import file_bytes


def count_cost(config: ModelConfig, num_labels: int, in_channels: int, image_size: int) -> Cost:
    """Parameters and size of the student `config` describes, without allocating its weights or fetching any.

    Remembered for each architecture: a search asks again with every proposal.

    Raises:
        InputError: unknown or unsuitable backbone.
    """
    return _count_cost(architecture(config), num_labels, in_channels, None if config.has_backbone else image_size)


@cache
def _count_cost(config: ModelConfig, num_labels: int, in_channels: int, image_size: int | None) -> Cost:
    with torch.device("meta"), _NoInitialisation():
        generator = torch.Generator(device="cpu")
        model = make_model(
            config, num_labels=num_labels, in_channels=in_channels, image_size=image_size, generator=generator
        )
    num_params = sum(parameter.numel() for parameter in model.parameters())
    return Cost(num_params, file_bytes(model.state_dict()) / 1e6)


class _NoInitialisation(TorchFunctionMode):
    """Skips in-place operations on tensors without storage: only shapes count, and it takes half the time."""

    _SKIPPED = frozenset(
        f"{name}_"
        for name in (
            *("normal", "uniform", "trunc_normal", "erfinv", "mul", "div", "add", "sub", "clamp", "fill", "zero"),
            *("copy", "constant", "ones", "zeros", "eye", "orthogonal"),
            *("kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"),
        )
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self._SKIPPED and args and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def architecture(model: ModelConfig) -> ModelConfig:
    """The part of a configuration that decides size and speed: models with the same architecture cost the same."""
    return model.model_copy(update={"dropout": 0.0, "pretrained": False, "weights": None, "head_bias": "data"})

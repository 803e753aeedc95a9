"""What a student costs: parameters, size on disk, time per image."""

import statistics
import time
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xlite.config import ModelConfig
from xlite.device import torch_threads
from xlite.models.build import call, make_model
from xlite.models.limits import Cost
from xlite.storage.tensors import file_bytes

_NUM_WARMUP_RUNS = 5


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


def measure_latency(
    model: nn.Module,
    example: tuple[Tensor, Tensor | None],
    *,
    device: torch.device | str,
    threads: int,
    num_runs: int = 20,
) -> float:
    """Median ms of one forward pass of one example in evaluation mode.

    The model stays on `device`; its mode and the thread count are restored.

    Args:
        example: a batch of one and its auxiliary integers, as `Device.inputs` gives them.
        threads: CPU threads to time with.
    """
    device = torch.device(device)
    was_training = model.training
    model.to(device).eval()
    images, auxiliary = (None if part is None else part.to(device) for part in example)
    assert images is not None
    times_ms = []
    try:
        with torch_threads(threads), torch.inference_mode():
            for _ in range(_NUM_WARMUP_RUNS + num_runs):
                start_s = time.perf_counter()
                call(model, images, auxiliary)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                times_ms.append(1e3 * (time.perf_counter() - start_s))
    finally:
        model.train(was_training)
    return statistics.median(times_ms[_NUM_WARMUP_RUNS:])


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

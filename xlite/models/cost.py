"""What a student costs: parameters, size on disk, time per image."""

import json
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

_NUM_WARMUP_RUNS = 5
_SAFETENSORS_DTYPE = {torch.float32: "F32", torch.int64: "I64", torch.bool: "BOOL"}


def count_cost(config: ModelConfig, num_labels: int, in_channels: int, image_size: int) -> Cost:
    """Parameters and size of the student `config` describes, without allocating its weights or fetching any.

    Remembered for each architecture: a search asks again with every proposal.

    Raises:
        InputError: unknown or unsuitable backbone.
    """
    unrelated = {"dropout": 0.0, "pretrained": False, "weights": None, "head_bias": "data"}
    if config.architecture != "lines":
        image_size = 0  # it decides nothing here
    return _count_cost(config.model_copy(update=unrelated), num_labels, in_channels, image_size)


@cache
def _count_cost(config: ModelConfig, num_labels: int, in_channels: int, image_size: int) -> Cost:
    with torch.device("meta"), _NoInitialisation():
        generator = torch.Generator(device="cpu")
        model = make_model(
            config,
            num_labels=num_labels,
            in_channels=in_channels,
            image_size=image_size or None,
            generator=generator,
        )
    num_params = sum(parameter.numel() for parameter in model.parameters())
    return Cost(num_params, _safetensors_bytes(model.state_dict()) / 1e6)


def measure_latency(
    model: nn.Module,
    example: tuple[Tensor, Tensor | None],
    *,
    device: torch.device | str,
    threads: int,
    num_runs: int = 20,
) -> float:
    """Median ms of one forward pass of one example in evaluation mode.

    The model is left on `device`, in the mode it came in; the thread count is put back.

    Args:
        example: input and extras of a batch of one, as the model takes them.
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
    """Skips in-place arithmetic on tensors without storage: shapes are all that counts, and it is half the time."""

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


def _safetensors_bytes(state: dict[str, Tensor]) -> int:
    """Size of the file: header length (8 bytes), JSON header padded to 8, the tensors."""
    header, offset = {}, 0
    for key, tensor in state.items():
        end = offset + tensor.numel() * tensor.element_size()
        dtype = _SAFETENSORS_DTYPE.get(tensor.dtype, "F32")
        header[key] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    num_header_bytes = len(json.dumps(header, separators=(",", ":")))
    return 8 + -(-num_header_bytes // 8) * 8 + offset


def architecture(model: ModelConfig) -> ModelConfig:
    """What of a model decides its size and speed: two models with the same architecture cost the same."""
    return model.model_copy(update={"dropout": 0.0, "pretrained": False, "weights": None, "head_bias": "data"})

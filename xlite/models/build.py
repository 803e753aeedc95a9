"""Builds a model of any architecture; its weights are a pure function of the arguments."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from xlite.config import ModelConfig
from xlite.data.input_spec import InputSpec
from xlite.errors import InputError
from xlite.models.lines import ScanLineEncoder
from xlite.models.origins import Origins
from xlite.models.slices import SliceStudent
from xlite.models.student import Student

ARCHITECTURES: Mapping[str, Callable[..., nn.Module]] = {
    "image": Student,
    "slices": SliceStudent,
    "lines": ScanLineEncoder,
}
"""Each takes (config, *, num_labels, in_channels, generator, image_size), with a backbone `origins` as well, and has
`config`, `num_labels`, `in_channels` and `set_bias`; `forward(images)`, or `forward(images, auxiliary)` where examples
have auxiliary integers. The names are `InputSpec.layout`'s."""


def make_model(
    config: ModelConfig,
    *,
    num_labels: int,
    in_channels: int,
    image_size: int | None,
    generator: torch.Generator,
    origins: Origins | None = None,
) -> nn.Module:
    """The model of `config.architecture`, initialised from `generator` and the CPU's global generator."""
    architecture = ARCHITECTURES[config.architecture]
    start = {"origins": origins} if config.has_backbone else {}
    return architecture(
        config, num_labels=num_labels, in_channels=in_channels, generator=generator, image_size=image_size, **start
    )


def build_model(
    config: ModelConfig,
    *,
    num_labels: int,
    in_channels: int = 1,
    image_size: int | None = None,
    bias: Sequence[float] | None = None,
    seed: int,
    origins: Origins | None = None,
) -> nn.Module:
    """A model on the CPU, in training mode.

    Args:
        image_size: px (points of a line); when given, a backbone that cannot take it is refused now instead of in the
            first batch.
        bias: (num_labels,) what the last layer's bias starts from, unless `config.head_bias` gives numbers. None: 0.
        origins: the weights that a backbone must start from; None takes the first source's.

    Raises:
        InputError: as `create_backbone`, or `config.head_bias` has another number of values than there are labels.
    """
    with torch.random.fork_rng(devices=[]):
        # The CPU generator alone: torch.manual_seed would reseed every CUDA device as well.
        torch.default_generator.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = make_model(
            config,
            num_labels=num_labels,
            in_channels=in_channels,
            image_size=image_size,
            generator=generator,
            origins=origins,
        )
    model.set_bias(_initial_bias(config, num_labels, bias))  # type: ignore[operator]
    return model


def canonical_model(config: ModelConfig) -> ModelConfig:
    """`config` with every key that its architecture does not read at its default: equal ones give equal models."""
    keys = {"architecture", "dropout", "head", "head_bias"}
    if not config.has_backbone:
        return config.only(keys | {"attention_heads", "layers", "width", "ffn_width", "causal", "normalise_lines"})
    keys |= {"backbone", "pretrained", "weights", "attention"}
    keys |= {"attention_heads"} if config.attention != "none" else set()
    keys |= {"performer_features"} if config.attention == "performer" else set()
    return config.only(keys | ({"num_slices", "num_levels", "level_dim"} if config.architecture == "slices" else set()))


def check_input(config: ModelConfig, spec: InputSpec) -> None:
    """Refuse a configuration whose architecture does not take these inputs.

    Raises:
        InputError: the key to change is named.
    """
    if config.architecture != spec.layout:
        raise InputError(
            f"model.architecture={config.architecture}: the data's layout is {spec.layout} (its shape is "
            f"{spec.shape}); use {spec.layout}"
        )
    if spec.layout == "slices":
        if spec.num_slices != config.num_slices:
            raise InputError(f"model.num_slices={config.num_slices}: the data has stacks of {spec.num_slices}")
        if spec.auxiliary_max and spec.auxiliary_max[0] >= config.num_levels:
            raise InputError(f"model.num_levels={config.num_levels}: the data has {spec.auxiliary_max[0] + 1} levels")


def call(model: nn.Module, images: Tensor, auxiliary: Tensor | None) -> Tensor:
    """Logits of a batch; `auxiliary` are the integers that the model takes beside the images, if any."""
    return model(images) if auxiliary is None else model(images, auxiliary)


def _initial_bias(config: ModelConfig, num_labels: int, bias: Sequence[float] | None) -> Sequence[float]:
    if config.head_bias != "data":
        bias = [float(number) for number in config.head_bias.split(",")]
        if len(bias) != num_labels:
            raise InputError(f"model.head_bias={config.head_bias}: give {num_labels} numbers, one for each label")
    elif bias is None:
        bias = [0.0] * num_labels
    assert len(bias) == num_labels, (len(bias), num_labels)
    return bias

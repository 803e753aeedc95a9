"""Initial weights of a backbone: reads a file of them, and puts them into the model."""

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Size, Tensor, nn

from xlite.errors import InputError, first_line
from xlite.models.weight_sources import PublishedFile, quiet

PICKLED = (".pth", ".pt", ".bin")
_PREFIXES = ("backbone.body.", "backbone.", "module.", "model.")
_NESTED = ("state_dict", "model")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a state dict that torch.save wrote; no pickled code is run.

    A state dict may lie under "state_dict" or "model" of a training checkpoint.

    Raises:
        InputError: no such file, it cannot be read, or it is no state dict.
    """
    if path.suffix != ".safetensors" and path.suffix not in PICKLED:
        raise InputError(f"{path}: weights are read from .safetensors, {', '.join(PICKLED)} files; save them as one")
    try:
        return load_file(path) if path.suffix == ".safetensors" else _read_pickled(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; set model.weights to a file of weights") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable {path.suffix} file ({first_line(error)})") from None


def read_published(backbone: str, found: PublishedFile) -> dict[str, Tensor]:
    """The tensors of a package's file under timm's names.

    Raises:
        InputError: the file is damaged or of another backbone.
    """
    state, shapes = read_weights(found.path), published_shapes(backbone)
    where = f"{found.path}: not the weights of {backbone}"
    if len(state) != len(shapes):
        raise InputError(f"{where}: {len(state)} tensors, not {len(shapes)}; install {found.source} again")
    pairs = list(zip(state.items(), shapes.items(), strict=True))
    for (name, tensor), (key, shape) in pairs:
        if tensor.shape != shape or name.rpartition(".")[2] != key.rpartition(".")[2]:
            problem = f"{name} of shape {tuple(tensor.shape)} stands where {key} of {tuple(shape)} is"
            raise InputError(f"{where}: {problem}; install {found.source} again")
    return {key: tensor for (_, tensor), (key, _) in pairs}


@cache
def published_shapes(backbone: str) -> Mapping[str, Size]:
    """Shapes of the published model's state by key, in its order, the classifier's included."""
    with torch.device("meta"), quiet():
        return {key: tensor.shape for key, tensor in timm.create_model(backbone).state_dict().items()}


def load_state(body: nn.Module, state: Mapping[str, Tensor], *, path: Path, name: str) -> None:
    """Put tensors into a backbone.

    Keys may carry a student's `backbone.` prefix, or the `module.` or `model.` of a training framework. A classifier,
    and whatever else of the published model `body` lacks, is passed over. A first convolution for another number of
    channels is adapted: its weights are summed over the input channels and divided evenly, so that a grey image gives
    the features it gives as RGB.

    Args:
        path: where they are from; name: of the backbone. Both are for messages.

    Raises:
        InputError: keys or shapes do not fit; the message names the first and counts them.
    """
    wanted = body.state_dict()
    state = _adapt_first_conv(_without_prefix(state, wanted), wanted, _named(body, "first_conv"))
    dropped, classifiers = published_shapes(name), tuple(f"{each}." for each in _named(body, "classifier"))
    problems = [f"{key} is missing" for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    problems += [
        f"{key} is not part of it"
        for key in state
        if key not in wanted and key not in dropped and not key.startswith(classifiers)
    ]
    problems += [
        f"{key} has shape {tuple(state[key].shape)}, not {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in state and state[key].shape != tensor.shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(
            f"{path}: does not fit model.backbone={name}: {problems[0]}{more}; use weights of this backbone"
        )
    body.load_state_dict({key: tensor for key, tensor in state.items() if key in wanted}, strict=False)


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # arbitrary bytes raise UnpicklingError, RuntimeError, EOFError, KeyError ...
        raise InputError(
            f"{path}: damaged, or more than a plain state dict ({first_line(error)}); write it with "
            "torch.save(model.state_dict(), FILE)"
        ) from None
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(map(_is_entry, content.items())):
        raise InputError(
            f"{path}: not a state dict of tensors by name; write it with torch.save(model.state_dict(), FILE)"
        )
    return dict(content)


def _is_entry(entry: tuple[Any, Any]) -> bool:
    return isinstance(entry[0], str) and isinstance(entry[1], Tensor)


def _without_prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Only what is under a prefix, without it, as long as there is one that is not the model's own."""
    for prefix in _PREFIXES:
        if any(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in wanted):
            under = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            return _without_prefix(under, wanted)
    return dict(state)


def _named(body: nn.Module, what: str) -> Sequence[str]:
    """The names that timm's description of a model has for its "first_conv" or "classifier"."""
    names = body.pretrained_cfg.get(what) or ()  # type: ignore[union-attr,operator]
    return [names] if isinstance(names, str) else list(names)


def _adapt_first_conv(
    state: dict[str, Tensor], wanted: Mapping[str, Tensor], first_convs: Sequence[str]
) -> dict[str, Tensor]:
    for key in (f"{name}.weight" for name in first_convs):
        if key in state and key in wanted and state[key].ndim == 4:
            num_channels = wanted[key].shape[1]
            if state[key].shape[1] != num_channels:
                total = state[key].sum(dim=1, keepdim=True)
                state[key] = (total / num_channels).repeat(1, num_channels, 1, 1)
    return state

"""Initial backbone weights: timm's published ones, cached locally, or a .safetensors file."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import timm
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from xlite.errors import InputError

CHOICES = "--set model.pretrained=false, or --set model.weights=FILE.safetensors"
_FILE_NAMES = ("model.safetensors", "pytorch_model.bin")
_TIMEOUT_S = 5.0
_PREFIXES = ("backbone.body.", "backbone.")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the logs, warnings and progress bars of timm and the Hugging Face hub; their errors still raise."""
    loggers = [logging.getLogger(name) for name in ("timm", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    bars = not are_progress_bars_disabled()
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        disable_progress_bars()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            enable_progress_bars()


def pretrained_file(backbone: str) -> Path:
    """The cached file of a timm model's published weights, downloaded first if missing.

    Raises:
        InputError: none published, or not cached and the hub cannot be reached (after about 5 s; the hub's own client
            would retry for most of a minute).
    """
    config = timm.get_pretrained_cfg(backbone)
    repository = config.hf_hub_id if config is not None else None
    if not repository:
        raise _unavailable(backbone, "timm names no Hugging Face repository for this model")
    names = (config.hf_hub_filename,) if config.hf_hub_filename else _FILE_NAMES
    for name in names:
        cached = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    with quiet():
        try:
            name = next(name for name in names if _exists(repository, name))
            return Path(huggingface_hub.hf_hub_download(repository, name))
        except StopIteration:
            raise _unavailable(backbone, f"huggingface.co/{repository} does not have them") from None
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise _unavailable(backbone, f"huggingface.co: {reason}") from None


def load_backbone_file(body: nn.Module, path: str | Path, *, name: str, droppable: Set[str]) -> None:
    """Load a .safetensors file into a backbone.

    Keys may carry a student's `backbone.` prefix. A first convolution for another number of channels is adapted: its
    weights are summed over the input channels and divided evenly, so that a grey image gives the features it gives as
    RGB.

    Args:
        name: of the backbone, for messages.
        droppable: keys of the published model; those that `body` lacks (its classifier) are ignored.

    Raises:
        InputError: not a safetensors file, or keys or shapes do not fit; the message names the first and counts them.
    """
    wanted = body.state_dict()
    state = _adapt_first_conv(_without_prefix(_read(Path(path))), wanted, _first_convs(body))
    problems = [f"{key} is missing" for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    problems += [f"{key} is not part of it" for key in state if key not in wanted and key not in droppable]
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


def _exists(repository: str, name: str) -> bool:
    """One request, no retries."""
    url, headers = huggingface_hub.hf_hub_url(repository, name), huggingface_hub.utils.build_hf_headers()
    return huggingface_hub.get_session().head(url, timeout=_TIMEOUT_S, headers=headers).status_code < 400


def _unavailable(backbone: str, reason: str) -> InputError:
    return InputError(f"model.backbone={backbone}: pretrained weights are unavailable ({reason}); {CHOICES}")


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; set model.weights to a .safetensors file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable .safetensors file ({error})") from None


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if any(key.startswith(prefix) for key in state):
            return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return dict(state)


def _first_convs(body: nn.Module) -> list[str]:
    names = body.pretrained_cfg.get("first_conv") or ()  # type: ignore[union-attr,operator]
    return [f"{name}.weight" for name in ([names] if isinstance(names, str) else names)]


def _adapt_first_conv(
    state: dict[str, Tensor], wanted: Mapping[str, Tensor], first_convs: list[str]
) -> dict[str, Tensor]:
    for key in first_convs:
        if key in state and key in wanted and state[key].ndim == 4:
            num_channels = wanted[key].shape[1]
            if state[key].shape[1] != num_channels:
                total = state[key].sum(dim=1, keepdim=True)
                state[key] = (total / num_channels).repeat(1, num_channels, 1, 1)
    return state

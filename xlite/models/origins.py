"""What models start from: a source of published weights or a file of one's own, with its hash, or random weights.

A study records its origins when it begins, and its models start from the same ones ever after.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xlite.config import ModelConfig, Pretrained, RunConfig
from xlite.errors import InputError
from xlite.models.pretrained import read_published, read_weights
from xlite.models.weight_sources import INSTALL, PublishedFile, WeightsUnavailable, find_published

RANDOM = "random"
_OWN_FILE = "file"


@dataclass(frozen=True)
class Origin:
    """Where weights are from, and the SHA-256 of their file in hex digits."""

    source: str
    sha256: str


Origins = Mapping[str, Origin | None]
"""By backbone, and by file for those of `model.weights`. None: random, since the published weights cannot be had."""


def origin_key(model: ModelConfig) -> str | None:
    """The key of what a model starts from among `Origins`; None where it starts from random weights."""
    if not model.has_backbone:
        return None
    return model.weights or (model.backbone if model.pretrained else None)


def find_origins(
    models: Collection[ModelConfig], *, pretrained: Pretrained, on_gpu: bool, known: Origins | None = None
) -> Origins:
    """What these models start from; published weights are downloaded where they are on the hub alone.

    Args:
        pretrained: "yes" makes published weights that cannot be had an error; else that is one on a GPU only.
        known: what a study began with, which is to be there still.

    Raises:
        InputError: weights cannot be had, a file is damaged or of another backbone, or it is not what it was.
    """
    if pretrained == "yes" and not any(model.has_backbone for model in models):
        raise InputError("--pretrained yes: these models have no backbone with published weights; leave it out")
    keyed = {key: model for model in models if (key := origin_key(model)) is not None}
    required = pretrained == "yes" or on_gpu
    return {key: _find(model, required, known or {}) for key, model in sorted(keyed.items())}


def published_file(backbone: str, origins: Origins | None) -> PublishedFile:
    """The file of a backbone's published weights; the one of `origins` where they have it.

    Raises:
        InputError: there is none, or it has changed.
    """
    origin = (origins or {}).get(backbone)
    if origin is None:
        return find_published(backbone)
    try:
        found = find_published(backbone, origin.source)
    except WeightsUnavailable:
        raise InputError(
            f"model.backbone={backbone}: its weights were those of {origin.source}, which are gone; {INSTALL} or "
            "restore the hub's cache, or use another --study"
        ) from None
    check_unchanged(found.path, origin)
    return found


def check_unchanged(path: Path, origin: Origin) -> None:
    """Raise InputError unless the file still has the hash of its origin."""
    now = _sha256(path)
    if now != origin.sha256:
        raise InputError(
            f"{path}: these weights have changed (SHA-256 was {origin.sha256[:12]}..., is {now[:12]}...); bring back "
            "the file, or use another --study"
        )


def started(config: RunConfig, origins: Origins | None) -> RunConfig:
    """`config` as its run starts: with `model.pretrained` false where published weights cannot be had."""
    model = config.model
    if not model.pretrained or origins is None or origins.get(model.backbone, ...) is not None:
        return config
    return config.model_copy(update={"model": model.model_copy(update={"pretrained": False})})


def describe_origins(origins: Origins) -> list[str]:
    """A line on where published weights are from, and one on backbones that have none."""
    found = ", ".join(
        f"{key} ({origin.source})" for key, origin in origins.items() if origin and origin.source != _OWN_FILE
    )
    missing = ", ".join(key for key, origin in origins.items() if origin is None)
    lines = [f"Pretrained weights: {found}"] if found else []
    if missing:
        lines.append(f"No pretrained weights here of {missing}: random ones instead (--pretrained yes says why)")
    return lines


def to_json(origins: Origins) -> dict[str, Any]:
    """JSON values."""
    return {key: asdict(origin) if origin else RANDOM for key, origin in origins.items()}


def from_json(values: Any, *, where: Path) -> Origins:
    """The inverse of `to_json`.

    Raises:
        InputError: no such values; `where` is the file that holds them.
    """
    try:
        return {key: None if value == RANDOM else Origin(**value) for key, value in values.items()}
    except (AttributeError, TypeError):
        raise InputError(f"{where}: its record of weights is damaged ({str(values)[:60]}); restore the file") from None


def _find(model: ModelConfig, required: bool, known: Origins) -> Origin | None:
    if model.weights is not None:
        path = Path(model.weights)
        read_weights(path)
        if (origin := known.get(model.weights)) is not None:
            check_unchanged(path, origin)
        return Origin(_OWN_FILE, _sha256(path))
    if model.backbone in known and known[model.backbone] is None:
        return None
    try:
        found = published_file(model.backbone, known)
    except WeightsUnavailable:
        if required:
            raise
        return None
    if found.in_order:
        read_published(model.backbone, found)
    return Origin(found.source, _sha256(found.path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

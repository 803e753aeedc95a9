"""What study.json is given: what was asked and found, and the settings that may not change when a study continues."""

import math
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from xlite.config import flatten
from xlite.errors import InputError
from xlite.ledger.manifest import IMMUTABLE, StudyManifest, portable_url, write_manifest
from xlite.models.origins import to_json
from xlite.study.plan import StudyPlan
from xlite.study.starting_weights import WEIGHTS
from xlite.study.teacher import StudyTeacher, num_views
from xlite.tasks.defaults import pretrained_keys
from xlite.tasks.prepare import Prepared
from xlite.tasks.task import Task

PACKAGES = ("ray", "torch", "timm", "optuna", "albumentations", "opencv-python-headless", "numpy")
OPEN = None
"""Stored as the space of a study that ended because its space failed, so that the corrected one continues it."""


def write_study(
    plan: StudyPlan,
    prepared: Prepared,
    teacher: StudyTeacher | None,
    *,
    identity: str,
    immutable: Mapping[str, Any],
) -> None:
    """Write study.json.

    Args:
        immutable: flat; a change of any of these would make rows of one leaderboard incomparable.
    """
    options = plan.study.options
    value = teacher.value if teacher else math.nan
    kept = {key: value for key, value in asdict(options).items() if key not in ("name", "folder", "storage")}
    values = {
        IMMUTABLE: immutable,
        "name": options.name,
        "identity": identity,
        "storage": portable_url(options.storage, options.root),
        "options": kept,
        "request": asdict(prepared.request),
        "base": flatten(plan.study.base),
        "teacher": {"name": teacher.teacher.names, "value": round(value, 6) if math.isfinite(value) else None}
        if teacher
        else None,
        "split_file": prepared.split_file,
        "pixel_key": prepared.full.pixel_key,
        "shares": asdict(plan.candidates.shares),
        "versions": versions(),
        "git": git_commit(),
    }
    write_manifest(options.folder, options.root, values)


def check_same(
    folder: Path, immutable: Mapping[str, Any], accepted: Mapping[str, Collection[Any]] = MappingProxyType({})
) -> None:
    """Refuse to continue a study as another one; only what `immutable` holds is compared.

    Args:
        accepted: stored values of a key that count as the same.

    Raises:
        InputError: names every value that differs, both as stored and as asked for now.
    """
    stored = StudyManifest.read(folder)
    if stored is None:
        return
    before = stored.settings
    changed = [
        f"{key} was {before.get(key)!r} and is now {immutable.get(key)!r}"
        for key in immutable
        if before.get(key) != immutable.get(key) and before.get(key) not in accepted.get(key, ())
    ]
    if changed:
        raise InputError(f"study {folder.name}: {'; '.join(changed)}. Use another --study, or the values it began with")


COMPARABLE = ("task", "data", "split", "subset", "image_size", "metric", "kind")
"""What a study and its baselines must agree in to stand in one leaderboard."""


def check_comparable(other: Path, immutable: Mapping[str, Any]) -> None:
    """Refuse to put rows beside those of the study in the folder `other` that were measured on something else.

    Raises:
        InputError: names every value that differs.
    """
    stored = StudyManifest.read(other)
    if stored is None:
        return
    before = stored.settings
    changed = [
        f"{key} {before.get(key)!r} there, {immutable[key]!r} here"
        for key in COMPARABLE
        if before.get(key) != immutable[key]
    ]
    if changed:
        raise InputError(f"{other}: measured on something else: {'; '.join(changed)}. Use the same, or another --study")


def immutable_settings(plan: StudyPlan, prepared: Prepared) -> dict[str, Any]:
    """What decides a study's numbers, but for its teacher: JSON values by name."""
    options, base, task = plan.study.options, plan.study.base, plan.study.task
    pretrained = pretrained_keys(options.pretrained, {})
    recorded = {} if plan.study.origins is None else {WEIGHTS: to_json(plan.study.origins)}
    return {
        "task": options.task,
        "data": prepared.full.content_hash(),
        "split": prepared.full.split_hash,
        "subset": prepared.subset_share,
        "image_size": base.data.image_size,
        "augmentation": base.data.augmentation,
        "num_views": num_views(options.max_epochs),
        "seed": options.seed,
        "space": plan.candidates.space.code_hash,
        "metric": task.metric,
        "kind": task.target_spec.kind,
        "max_epochs": options.max_epochs,
        "threads": base.train.threads,
        "settings": dict(options.settings) | pretrained,
        **recorded,
        **({"objectives": list(options.objectives)} if options.objectives else {}),
        **({"latency_device": options.latency_device} if options.latency_device else {}),
    }


def metric_metadata(task: Task) -> dict[str, Any]:
    """What a leaderboard must know of a study's metrics; part of the ledger's metadata."""
    return {"metric": task.metric, "columns": asdict(task.target_spec.columns)}


def versions() -> dict[str, str]:
    """Installed versions of the packages that numbers depend on."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def git_commit() -> str | None:
    """The commit this code runs from, with "+changes" when the tree differs from it; None if it is no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # e.g. installed in an environment that lies inside another project's checkout
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()

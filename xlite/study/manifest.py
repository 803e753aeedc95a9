"""study.json: what a study was asked and found, and the settings that may not change when it continues."""

import math
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from xlite.config import flatten
from xlite.errors import InputError
from xlite.ledger import stored_url
from xlite.storage.files import read_json_object, write_json
from xlite.study.plan import StudyPlan
from xlite.study.teacher import StudyTeacher, num_views
from xlite.tasks.prepare import Prepared
from xlite.tasks.task import Task

PACKAGES = ("ray", "torch", "timm", "optuna", "albumentations", "opencv-python-headless", "numpy")
IMMUTABLE = "meaning"
"""Key of the settings that decide what a study's numbers mean; the rest may change when it continues."""
OPEN = None
"""Stored as the space of a study that ended because its space failed, so that the corrected one continues it."""


def write_study(folder: Path, immutable: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    """Write study.json.

    Args:
        immutable: flat; a change of any of these would make rows of one leaderboard incomparable.
        details: whatever else a reader needs, e.g. places, shares, costs.
    """
    write_json(
        folder / "study.json", {IMMUTABLE: dict(immutable), **details, "versions": versions(), "git": git_commit()}
    )


def read_study(folder: Path) -> dict[str, Any] | None:
    """The content of study.json, or None for a folder without one."""
    return read_json_object(folder / "study.json") if (folder / "study.json").exists() else None


def check_same(
    folder: Path, immutable: Mapping[str, Any], accepted: Mapping[str, Collection[Any]] = MappingProxyType({})
) -> None:
    """Refuse to continue a study as another one; only what `immutable` holds is compared.

    Args:
        accepted: stored values of a key that count as the same.

    Raises:
        InputError: names every value that differs, both as stored and as asked for now.
    """
    stored = read_study(folder)
    if stored is None:
        return
    before = stored[IMMUTABLE]
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
    stored = read_study(other)
    if stored is None:
        return
    before = stored[IMMUTABLE]
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
        "settings": dict(options.settings),
    }


def metric_metadata(task: Task) -> dict[str, Any]:
    """What a leaderboard must know of a study's metrics; part of the ledger's metadata."""
    return {"metric": task.metric, "columns": _json(asdict(task.target_spec.columns))}


def details(plan: StudyPlan, prepared: Prepared, teacher: StudyTeacher | None) -> dict[str, Any]:
    """All else that study.json holds; the storage URL without its password."""
    storage = stored_url(plan.study.options.storage)
    value = teacher.value if teacher else math.nan
    return {
        "storage": storage,
        "options": _json(asdict(replace(plan.study.options, storage=storage))),
        "request": _json(asdict(prepared.request)),
        "base": flatten(plan.study.base),
        "teacher": {"name": teacher.names, "value": round(value, 6) if math.isfinite(value) else None}
        if teacher
        else None,
        "split_file": str(prepared.split_file),
        "pixel_key": prepared.full.pixel_key,
        "shares": asdict(plan.candidates.shares),
    }


def _json(value: Any) -> Any:
    """The same value as JSON holds it: paths as text, tuples as lists."""
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, BaseModel):
        return value.model_dump()
    return str(value) if isinstance(value, Path) else value


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

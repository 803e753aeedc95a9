"""What makes a study the study it is: written to study.json, and compared when the same name is used again."""

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from xlite.errors import InputError
from xlite.storage.files import read_json_object, write_json

PACKAGES = ("ray", "torch", "timm", "optuna", "albumentations", "opencv-python-headless", "numpy")
MEANING = "meaning"
"""The part of study.json that decides what a study's numbers mean; the rest may change when it is continued."""


def write_study(folder: Path, meaning: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    """Write study.json.

    Args:
        meaning: flat; a change of any of these would make rows of one leaderboard incomparable.
        details: whatever else a reader needs, e.g. places, shares, costs.
    """
    write_json(folder / "study.json", {MEANING: dict(meaning), **details, "versions": versions(), "git": git_commit()})


def read_study(folder: Path) -> dict[str, Any] | None:
    """The content of study.json, or None for a folder without one."""
    return read_json_object(folder / "study.json") if (folder / "study.json").exists() else None


def check_same(folder: Path, meaning: Mapping[str, Any]) -> None:
    """Refuse to continue a study as another one; only what `meaning` holds is compared.

    Raises:
        InputError: names every value that differs, both as stored and as asked for now.
    """
    stored = read_study(folder)
    if stored is None:
        return
    before = stored[MEANING]
    changed = [
        f"{key} was {before.get(key)!r} and is now {meaning.get(key)!r}"
        for key in meaning
        if before.get(key) != meaning.get(key)
    ]
    if changed:
        raise InputError(f"study {folder.name}: {'; '.join(changed)}. Use another --study, or the values it began with")


COMPARABLE = ("task", "data", "split", "subset", "image_size", "metric", "kind")
"""What a study and its baselines must agree in to stand in one leaderboard."""


def check_comparable(other: Path, meaning: Mapping[str, Any]) -> None:
    """Refuse to put rows beside those of the study in the folder `other` that were measured on something else.

    Raises:
        InputError: names every value that differs.
    """
    stored = read_study(other)
    if stored is None:
        return
    before = stored[MEANING]
    changed = [
        f"{key} {before.get(key)!r} there, {meaning[key]!r} here"
        for key in COMPARABLE
        if before.get(key) != meaning[key]
    ]
    if changed:
        raise InputError(f"{other}: measured on something else: {'; '.join(changed)}. Use the same, or another --study")


def plain(value: Any) -> Any:
    """The same value as JSON holds it: paths as text, tuples as lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
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

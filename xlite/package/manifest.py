"""package.json: which files a package consists of, and whether they are still the ones that were packaged."""

import hashlib
import re
import shutil
from pathlib import Path, PurePath

from xlite.errors import InputError
from xlite.package.about import About
from xlite.package.card import CARD, is_untouched
from xlite.storage.files import read_json_object, write_json

MANIFEST = "package.json"
MODEL = "model.onnx"
FORMAT = 1
_WRITTEN = (MODEL, "predict.py", "requirements.txt", "USE.md", "seen_pictures.npy")
"""What packaging adds to a promotion, beside `_FOLDERS` and the card."""
_FOLDERS = ("golden", "runtime")
_FILES = {*_WRITTEN, CARD, "metrics.json", "thresholds.json", "reliability.json", "curves.json", "smaller.json"}
_WEIGHTS = re.compile(r"model(_\d+)?\.(safetensors|json)")


def is_package(path: Path) -> bool:
    """Whether `path` is a folder with a manifest, whatever state its files are in."""
    return (path / MANIFEST).is_file()


def packaged_files(folder: Path) -> list[str]:
    """Names, relative with "/", of the files in `folder` that make up a package, sorted: those that X-Lite writes.

    Whatever else lies there, e.g. predictions or pixel caches, may show patients, and is never taken.
    """
    own = [path for path in folder.iterdir() if path.name in _FILES or _WEIGHTS.fullmatch(path.name)]
    own += [path for name in _FOLDERS for path in (folder / name).rglob("*") if path.suffix != ".pyc"]
    names = (path.relative_to(folder) for path in own if path.is_file())
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def manifest_files(folder: Path) -> list[str]:
    """Names of the files of the package in `folder`, as package.json has them, and package.json itself.

    Raises:
        InputError: as `open_manifest`, but for files that are missing or were changed.
    """
    return [MANIFEST, *_read(folder)[0]]


def foreign_files(folder: Path) -> list[str]:
    """Names of files in the package's folder that are not of the package; compiled Python, which its use leaves, is."""
    known = set(manifest_files(folder))
    files = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir() and path.suffix != ".pyc")
    return sorted(name for file in files if (name := file.as_posix()) not in known)


def write_manifest(folder: Path, about: About) -> None:
    """Write package.json, last of all: every file of `packaged_files` with its SHA-256, and what the model is."""
    files = {name: _sha256(folder / name) for name in packaged_files(folder)}
    write_json(folder / MANIFEST, {"format": FORMAT, "files": files, "about": about.to_metadata()})


def open_manifest(folder: Path) -> About:
    """What the package's model is, once all its files are found to be those that were packaged.

    Files that package.json does not name, e.g. predictions, may lie beside them.

    Raises:
        InputError: no package, one of a newer format, a damaged package.json, a file that is missing or was changed.
    """
    files, metadata = _read(folder)
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing from the package; copy the whole folder again")
        if _sha256(path) != digest:
            raise InputError(
                f"{path}: changed since it was packaged; copy the folder again, or package the model again"
            )
    return About.from_metadata(metadata, source=str(folder / MANIFEST))


def remove_package(folder: Path) -> None:
    """Remove what packaging added to a promotion; the manifest first. A card that a person has changed stays."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in _WRITTEN:
        (folder / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    card = folder / CARD
    if card.is_file() and is_untouched(card.read_text(encoding="utf-8", errors="replace")):
        card.unlink()


def _read(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The digests by name, and the metadata, that package.json has."""
    source = folder / MANIFEST
    if not source.is_file():
        raise InputError(f"{folder}: {_why_none(folder.resolve())}")
    values = read_json_object(source)
    if values.get("format") != FORMAT:
        raise InputError(f"{source}: package format {values.get('format')}, but this version reads format {FORMAT}")
    files, metadata = (_texts(values.get(name), source) for name in ("files", "about"))
    if any(PurePath(name).is_absolute() or ".." in PurePath(name).parts for name in files):
        raise InputError(f"{source}: damaged, it names files elsewhere; package the model again")
    return files, metadata


def _why_none(folder: Path) -> str:
    """Why there is no package in `folder`, and what to do."""
    if members := sorted(path.name for path in folder.glob("[0-9]*") if is_package(path)):
        return f"has the packages of several models; give one of its folders {', '.join(members)}"
    if (folder / "metrics.json").is_file():
        study = next((path.name for path in folder.parents[:2] if (path / "study.json").is_file()), "NAME")
        return f"its model is not packaged; xlite package --study {study}"
    return f"no {MANIFEST}, so not a package; give a study's promoted/, or its {MODEL}"


def _texts(part: object, source: Path) -> dict[str, str]:
    if not isinstance(part, dict) or not all(isinstance(text, str) for text in part.values()):
        raise InputError(f"{source}: damaged; package the model again, or copy the folder again")
    return part


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

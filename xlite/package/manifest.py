"""package.json: which files a package consists of, and whether they are still the ones that were packaged."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from xlite.errors import InputError
from xlite.package.about import About
from xlite.storage.files import read_json_object, write_json

MANIFEST = "package.json"
MODEL = "model.onnx"
FORMAT = 1


def is_package(path: Path) -> bool:
    """Whether `path` is a folder with a manifest, whatever state its files are in."""
    return (path / MANIFEST).is_file()


def packaged_files(folder: Path) -> list[str]:
    """Names, relative with "/", of the files in `folder` that make up a package, sorted.

    Left out are the manifest, hidden files, TensorBoard's events, checkpoints, locks, compiled Python and archives.
    """
    return sorted(path.relative_to(folder).as_posix() for path in _files(folder))


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
    source = folder / MANIFEST
    if not source.is_file():
        raise InputError(f"{folder}: no {MANIFEST}, so not a package; give a study's promoted/, or its {MODEL}")
    values = read_json_object(source)
    if values.get("format") != FORMAT:
        raise InputError(f"{source}: package format {values.get('format')}, but this version reads format {FORMAT}")
    files, metadata = (_texts(values.get(name), source) for name in ("files", "about"))
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing from the package; copy the whole folder again")
        if _sha256(path) != digest:
            raise InputError(
                f"{path}: changed since it was packaged; copy the folder again, or package the model again"
            )
    return About.from_metadata(metadata, source=str(source))


def _texts(part: object, source: Path) -> dict[str, str]:
    if not isinstance(part, dict) or not all(isinstance(text, str) for text in part.values()):
        raise InputError(f"{source}: damaged; package the model again, or copy the folder again")
    return part


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        name = path.name
        if name.startswith((".", "events.")) or name in (MANIFEST, "lock", "__pycache__"):
            continue
        if path.is_dir():
            if not (path / "metrics.json").exists():  # a promotion of its own, of a front's member
                yield from _files(path)
        elif not (".checkpoint-" in name or name.endswith((".unrecordable.txt", ".lock", ".pyc", ".zip"))):
            yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

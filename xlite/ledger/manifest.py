"""study.json: its reader and writer. Paths inside the study's folder are relative there, and absolute to the reader."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from xlite.errors import InputError
from xlite.ledger.rdb import absolute_url, relative_url, sqlite_file, sqlite_url
from xlite.ledger.retry import shown_url, stored_url
from xlite.storage.files import read_json_object, write_json

FILE, OWN_DATABASE, BASELINES = "study.json", "study.db", "baselines"
IMMUTABLE = "meaning"
"""Key of the settings that decide what a study's numbers mean; the rest may change when it continues."""
_PATHS = ("folder", "space", "cache_dir", "teacher_files", "teacher_trained_on")


@dataclass(frozen=True)
class StudyManifest:
    """What study.json says; a part that is missing, or of another type, is empty.

    Attributes:
        file: study.json itself.
        name: by which the ledger knows the study, whatever its folder is called now.
        identity: 32 hex digits, the same in the ledger; "" where 0.1.0 wrote the file.
        storage: URL of the ledger, without password.
        settings: what decides what the study's numbers mean, flat.
        options, request: the study's options and its data request; paths are absolute.
        base: the flat configuration that trials start from.
        teacher, teacher_value: name and validation metric.
        gpu_share: the share of one GPU that a trial of the search holds.
        pixel_key: of the pixel cache.
        written_in: the study's folder as 0.1.0 recorded it.
    """

    file: Path
    name: str
    identity: str
    storage: str
    settings: Mapping[str, Any]
    options: Mapping[str, Any]
    request: Mapping[str, Any]
    base: Mapping[str, Any]
    teacher: str
    teacher_value: float | None
    gpu_share: float | None
    pixel_key: str
    written_in: Path | None

    @classmethod
    def read(cls, folder: Path) -> "StudyManifest | None":
        """Of the search or the baselines in `folder`; None for a folder without study.json.

        Raises:
            InputError: it cannot be read, is no JSON object, or names an invalid database.
        """
        file = folder / FILE
        if not file.exists():
            return None
        stored = read_json_object(file)
        options, request, teacher = (_object(stored.get(key)) for key in ("options", "request", "teacher"))
        is_baseline = options.get("phase") == "baseline"
        root = folder.parent if is_baseline else folder
        written_in = Path(_text(options["folder"])) if "folder" in options else None
        if written_in is not None and is_baseline:
            written_in = written_in.parent
        storage = _text(stored.get("storage"))
        storage = absolute_url(storage, root) if storage else ""
        database = sqlite_file(storage) if storage else None
        if database is not None and written_in is not None and database.is_relative_to(written_in):
            storage = sqlite_url(root / database.relative_to(written_in))
        return cls(
            file=file,
            name=_text(stored.get("name") or options.get("name")) or root.name,
            identity=_text(stored.get("identity")),
            storage=storage,
            settings=_object(stored.get(IMMUTABLE)),
            options=_with_paths(options, root, written_in),
            request=_with_paths(request, root, written_in),
            base=_object(stored.get("base")),
            teacher=_text(teacher.get("name")),
            teacher_value=_number(teacher.get("value")),
            gpu_share=_number(_object(stored.get("shares")).get("gpus_per_trial")),
            pixel_key=_text(stored.get("pixel_key")),
            written_in=written_in,
        )

    @classmethod
    def of_study(cls, root: Path) -> "StudyManifest | None":
        """Of the study in `root`: of its search, else of its baselines."""
        return cls.read(root) or cls.read(root / BASELINES)


def write_manifest(folder: Path, root: Path, values: Mapping[str, Any]) -> None:
    """Write study.json in `folder`; paths inside the study's folder `root` become relative to it."""
    write_json(folder / FILE, _json(values, root.resolve()))


def amend_manifest(folder: Path, **changes: str) -> None:
    """Change keys of the study.json in `folder`."""
    write_json(folder / FILE, {**read_json_object(folder / FILE), **changes})


def study_storage(root: Path) -> str:
    """URL of the ledger of the study in `root`: its own study.db, unless there is none and study.json names another.

    Raises:
        InputError: as `StudyManifest.read`.
    """
    own, manifest = root / OWN_DATABASE, StudyManifest.of_study(root)
    return sqlite_url(own) if own.exists() or manifest is None or not manifest.storage else manifest.storage


def storage_to_write(root: Path, given: str | None) -> str:
    """As `study_storage`, or `given`: the same with a password, that of a new study, or where the database is now.

    Raises:
        InputError: `given` is another one, though the study's own is still there.
    """
    known = study_storage(root)
    if given is None or stored_url(given) == stored_url(known):
        return given or known
    file = sqlite_file(known)
    if file is not None and file.exists():
        raise InputError(
            f"--storage {shown_url(given)}: the ledger of study {root.name} is {shown_url(known)}; leave out --storage"
        )
    return given


def portable_url(url: str, root: Path) -> str:
    """`url` as study.json stores it: without password, a file in `root` relative to it."""
    return relative_url(stored_url(url), root)


def _with_paths(values: Mapping[str, Any], root: Path, written_in: Path | None) -> dict[str, Any]:
    """`values` with their paths absolute; those inside `written_in` are inside `root` now."""

    def located(value: Any) -> Any:
        if isinstance(value, list):
            return [located(item) for item in value]
        if not isinstance(value, str):
            return value
        path = Path(value)
        return root / (path.relative_to(written_in) if written_in and path.is_relative_to(written_in) else path)

    return {key: located(value) if key in _PATHS else value for key, value in values.items()}


def _json(value: Any, root: Path) -> Any:
    """The same value as JSON holds it: paths as text, tuples as lists."""
    if isinstance(value, Mapping):
        return {key: _json(item, root) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, root) for item in value]
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Path):
        return value.relative_to(root).as_posix() if value.is_relative_to(root) else str(value)
    return value


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None

"""A study that is there already: where its parts are, and all of it as study.json describes it."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin

from xlite.commands.options import default_cache_dir, phantoms, prepare_and_tell
from xlite.config import RunConfig
from xlite.console import Console
from xlite.distill.teacher import Teacher
from xlite.errors import InputError
from xlite.gpu.state import check_gpu
from xlite.ledger import Ledger, StudyManifest, adopt, pair, storage_to_write
from xlite.study.options import Study, StudyOptions
from xlite.study.starting_weights import recorded_origins
from xlite.study.teacher import obtain_teacher
from xlite.tasks import find_task
from xlite.tasks.prepare import DataRequest, Prepared


@dataclass(frozen=True)
class Places:
    """Absolute paths of a study's parts, as a command names them; what is empty is where study.json says."""

    storage: str | None = None
    data: Path | None = None
    cache_dir: Path | None = None
    teacher: tuple[Path, ...] = ()

    @classmethod
    def named(cls, arguments: argparse.Namespace) -> "Places":
        """As the options say."""
        teacher = tuple(vars(arguments).get("teacher", ()))
        return cls(arguments.storage, arguments.data, arguments.cache_dir, teacher)


@dataclass(frozen=True)
class OpenedStudy:
    """An existing study with its data and ledger, and the key of the teacher it was searched with."""

    study: Study
    prepared: Prepared
    ledger: Ledger
    teacher_key: str | None


def reopen(folder: Path, console: Console, places: Places | None = None, *, writes: bool = False) -> OpenedStudy:
    """Open the study in `folder`.

    Args:
        writes: its ledger will be written, so it has to be this folder's own.

    Raises:
        InputError: there is none, its data is no longer what it was, folder and ledger are of different studies, or
            there is a GPU that cannot be used.
    """
    check_gpu()
    places, manifest = places or Places(), StudyManifest.read(folder)
    if manifest is None:
        raise InputError(f"study {folder.name}: there is no study.json in {folder}")
    storage = storage_to_write(folder, places.storage)  # as stored it has no password
    try:
        shared = {"cache_dir": places.cache_dir or _cache_dir(manifest)}
        teacher = places.teacher or manifest.options["teacher_files"]
        known = {"name": manifest.name, "folder": folder, "storage": storage, "teacher_files": teacher, **shared}
        options = StudyOptions(**_fields(StudyOptions, manifest.options, **known))
        base = RunConfig().override(manifest.base, source=str(manifest.file))
        requested = dict(manifest.request)
        requested.setdefault("column_overrides", requested.pop("stated", {}))  # as version 0.1.0 called them
        data = places.data or _data_dir(manifest)
        request = DataRequest(**_fields(DataRequest, requested, data=base.data, folder=data, **shared))
        meaning = {key: manifest.settings[key] for key in ("split", "data", "teacher")}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{manifest.file}: not what a search writes ({error!r}); restore it") from None
    if not request.folder.is_dir():
        raise InputError(f"study {folder.name}: no data in {request.folder}; name its folder with --data")
    if writes:
        pair(folder, folder, storage, name=options.name, settings=manifest.settings)
    prepared = prepare_and_tell(find_task(options.task), request, console)
    for what, now in (("split", prepared.full.split_hash), ("data", prepared.full.content_hash())):
        if now != meaning[what]:
            raise InputError(
                f"study {folder.name}: its {what} was {meaning[what]}, the files in {request.folder} give {now}; bring "
                "back what it began with (cp -a keeps the modification times, by which files are recognised)"
            )
    ledger = Ledger.open(storage, options.name, create=False, seed=options.seed)
    study = Study(options, prepared.task, base, recorded_origins(manifest))
    return OpenedStudy(study, prepared, ledger, meaning["teacher"])


def take_place(arguments: argparse.Namespace, folder: Path, console: Console) -> str:
    """Complete where things are, and options that a study keeps (data's, weights', the teacher's, objectives).

    They are those of the study in `folder`.

    Returns:
        The name by which the ledger knows the study.

    Raises:
        InputError: --storage is another database than the study's, or there is nothing to --adopt.
    """
    if arguments.adopt:
        adopt_and_tell(folder, arguments.storage, console)
        arguments.storage = None
    arguments.storage = storage_to_write(folder, arguments.storage)
    manifest = StudyManifest.of_study(folder)
    if manifest is None:
        return folder.name
    if arguments.data is None and "folder" in manifest.request and (data := _data_dir(manifest)).parent != phantoms():
        if not data.is_dir():
            raise InputError(f"study {folder.name}: no data in {data}; name its folder with --data")
        arguments.data = data
    arguments.cache_dir = arguments.cache_dir or _cache_dir(manifest)
    for option in ("teacher", "teacher_answers", "teacher_weights", "teacher_trained_on"):
        stored = "teacher_files" if option == "teacher" else option
        if option in arguments:
            given = getattr(arguments, option)
            setattr(arguments, option, given or manifest.options.get(stored, given))
    if arguments.guarantee_share is None:
        arguments.guarantee_share = manifest.request.get("guarantee_share")
    for option in ("objectives", "latency_device"):
        if option in arguments:
            setattr(arguments, option, getattr(arguments, option) or manifest.options.get(option))
    if arguments.pretrained == "auto":
        arguments.pretrained = manifest.options.get("pretrained", "auto")
    return manifest.name


def adopt_and_tell(folder: Path, storage: str | None, console: Console) -> None:
    """Make the study in `folder` one of its own, and say so."""
    identity = adopt(folder, storage_to_write(folder, storage))
    console.say(f"Study {folder.name} is now one of its own, {identity[:8]}, with its ledger in its folder")


def same_teacher(opened: OpenedStudy, console: Console) -> Teacher:
    """The teacher that the study was searched with.

    Raises:
        InputError: its files now hold another one.
    """
    teacher = obtain_teacher(opened.study, opened.prepared.full, console).teacher
    if teacher.key != opened.teacher_key:
        raise InputError(
            f"study {opened.study.options.root.name}: it was searched with teacher {opened.teacher_key}, this one is "
            f"{teacher.key}; bring back the teacher's files, in the order they were given in"
        )
    return teacher


def _cache_dir(manifest: StudyManifest) -> Path:
    """The study's, or the default place if that is gone: all in it can be made again."""
    known = manifest.options.get("cache_dir")
    return known if isinstance(known, Path) and known.is_dir() else default_cache_dir()


def _data_dir(manifest: StudyManifest) -> Path:
    """The study's; a built-in data set that is gone may have been moved with the home."""
    known = Path(manifest.request["folder"])
    moved = phantoms() / known.name
    return moved if moved.exists() and not known.exists() else known


def _fields(kind: type[Any], values: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """JSON values as the fields of `kind` want them: paths and tuples back."""
    out = {**values, **changed}
    for field in fields(kind):
        if field.type is Path:
            out[field.name] = Path(out[field.name])
        elif get_origin(field.type) is tuple and field.name in out:
            item = get_args(field.type)[0]
            out[field.name] = tuple(map(item, out[field.name]))
    return out

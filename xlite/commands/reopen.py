"""A study as study.json describes it, ready to be worked on again."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from xlite.commands import cli
from xlite.commands.options import prepare_and_tell
from xlite.console import Console
from xlite.distill.teacher import Teacher
from xlite.errors import InputError
from xlite.ledger import Ledger
from xlite.study.manifest import read_study
from xlite.study.options import Study, StudyOptions
from xlite.study.teacher import obtain_teacher
from xlite.tasks import find_task
from xlite.tasks.prepare import DataRequest, Prepared


@dataclass(frozen=True)
class OpenedStudy:
    """An existing study with its data and ledger, and the key of the teacher it was searched with."""

    study: Study
    prepared: Prepared
    ledger: Ledger
    teacher_key: str | None


def reopen(arguments: argparse.Namespace, console: Console) -> OpenedStudy:
    """Open the study named by --study and --results.

    Raises:
        InputError: there is none, or its data is no longer what it was.
    """
    from xlite.config import RunConfig

    folder = cli.study_folder(arguments.results.expanduser().resolve(), arguments.study)
    stored = read_study(folder)
    if stored is None:
        raise InputError(f"study {arguments.study}: there is no study.json in {folder}")
    try:
        storage = arguments.storage or stored["options"]["storage"]  # as stored it has no password
        options = StudyOptions(**_fields(StudyOptions, stored["options"], folder=folder, storage=storage))
        base = RunConfig().override(stored["base"], source=str(folder / "study.json"))
        requested = dict(stored["request"])
        requested.setdefault("column_overrides", requested.pop("stated", {}))  # as version 0.1.0 called them
        request = DataRequest(**_fields(DataRequest, requested, data=base.data))
        meaning = {key: stored["meaning"][key] for key in ("split", "data", "teacher")}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / 'study.json'}: not what a search writes ({error!r}); restore it") from None
    prepared = prepare_and_tell(find_task(options.task), request, console)
    for what, now in (("split", prepared.full.split_hash), ("data", prepared.full.content_hash())):
        if now != meaning[what]:
            raise InputError(
                f"study {arguments.study}: its {what} was {stored['meaning'][what]}, the files now give {now}; "
                "bring back what it began with"
            )
    ledger = Ledger.open(options.storage, options.name, create=False, seed=options.seed)
    return OpenedStudy(Study(options, prepared.task, base), prepared, ledger, meaning["teacher"])


def same_teacher(opened: OpenedStudy, console: Console) -> Teacher:
    """The teacher that the study was searched with.

    Raises:
        InputError: its files now hold another one.
    """
    teacher = obtain_teacher(opened.study, opened.prepared.full, console).teacher
    if teacher.key != opened.teacher_key:
        raise InputError(
            f"study {opened.study.options.name}: it was searched with teacher {opened.teacher_key}, this one is "
            f"{teacher.key}; bring back the teacher's files"
        )
    return teacher


def _fields(kind: type[Any], values: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """JSON values as the fields of `kind` want them: paths and tuples back."""
    out = {**values, **changed}
    for field in fields(kind):
        if field.type is Path:
            out[field.name] = Path(out[field.name])
        elif field.type == tuple[Path, ...]:
            out[field.name] = tuple(Path(file) for file in out[field.name])
    return out

"""From what a person names, a study, a trial or a folder, to a student that can be compared."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xlite.commands import cli
from xlite.commands.options import shown, study_command
from xlite.commands.reopen import OpenedStudy, reopen
from xlite.console import SilentConsole
from xlite.data.dataset import Dataset
from xlite.errors import InputError
from xlite.ledger import TrialRecord
from xlite.models.artifact import load_artifact
from xlite.predictor import load
from xlite.storage.files import fingerprint, read_json_object
from xlite.study.contestants import Contestant, final_of
from xlite.study.job import STUDENT, TrialFolders


@dataclass(frozen=True)
class Named:
    """A student as named.

    Attributes:
        root: its study's folder; None of a package without a study.
        trial: its number; None for what is promoted.
        package: the folder of its models.
    """

    name: str
    root: Path | None
    trial: int | None
    package: Path


def open_students(names: Sequence[str], results: Path, *, writes: bool) -> list[Contestant]:
    """Open every student; each study once.

    Args:
        writes: reads of test will be recorded in their ledgers.

    Raises:
        InputError: one of them is not there, or not what its study says.
    """
    found = [locate(name, results) for name in names]
    opened = {
        root: reopen(root, SilentConsole(), writes=writes)
        for root in dict.fromkeys(each.root for each in found)
        if root is not None
    }
    with_study = {place: _of_study(each, opened[each.root]) for place, each in enumerate(found) if each.root}
    return [
        with_study.get(place) or _without_study(each, list(with_study.values())) for place, each in enumerate(found)
    ]


def locate(name: str, results: Path) -> Named:
    """Where a student is.

    Raises:
        InputError: no such study, folder or package.
    """
    if match := re.fullmatch(r"([^/\\]+):(.*)", name):
        root = cli.existing_study_folder(results, match[1])
        if not match[2].isdecimal():
            raise InputError(f"{name}: after the colon goes a trial's number, e.g. {match[1]}:0")
        return Named(name, root, int(match[2]), TrialFolders(root).of(int(match[2])))
    folder = Path(name).expanduser().resolve()
    if "/" in name or (folder.is_dir() and not (results / name).is_dir()):
        if (folder / "study.json").is_file():
            return _promoted(name, folder)
        if not (folder / "metrics.json").is_file():
            raise InputError(f"{name}: no study (study.json) and no promoted student (metrics.json) is in that folder")
        promoted = folder.parent if folder.parent.name == "promoted" else folder  # a member of a front lies in it
        of_study = promoted.name == "promoted" and (promoted.parent / "study.json").is_file()
        return Named(name, promoted.parent if of_study else None, None, folder)
    return _promoted(name, cli.existing_study_folder(results, name))


def _promoted(name: str, root: Path) -> Named:
    if not (root / "promoted" / "metrics.json").is_file():
        if front := sorted((root / "promoted").glob("*/metrics.json")):
            members = ", ".join(shown(file.parent) for file in front)
            raise InputError(f"study {root.name} has promoted a front; name its members: {members}")
        raise InputError(
            f"study {root.name} has promoted nothing; run `{study_command('promote', root)}`, or name a trial: "
            f"{root.name}:0"
        )
    return Named(name, root, None, root / "promoted")


def _of_study(named: Named, opened: OpenedStudy) -> Contestant:
    rows = opened.ledger.rows()
    if named.trial is None:
        final = final_of(named.package, opened.ledger)
        return _with_costs(_contestant(named, opened, opened.prepared.full), final, rows)
    row = next((row for row in rows if row.number == named.trial), None)
    if row is None:
        raise InputError(f"{named.name}: the study has trials 0 to {len(rows) - 1}, and no trial {named.trial}")
    if not (named.package / f"{STUDENT}.safetensors").is_file():
        raise InputError(f"{named.name}: that trial is {row.state} and has kept no student; name another")
    return _with_costs(_contestant(named, opened, opened.prepared.search), row, ())


def _contestant(named: Named, opened: OpenedStudy, dataset: Dataset) -> Contestant:
    """The student on its study's data.

    Raises:
        InputError: its files are damaged, or of another split.
    """
    spec = opened.study.task.target_spec
    files, descriptions, size_mb = _package(named)
    for file, description in zip(files, descriptions, strict=True):
        if _base_split(description) != dataset.split_hash:
            raise InputError(
                f"{file}: made on split {_base_split(description)}, its study has {dataset.split_hash}; promote again"
            )
    predictor = load(named.package if named.trial is None else files[0], target_spec=spec)
    whole = opened.prepared.split_kind != "image"
    trained_on = fingerprint([dataset.split_hash, dataset.content_hash(), opened.teacher_key])
    return Contestant(
        named.name, predictor, descriptions, dataset, whole, spec, opened.ledger, trained_on, size_mb=size_mb
    )


def _without_study(named: Named, students: Sequence[Contestant]) -> Contestant:
    """A package without a study, on the data of a student that was made on the same split.

    Raises:
        InputError: there is none: nobody knows which images it has seen.
    """
    _, descriptions, size_mb = _package(named)
    for student in students:
        same = [
            student.descriptions[0].get(key) == descriptions[0].get(key) for key in ("preprocess", "labels", "task")
        ]
        if all(same) and _base_split(descriptions[0]) == student.dataset.split_hash:
            predictor = load(named.package, target_spec=student.target_spec)
            same_data = (student.dataset, student.whole_patients, student.target_spec)
            return Contestant(named.name, predictor, descriptions, *same_data, None, size_mb=size_mb)
    raise InputError(
        f"{named.name}: there is no study.json beside it, and no other student has its split and inputs: which images "
        "it was trained on is not known; compare it where its study is"
    )


def _package(named: Named) -> tuple[list[Path], tuple[Mapping[str, Any], ...], float]:
    """The weights' files, what each is described as, and the MB of all."""
    names = [f"{STUDENT}.safetensors"]
    if named.trial is None:
        file = named.package / "metrics.json"
        models = read_json_object(file).get("models")
        if not isinstance(models, list) or not models:
            raise InputError(f"{file}: it names no models; promote again")
        names = [str(model) for model in models]
    files = [named.package / name for name in names]
    return files, tuple(load_artifact(file)[1] for file in files), sum(file.stat().st_size for file in files) / 1e6


def _base_split(description: Mapping[str, Any]) -> str:
    """The split that a model, or its fold, comes from."""
    return str(description.get("split_hash")).partition("-fold")[0]


def _with_costs(student: Contestant, row: TrialRecord | None, search: Sequence[TrialRecord]) -> Contestant:
    """With what the ledger knows of it.

    Args:
        row: of the trial or the promotion.
        search: rows of the search that it is the winner of; () for a trial.
    """
    if row is None:
        return student
    summary = row.summary
    if row.promotion is not None and not summary.seconds:  # a trial's student, taken over with its costs
        summary = next((each.summary for each in search if each.number == row.promotion.promoted_from), summary)
    spent = [each.summary.device_seconds for each in search if each.summary.device_seconds]
    return replace(
        student,
        latency_ms=row.cost.latency_ms if row.cost else None,
        epochs=summary.epochs or None,
        device_s=summary.device_seconds,
        search_device_s=sum(spent) or None,
        device=summary.device,
    )

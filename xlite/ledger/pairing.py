"""Whether a study's folder and a database are of one study: compared before anything is written into either."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from xlite.errors import InputError
from xlite.ledger.manifest import (
    BASELINES,
    FILE,
    OWN_DATABASE,
    StudyManifest,
    amend_manifest,
    portable_url,
    study_storage,
)
from xlite.ledger.mark import Mark
from xlite.ledger.rdb import open_storage, sqlite_file, sqlite_url
from xlite.ledger.retry import Retry, shown_url, stored_url
from xlite.ledger.sisters import names_of
from xlite.ledger.study import Ledger
from xlite.storage.locks import locked


def open_to_read(root: Path, given: str | None = None) -> Ledger:
    """The search of the study in `root`, which need not be there if `given` names its database.

    Raises:
        InputError: no such study; the database holds another one than the folder.
    """
    manifest = StudyManifest.of_study(root)
    name = manifest.name if manifest else root.name
    ledger = Ledger.open(given or study_storage(root), name, create=False)
    if manifest is not None and ledger.mark.identity and manifest.identity:
        _check_identity(ledger, manifest.identity, root)
    return ledger


def pair(root: Path, folder: Path, storage: str, *, name: str, settings: Mapping[str, Any]) -> str:
    """Check that folder and database are of one study, and mark the database as this folder's.

    Args:
        root: the study's folder.
        folder: that of its search, which is `root`, or of its baselines.
        settings: what decides what its numbers mean, as asked for now.

    Returns:
        The study's identity, a new one for a new study. The database holds it if it holds the study.

    Raises:
        InputError: they are of different studies, or the folder is a copy and the database that of the original.
    """
    manifest, study = StudyManifest.read(folder), StudyManifest.of_study(root)
    identity = study.identity if study else ""
    ledger = Ledger.find(storage, name)
    if ledger is None:
        _check_nothing_lost(folder, storage, manifest)
        return identity or uuid.uuid4().hex
    with ledger:
        rows = ledger.rows() if folder == root else ledger.baselines()
        if not rows:
            _check_nothing_lost(folder, storage, None)
        mark = ledger.mark
        if mark.identity and identity:
            _check_identity(ledger, identity, root)
        elif folder == root:
            _check_settings(ledger, manifest.settings if manifest else settings, root)
        _check_owner(ledger, root, study)
        identity = mark.identity or identity or uuid.uuid4().hex
        claim(ledger, identity, root)
    if manifest is not None and manifest.identity != identity:
        amend_manifest(folder, identity=identity)
    return identity


def claim(ledger: Ledger, identity: str, root: Path) -> None:
    """Write into the database that its study is that of the folder `root`, so that `pair` can compare them."""
    ledger.set_mark(Mark(identity, None if _is_inside(ledger.url, root) else root.resolve()))


def adopt(root: Path, given: str | None) -> str:
    """Make the study in `root` one of its own; a ledger outside of `root` is copied into its own study.db.

    Interrupted, it can be repeated. The database that is copied from is only read.

    Args:
        given: URL of its database; None: where it is known to be.

    Returns:
        The new identity, which folder and database have.

    Raises:
        InputError: there is no study, a process runs it, or folder and database are of different studies.
    """
    manifest = StudyManifest.of_study(root)
    if manifest is None:
        raise InputError(f"--adopt: there is no {FILE} in {root}, so no study to take over; leave it out")
    storage, identity = given or study_storage(root), uuid.uuid4().hex
    try:
        with locked(root, waiting=None):
            with Ledger.open(storage, manifest.name, create=False) as ledger:
                if manifest.file.parent == root:
                    _check_settings(ledger, manifest.settings, root)
            if not _is_inside(storage, root):
                _copy_ledger(storage, manifest.name, root / OWN_DATABASE)
                storage = sqlite_url(root / OWN_DATABASE)
            with Ledger.open(storage, manifest.name, create=False) as ledger:
                claim(ledger, identity, root)
            for folder in (root, root / BASELINES):
                if (folder / FILE).exists():
                    amend_manifest(folder, identity=identity, storage=portable_url(storage, root))
    except BlockingIOError:
        raise InputError(f"--adopt: another process runs study {root.name}; let it end") from None
    return identity


def _check_nothing_lost(folder: Path, storage: str, manifest: StudyManifest | None) -> None:
    """Refuse a database that knows nothing of what is in the study's folder."""
    num_trials = sum(1 for _ in folder.glob("trials/[0-9]*"))
    if num_trials:
        raise InputError(
            f"{folder / 'trials'} holds {num_trials} trials, and {shown_url(storage)} none of this study; name its "
            "database with --storage, or choose another --study"
        )
    if manifest is not None and manifest.storage and manifest.storage != stored_url(storage):
        raise InputError(
            f"{manifest.file} names the database {shown_url(manifest.storage)}, and {shown_url(storage)} has no such "
            "study; leave out --storage, or choose another --study"
        )


def _check_identity(ledger: Ledger, identity: str, root: Path) -> None:
    found = ledger.mark.identity
    if found != identity:
        raise InputError(
            f"{root} is of study {identity[:8]}, the database {shown_url(ledger.url)} of study {found[:8]}; bring back "
            "the one that belongs to it, or choose another --study"
        )


def _check_settings(ledger: Ledger, settings: Mapping[str, Any], root: Path) -> None:
    """By these a study of 0.1.0, which has no identity, is recognised."""
    there = ledger.metadata
    different = [
        f"{key} {value!r} here, {there[key]!r} there"
        for key, value in settings.items()
        if key in there and there[key] != value and key != "space"  # which may be corrected, and has two hashes
    ]
    if different:
        raise InputError(
            f"{root} and the database {shown_url(ledger.url)} are of different studies: {'; '.join(different)}; bring "
            "back the one that belongs to it, or choose another --study"
        )


def _check_owner(ledger: Ledger, root: Path, study: StudyManifest | None) -> None:
    """Refuse to write into a database outside the folder while the folder it belongs to is still there."""
    owner = ledger.mark.folder or (study.written_in if study else None)
    if _is_inside(ledger.url, root) or owner is None or not owner.exists() or owner.samefile(root):
        return
    other = StudyManifest.of_study(owner)
    if other is not None and other.name == ledger.name and other.identity in ("", ledger.mark.identity):
        raise InputError(
            f"study {ledger.name} in {shown_url(ledger.url)} belongs to {owner}, not to {root}; --adopt makes a copied "
            "folder a study of its own, or choose another --study"
        )


def _is_inside(url: str, root: Path) -> bool:
    file = sqlite_file(url)
    return file is not None and file.resolve().is_relative_to(root.resolve())


def _copy_ledger(url: str, name: str, file: Path) -> None:
    """Copy a study with its baselines and promotions into a new SQLite file, which appears whole."""
    temporary = file.with_name(f".{file.name}.tmp")

    def copy_once() -> None:
        for path in file.parent.glob(f"{temporary.name}*"):  # of a process that was killed
            path.unlink()
        source = open_storage(url, create=False)
        target = open_storage(sqlite_url(temporary), create=True)
        assert source is not None and target is not None
        try:
            for study in names_of(source, name):
                optuna.copy_study(from_study_name=study, from_storage=source, to_storage=target)
        finally:
            for storage in (source, target):
                storage.remove_session()
                storage.engine.dispose()

    Retry(url)(copy_once)
    for path in file.parent.glob(f"{file.name}-*"):  # a journal left of a moved database would be read into this one
        path.unlink()
    temporary.replace(file)

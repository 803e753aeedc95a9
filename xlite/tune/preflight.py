"""Everything outside that a study needs, tried before data, survey and teacher. Imports no Ray."""

import os
from collections.abc import Callable

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.distill.teacher import check_file
from xlite.errors import InputError
from xlite.ledger.rdb import open_storage, sqlite_file
from xlite.ledger.retry import Retry
from xlite.storage.folders import check_folder
from xlite.study.options import Study, StudyOptions
from xlite.study.plan import open_space
from xlite.study.starting_weights import study_origins
from xlite.tasks.target_spec import TARGET_SPECS
from xlite.tasks.task import Task
from xlite.tune.address import prepare_to_join
from xlite.tune.session import session_place


def check_surroundings(options: StudyOptions, task: Task, say: Callable[[str], None]) -> None:
    """Try folders, disks, database, teachers, cluster and weights; each has a time limit.

    Nothing is left behind but weights in their cache and, on a database server, Optuna's tables. Must come before Ray
    is imported, see `prepare_to_join`.

    Args:
        say: called with a line when the database has to be waited for.

    Raises:
        InputError: the first of them that cannot be used, and what to do.
    """
    elsewhere = "name another folder with {}, or with XLITE_HOME for all data and results"
    check_folder(options.folder, elsewhere.format("--results"))
    check_folder(options.cache_dir, elsewhere.format("--cache-dir"))
    _check_database(options, say)
    for file in options.teacher_files:
        check_file(file, options.teacher_answers, choose_device())
    if options.address is None:
        check_folder(session_place(), "set TMPDIR to another folder")
    else:
        prepare_to_join(options.address)
    _check_weights(options, task)


def _check_database(options: StudyOptions, say: Callable[[str], None]) -> None:
    url = options.storage
    on_server = not url.startswith("sqlite")  # where the right to create tables is part of the question
    storage = open_storage(url, create=on_server, retry=Retry(url, on_wait=say))
    if storage is not None:
        storage.engine.dispose()
    file = sqlite_file(url)
    if file is None or options.folder.is_relative_to(file.parent):
        return
    if not file.parent.is_dir() or (file.exists() and not os.access(file, os.W_OK)):
        problem = "cannot be written" if file.exists() else "no such folder"
        raise InputError(f"--storage {file if file.exists() else file.parent}: {problem}; name another place")
    check_folder(file.parent, "name another place with --storage")


def _check_weights(options: StudyOptions, task: Task) -> None:
    """What the space's models and the default teacher start from.

    Where the data decides the kind of targets, they are refused here only if there are none for any kind that the space
    is for; `plan_study` checks the right one.
    """
    if task.declared_target_spec is not None:
        study_origins(*_searched(options, task))
        return
    refused = None
    for kind in TARGET_SPECS:
        try:
            searched = _searched(options, task.resolve_targets(kind))
        except InputError:
            continue
        try:
            study_origins(*searched)
            return
        except InputError as error:
            refused = error
    if refused is not None:
        raise refused


def _searched(options: StudyOptions, task: Task) -> tuple[Study, list[RunConfig]]:
    """The study and configurations drawn from its space."""
    study = Study(options, task, options.configure(task))
    return study, open_space(study)[1]

"""Optuna's studies of one of ours: the search's own, its promotions, its baselines."""

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from xlite.ledger.records import RECORD

FINAL, BASELINE = RESERVED = (".final", ".baseline")
"""Suffixes of sister studies, which the search's sampler never sees."""
_TOKEN = "xlite:token"
"""Key that identifies a promotion, so that one whose commit went unanswered is not added twice."""


def names_of(storage: optuna.storages.RDBStorage, name: str) -> list[str]:
    """The names, in the database, of a study and of those of its sister studies that are there."""
    there = optuna.get_all_study_names(storage)
    return [each for each in (name, *(name + suffix for suffix in RESERVED)) if each in there]


def load(storage: optuna.storages.RDBStorage, name: str) -> optuna.Study:
    return optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)


def name_value(study: optuna.Study, metric: str) -> None:
    """Tell Optuna and its dashboard what a trial's value is, unless they have been told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if study.metric_names is None:
            study.set_metric_names([f"val_{metric}"])


def add_once(
    storage: optuna.storages.RDBStorage,
    name: str,
    record: Mapping[str, Any],
    value: float,
    token: str,
    metric: str | None,
) -> FrozenTrial:
    """The trial with this token in the sister study `name`, added unless it is there."""
    study = load(storage, name)
    if metric is not None:
        name_value(study, metric)
    if not (added := [trial for trial in study.trials if trial.system_attrs.get(_TOKEN) == token]):
        study.add_trial(
            optuna.trial.create_trial(value=value, user_attrs={RECORD: dict(record)}, system_attrs={_TOKEN: token})
        )
        added = [trial for trial in study.trials if trial.system_attrs.get(_TOKEN) == token]
    return added[0]


def trials_of(storage: optuna.storages.RDBStorage, name: str) -> list[FrozenTrial]:
    """The trials of a sister study, by number; none where it is not there."""
    return load(storage, name).trials if name in optuna.get_all_study_names(storage) else []

"""A new study that begins with the best configurations of another."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from xlite.console import Console
from xlite.errors import InputError
from xlite.ledger import Ledger, TrialRecord, open_to_read, ranking_key
from xlite.study.options import StudyOptions
from xlite.study.space import SearchSpace

NUM_TAKEN = 5
"""Configurations taken from the other study; the sampler has the rest of the budget to itself."""


def warm_up(ledger: Ledger, space: SearchSpace, options: StudyOptions, console: Console) -> None:
    """Queue what a new study runs first: the space's own, then the best of `options.warm_start`.

    Raises:
        InputError: there is no such study, or it has nothing that this space could propose.
    """
    own: list[Mapping[str, Any]] = list(space.first)
    notes: list[str | None] = [None] * len(own)
    if options.warm_start:
        taken = best_of_other(space, _rows(options, options.warm_start))
        if not taken:
            raise InputError(
                f"--warm-start {options.warm_start}: it has no configuration that {space.path} could propose"
            )
        fresh = [(row, chosen) for row, chosen in taken if chosen not in own]
        own += [chosen for _, chosen in fresh]
        notes += [f"trial {row.number} of {options.warm_start}" for row, _ in fresh]
        numbers = ", ".join(str(row.number) for row, _ in taken)
        console.say(f"Starting with trials {numbers} of {options.warm_start}")
    ledger.queue(own, notes)


def best_of_other(space: SearchSpace, rows: Sequence[TrialRecord]) -> list[tuple[TrialRecord, dict[str, Any]]]:
    """The best finished rows that `space` could have proposed, best first, each with the parameters to enqueue."""
    if space.is_grid:
        raise InputError(f"{space.path}: a grid runs its own configurations; --warm-start is for a search")
    finished = sorted((row for row in rows if row.state in ("complete", "pruned")), key=ranking_key)
    taken: list[tuple[TrialRecord, dict[str, Any]]] = []
    for row in finished:
        chosen = _fitting(space, row.overrides)
        if chosen is not None and all(chosen != other for _, other in taken):
            taken.append((row, chosen))
        if len(taken) == NUM_TAKEN:
            break
    return taken


def _fitting(space: SearchSpace, overrides: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of `overrides`, what the space would suggest; None if it cannot suggest them."""
    trial = optuna.trial.FixedTrial(dict(overrides))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a value out of range is only a warning to Optuna
        try:
            space.propose(trial)  # type: ignore[arg-type]  # it has every suggest_ method of a trial
        except (ValueError, UserWarning):
            return None
    return dict(trial.params)


def _rows(options: StudyOptions, name: str) -> list[TrialRecord]:
    other = options.root.parent / name
    if not (other / "study.json").exists():
        raise InputError(f"--warm-start {name}: there is no study.json in {other}")
    with open_to_read(other) as ledger:
        return ledger.rows()

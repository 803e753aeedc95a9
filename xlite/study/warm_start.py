"""A new study that begins with the best configurations of another."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from xlite.console import Console
from xlite.errors import InputError, SpaceError
from xlite.ledger import Ledger, TrialRecord, open_to_read, ranking_key
from xlite.study.candidates import Candidates
from xlite.study.options import StudyOptions
from xlite.study.space import SearchSpace

NUM_TAKEN = 5
"""Configurations taken from the other study; the sampler has the rest of the budget to itself."""


def warm_up(ledger: Ledger, candidates: Candidates, console: Console) -> None:
    """Queue what a new study runs first: the space's own, then the best of another study that train something else.

    Raises:
        InputError: there is no such study, or it has nothing that this space could propose.
    """
    name, first = candidates.study.options.warm_start, candidates.space.first
    taken = best_of_other(candidates, _rows(candidates.study.options, name), name, console) if name else []
    notes = [*(None for _ in first), *(f"trial {row.number} of {name}" for row, _ in taken)]
    ledger.queue([*first, *(chosen for _, chosen in taken)], notes)


def best_of_other(
    candidates: Candidates, rows: Sequence[TrialRecord], name: str, console: Console
) -> list[tuple[TrialRecord, dict[str, Any]]]:
    """The best finished rows that the space could have proposed, best first, each with the configuration to enqueue.

    Rows that train the same as the space's own first configurations, or as a better row, are left out.

    Raises:
        InputError: the space is a grid, or it could have proposed no row.
    """
    space = candidates.space
    if space.is_grid:
        raise InputError(f"{space.path}: a grid runs its own configurations; --warm-start is for a search")
    finished = sorted((row for row in rows if row.state in ("complete", "pruned")), key=ranking_key)
    known = {candidates.identity(chosen) for chosen in space.first}
    taken: list[tuple[TrialRecord, dict[str, Any]]] = []
    repeats: list[int] = []
    for row in finished:
        chosen = _fitting(space, row.overrides)
        if chosen is None:
            continue
        if (identity := candidates.identity(chosen)) in known:
            repeats.append(row.number)
            continue
        known.add(identity)
        taken.append((row, chosen))
        if len(taken) == NUM_TAKEN:
            break
    if not taken and not repeats:
        raise InputError(f"--warm-start {name}: it has no configuration that {space.path} could propose")
    if taken:
        console.say(f"Starting with trials {', '.join(str(row.number) for row, _ in taken)} of {name}")
    if repeats:
        console.say(f"Left out, since they train the same as others: trials {', '.join(map(str, repeats))} of {name}")
    return taken


def _fitting(space: SearchSpace, overrides: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the space would propose with `overrides`; None if it cannot suggest them."""
    trial = optuna.trial.FixedTrial(dict(overrides))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a value out of range is only a warning to Optuna
        try:
            return space.propose(trial)  # type: ignore[arg-type]  # it has every suggest_ method of a trial
        except SpaceError:
            return None


def _rows(options: StudyOptions, name: str) -> list[TrialRecord]:
    other = options.root.parent / name
    if not (other / "study.json").exists():
        raise InputError(f"--warm-start {name}: there is no study.json in {other}")
    with open_to_read(other) as ledger:
        return ledger.rows()

"""One row of the ledger, and the rule by which rows are ranked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from xlite.samplers.sampling import FIXED

Phase = Literal["search", "baseline", "final"]
State = Literal["complete", "pruned", "running", "waiting", "failed"]
_ORDER: tuple[State, ...] = ("complete", "pruned", "running", "waiting", "failed")
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a search or of a set of baselines, or one promotion; each phase is numbered by itself."""

    number: int
    phase: Phase
    state: State
    value: float | None  # the best epoch's; None while it runs and when it failed
    overrides: dict[str, Any] = field(default_factory=dict)  # dotted configuration keys it changes
    curve: dict[int, float] = field(default_factory=dict)  # epoch (from 1) -> best value so far
    record: dict[str, Any] = field(default_factory=dict)  # all else; the keys are leaderboard.py's
    started: datetime | None = None  # local time
    finished: datetime | None = None


def ranking_key(row: TrialRecord) -> tuple[int, int, float, int]:
    """Sorts search rows best first, rows of different fidelity never as equals.

    Complete rows by value; below them pruned ones, those that reached more epochs first, then by value; then what runs,
    waits or failed. The earlier trial wins a tie.
    """
    reached = max(row.curve, default=0) if row.state == "pruned" else 0
    value = -math.inf if row.value is None else row.value
    return _ORDER.index(row.state), -reached, -value, row.number


def best_of(rows: Sequence[TrialRecord]) -> TrialRecord | None:
    """The winner, promotions aside: a complete row while there is one, else the best pruned one, else None."""
    finished = [row for row in rows if row.phase != "final" and row.state in ("complete", "pruned")]
    return min(finished, key=ranking_key, default=None)


def row_of(trial: FrozenTrial, phase: Phase) -> TrialRecord:
    """Optuna's trial as a row."""
    record = dict(trial.user_attrs.get("record", {}))
    if "note" in trial.user_attrs:
        record["notes"] = [trial.user_attrs["note"], *record.get("notes", [])]
    overrides = trial.user_attrs.get("overrides") or trial.system_attrs.get(FIXED) or trial.params
    return TrialRecord(
        number=trial.number,
        phase=phase,
        state=STATES[trial.state],
        value=trial.value,
        overrides=dict(overrides),
        curve=dict(sorted(trial.intermediate_values.items())),
        record=record,
        started=trial.datetime_start,
        finished=trial.datetime_complete,
    )

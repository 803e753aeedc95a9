"""One row of the ledger, what is stored of it, and the rule by which rows are ranked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from xlite.ledger.reads import TestRead
from xlite.models.limits import Cost
from xlite.samplers.sampling import FIXED
from xlite.train.summary import NO_RUN, VERSION, EvaluationSummary, RunSummary, adapter, is_current, parse

Phase = Literal["search", "baseline", "final"]
Outcome = Literal["complete", "pruned", "failed"]
State = Literal["complete", "pruned", "running", "waiting", "failed"]
RECORD, QUEUE_NOTE = "record", "note"
"""Optuna's user attributes that hold a trial's result, and the note it was queued with."""
_ORDER: tuple[State, ...] = ("complete", "pruned", "running", "waiting", "failed")
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}

OUTCOMES: dict[State, TrialState] = {state: known for known, state in STATES.items()}


@dataclass(frozen=True)
class CandidateRecord:
    """A configuration that was trained again with several seeds before one was promoted.

    Attributes:
        trial: which found it.
        search_value: its validation value in the search, which had a part in choosing it.
        values: of the retrained models, one for each seed.
        verdict: "chosen" for the one that is promoted; "tied" where its 95% interval does not tell it from the one with
            the highest mean, which is "tied" too where a smaller one was chosen; else "worse".
        difference: the highest mean minus this one's, and its interval; None for the one with the highest mean.
    """

    trial: int
    search_value: float
    values: tuple[float, ...]
    verdict: Literal["chosen", "tied", "worse"]
    difference: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class PromotionRecord:
    """What a promotion has beside the summary of its run.

    Attributes:
        identity: hash of all that it is a function of.
        promoted_from: number of the trial whose configuration it has.
        thresholds: the method by which they were chosen.
        test: metrics on the test split; interval: 95% interval of the task's metric there, None where
            none is claimed.
        reads_of_test: how often the study had read the test split, this time included.
        folds: the validation value of each fold's model; none where all the training data was one part.
        seeds: that the candidates were trained with; the models with the first one are promoted. None: no candidates.
        candidates: best mean first.
        test_values: on test, of the promoted configuration with each seed.
    """

    identity: str
    promoted_from: int
    thresholds: str
    test: EvaluationSummary
    interval: tuple[float | None, float | None]
    reads_of_test: int
    folds: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    candidates: tuple[CandidateRecord, ...] = ()
    test_values: tuple[float, ...] = ()

    @property
    def candidate(self) -> CandidateRecord | None:
        """The one of `candidates` that is promoted; None where there were none."""
        return next((each for each in self.candidates if each.verdict == "chosen"), None)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What the ledger stores of a trial when it ends, beside its value and curve; all of it may be missing.

    Attributes:
        summary: of the run; of a promotion by folds that of the first model, with the metrics of all together.
        cost: of the student; of a promotion that of all its models.
        reason: why it failed; "" where it did not.
        left_out: it was never run, since its student is above a limit.
        notes: lines for a person on how it was run, e.g. again with more memory.
        promotion: None for a trial.
    """

    summary: RunSummary = NO_RUN
    cost: Cost | None = None
    reason: str = ""
    left_out: bool = False
    notes: tuple[str, ...] = ()
    promotion: PromotionRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values, "version" among them; attributes with their default are left out. `from_json` reads them."""
        return {"version": VERSION, **adapter(TrialResult).dump_python(self, exclude_defaults=True)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, source: str) -> "TrialResult":
        """What this version or the first wrote; `source` names it in an error.

        Raises:
            InputError: a value has the wrong type, or a later version wrote it.
        """
        return parse(TrialResult, values if is_current(values, source) else _nested(values, source), source)


NO_RESULT = TrialResult()


def _nested(flat: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A record of the first version, which had the keys of all parts side by side and all notes in one list."""
    test = flat.get("test")
    promotion = (
        {
            "identity": flat.get("promotion"),
            "promoted_from": flat.get("promoted_from"),
            "thresholds": flat.get("thresholds"),
            "test": EvaluationSummary.from_json(test, source=source),
            "interval": test.get("interval_95"),
            "reads_of_test": test.get("reads_of_test_in_this_study"),
            "folds": [fold["value"] for fold in flat.get("folds", ())],
        }
        if test
        else None
    )
    return {**flat, "summary": RunSummary.from_json(flat, source=source), "notes": (), "promotion": promotion}


@dataclass(frozen=True)
class TrialRecord(TrialResult):
    """One trial of a search or of a set of baselines, or one promotion; each phase is numbered by itself."""

    number: int
    phase: Phase
    state: State
    value: float | None  # the best epoch's; None while it runs and when it failed
    overrides: dict[str, Any] = field(default_factory=dict)  # dotted configuration keys it changes
    curve: dict[int, float] = field(default_factory=dict)  # epoch (from 1) -> best value so far
    started: datetime | None = None  # local time
    finished: datetime | None = None
    queue_note: str = ""  # what it was queued with


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


def read_by(promotion: TrialRecord) -> TestRead | None:
    """The reading of test that a promotion was; who read is not in its record."""
    if promotion.promotion is None:
        return None
    when = promotion.finished.isoformat(timespec="seconds") if promotion.finished else ""
    return TestRead(promotion.promotion.identity, when, "", f"promotion of trial {promotion.promotion.promoted_from}")


def row_of(trial: FrozenTrial, phase: Phase) -> TrialRecord:
    """Optuna's trial as a row."""
    record = trial.user_attrs.get(RECORD)
    result = TrialResult.from_json(record, source=f"trial {trial.number}") if record else NO_RESULT
    overrides = trial.user_attrs.get("overrides") or trial.system_attrs.get(FIXED) or trial.params
    return TrialRecord(
        number=trial.number,
        phase=phase,
        state=STATES[trial.state],
        value=trial.value,
        overrides=dict(overrides),
        curve=dict(sorted(trial.intermediate_values.items())),
        started=trial.datetime_start,
        finished=trial.datetime_complete,
        queue_note=trial.user_attrs.get(QUEUE_NOTE, ""),
        **vars(result),
    )

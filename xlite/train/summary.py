"""The record of a run beside its weights: its types, their writer and their reader.

Imports no PyTorch, since the ledger and the report read summaries.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from xlite.config import first_problem
from xlite.errors import InputError
from xlite.metrics.multilabel import DeadLabels, Evaluation, find_dead_labels

VERSION = 2
"""Of the record; the first version had no number, and no `dead_labels` but a note."""

Numbers = dict[str, int | float | None]
"""By name, to six decimals; None for NaN and infinities, which JSON does not have."""
T = TypeVar("T")
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


@dataclass(frozen=True, kw_only=True)
class EvaluationSummary:
    """An evaluation as it is recorded.

    Attributes:
        metrics: averaged over the labels, by name.
        per_label: label -> metrics and counts by name.
        undefined: the labels with one class only, left out of every macro average.
        notes: lines to show, including one on dead labels.
        dead_labels: None if there are none.
    """

    metrics: Numbers = field(default_factory=dict)
    per_label: dict[str, Numbers] = field(default_factory=dict)
    undefined: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    dead_labels: DeadLabels | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values, under the names of the attributes, and "version"; `from_json` reads them."""
        return {"version": VERSION, **adapter(type(self)).dump_python(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """The inverse of `to_json`, of this version or the first; other keys are ignored. `source`: for errors.

        Raises:
            InputError: a value has the wrong type, or a later version wrote it.
        """
        summary = parse(cls, values, source)
        if is_current(values, source):
            return summary
        return replace(summary, dead_labels=find_dead_labels(summary.metrics, summary.per_label))


@dataclass(frozen=True, kw_only=True)
class RunSummary(EvaluationSummary):
    """A run after its last epoch, with the evaluation of its best epoch. With 0 epochs nothing else is known.

    Attributes:
        config: flat, by dotted key.
        device: its name; "cpu" for the CPU.
        epochs: trained.
        curve: the task's metric on validation after each of them.
        seconds: in total; seconds_by_kind: "data", "step", "evaluation", ...
        device_seconds: on a CPU: CPU time of the process, all its threads together; on a GPU: seconds times the share
            of it that the run held. None where not known.
        best_epoch: 1-based, 0 before the first.
        train_loss, train_parts (terms of the loss), val_loss, images_per_s: at the best epoch, as in `EpochReport`.
        gap: there, the metric on training minus that on validation.
        step_notes: a line for each way in which steps were taken otherwise than asked, e.g. in micro-batches.
    """

    config: dict[str, Any] = field(default_factory=dict)
    device: str = ""
    epochs: int = 0
    curve: tuple[Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)], ...] = ()
    seconds: float = 0.0
    seconds_by_kind: dict[str, float] = field(default_factory=dict)
    device_seconds: float | None = None
    best_epoch: int = 0
    train_loss: float | None = None
    train_parts: Numbers = field(default_factory=dict)
    val_loss: float | None = None
    gap: float | None = None
    images_per_s: float | None = None
    step_notes: tuple[str, ...] = ()

    @property
    def best_value(self) -> float:
        """The task's metric at the best epoch."""
        return self.curve[self.best_epoch - 1]

    def with_step_notes(self, notes: Iterable[str]) -> "RunSummary":
        """The same run with these notes too, each once."""
        return replace(self, step_notes=tuple(dict.fromkeys([*self.step_notes, *notes])))

    def with_seconds(self, spent: Mapping[str, float]) -> "RunSummary":
        """The same run with more seconds of some kinds."""
        kinds = dict(self.seconds_by_kind)
        for kind, seconds in spent.items():
            kinds[kind] = round(kinds.get(kind, 0.0) + seconds, 6)
        return replace(self, seconds=round(sum(kinds.values()), 6), seconds_by_kind=kinds)


NO_RUN = RunSummary()
"""The summary of a trial without a finished epoch."""


def summary_of(evaluation: Evaluation) -> EvaluationSummary:
    """An evaluation as it is recorded."""
    dead = evaluation.dead_labels
    return EvaluationSummary(
        metrics=finite(evaluation.scalars),
        per_label=finite(evaluation.per_label),
        undefined=evaluation.undefined,
        notes=(*evaluation.notes, *([dead.note] if dead else [])),
        dead_labels=dead,
    )


def finite(value: Any) -> Any:
    """The same JSON value with floats rounded to six decimals, and None for every NaN and infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, float | np.floating):  # a task of one's own may give any of NumPy's
        return round(float(value), 6) if math.isfinite(value) else None
    return value


def is_current(values: Mapping[str, Any], source: str) -> bool:
    """Whether a record is of this version, not of the first.

    Raises:
        InputError: a later version wrote it.
    """
    version = values.get("version", 1)
    if version not in (1, VERSION):
        raise InputError(
            f"{source}: its record has version {version}, this X-Lite reads up to {VERSION}; update X-Lite"
        )
    return version == VERSION


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """Pydantic's reader and writer of a dataclass, made once."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def parse(kind: type[T], values: Mapping[str, Any], source: str) -> T:
    """JSON values as a dataclass.

    Raises:
        InputError: a value has the wrong type; `source` and the key are named.
    """
    try:
        return adapter(kind).validate_python(values)
    except ValidationError as error:
        raise InputError(f"{source}: its record cannot be read: {first_problem(error)}") from None

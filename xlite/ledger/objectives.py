"""The objectives of a study: what its rows reached in each, their front and its knee."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from optuna.trial import FrozenTrial

from xlite.ledger.records import TrialRecord, TrialResult, best_of, row_of
from xlite.models.limits import Cost
from xlite.samplers.pareto import front_ranks, knee

Direction = Literal["max", "min"]
COSTS: Mapping[str, str] = {"latency_ms": "latency_ms", "size_mb": "size_mb", "params": "num_params"}
"""Objectives that a student costs, each to be low: name -> attribute of `Cost`."""


@dataclass(frozen=True)
class Objective:
    """One objective: a scalar of validation, or one of COSTS; `direction`: whether it is to be high or low."""

    name: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.name}:{self.direction}"

    @property
    def is_cost(self) -> bool:
        """Whether it is known before training."""
        return self.name in COSTS

    def of_cost(self, cost: Cost | None) -> float | None:
        """What a student costs; None where it was not measured."""
        return None if cost is None else getattr(cost, COSTS[self.name])

    def of(self, result: TrialResult) -> float | None:
        """What a trial reached, at its best epoch; None where it was not measured."""
        return self.of_cost(result.cost) if self.is_cost else result.summary.metrics.get(self.name)

    def upward(self, value: float | None) -> float:
        """`value` as it is to be maximised; -inf of None."""
        return -np.inf if value is None else float(value) if self.direction == "max" else -float(value)


Objectives = tuple[Objective, ...]
"""The score first; () in a study of one objective."""


def objectives_of(texts: Iterable[str]) -> Objectives:
    """Those that a study recorded, each as "name:direction"."""
    pairs = (text.rsplit(":", 1) for text in texts)
    return tuple(Objective(name, "max" if direction == "max" else "min") for name, direction in pairs)


def others_of(result: TrialResult, objectives: Objectives) -> tuple[float, ...]:
    """All objectives of a trial but the first, upward; -inf where one was not measured."""
    return tuple(each.upward(each.of(result)) for each in objectives[1:])


def recorded_others(trials: Sequence[FrozenTrial], objectives: Objectives) -> dict[int, tuple[float, ...]]:
    """`others_of` by number, of a study's trials as Optuna keeps them; {} of a study of one objective."""
    return {trial.number: others_of(row_of(trial, "search"), objectives) for trial in trials} if objectives else {}


def costs_of(cost: Cost | None, objectives: Objectives) -> tuple[float, ...]:
    """Those that are costs, upward: what is known of a trial from its start."""
    return tuple(each.upward(each.of_cost(cost)) for each in objectives if each.is_cost)


def scalars_of(result: TrialResult, objectives: Objectives) -> dict[str, float]:
    """What TensorBoard shows of a trial beside its score, by tag; what was not measured is left out."""
    reached = {each: each.of(result) for each in objectives[1:]}
    return {tag_of(each): value for each, value in reached.items() if value is not None}


def tag_of(objective: Objective) -> str:
    """An objective's tag in TensorBoard."""
    return f"objective/{objective.name}"


def values_of(row: TrialRecord, objectives: Objectives) -> dict[str, float | None]:
    """A row's objectives by name; of a row without a value all but the costs are None."""
    others = {each.name: each.of(row) for each in objectives[1:]}
    return {objectives[0].name: row.value, **others} if objectives else {}


def ranks_of(rows: Sequence[TrialRecord], objectives: Objectives) -> dict[int, int]:
    """The rank by domination of each trial that may win, by number: 1 is the front.

    Those are the complete ones, or where there is none the pruned ones, with every objective measured: what a stopped
    trial would have reached is not known, and rows of different fidelity are not ranked as equals.
    """
    if not objectives:
        return {}
    rows = [row for row in rows if row.phase == "search" and row.value is not None]
    ended = [row for row in rows if row.state == "complete"] or [row for row in rows if row.state == "pruned"]
    measured = [row for row in ended if None not in values_of(row, objectives).values()]
    ranks = front_ranks(points_of(measured, objectives))
    return {row.number: int(rank) for row, rank in zip(measured, ranks, strict=True)}


def front_of(rows: Sequence[TrialRecord], objectives: Objectives) -> list[TrialRecord]:
    """The rows that no other dominates, the highest score first; the earlier trial first of equal ones."""
    ranks = ranks_of(rows, objectives)
    front = [row for row in rows if row.phase == "search" and ranks.get(row.number) == 1]
    return sorted(front, key=lambda row: (-(row.value or 0.0), row.number))


def knee_of(rows: Sequence[TrialRecord], objectives: Objectives) -> TrialRecord | None:
    """The row of the front where the score pays most, see `pareto.knee`; None without a front."""
    front = front_of(rows, objectives)
    return front[knee(points_of(front, objectives))] if front else None


def winner_of(rows: Sequence[TrialRecord], objectives: Objectives) -> TrialRecord | None:
    """The knee of several objectives, else the best row by `best_of`."""
    return knee_of(rows, objectives) or best_of(rows)


def points_of(rows: Sequence[TrialRecord], objectives: Objectives) -> np.ndarray:
    """(N, K) float: the objectives of rows, upward; -inf where one was not measured."""
    points = []
    for row in rows:
        values = values_of(row, objectives)
        points.append([each.upward(values[each.name]) for each in objectives])
    return np.array(points, dtype=np.float64).reshape(len(rows), len(objectives))

"""Which of several retrained candidates is promoted: "better" only where seeds and patients say so."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xlite.ledger import CandidateRecord
from xlite.metrics.differences import paired_difference
from xlite.metrics.resampling import Weighted
from xlite.promotion.retrain import Retrained
from xlite.report.sections import counted, mean_and_spread
from xlite.tasks.target_spec import TargetSpec


@dataclass(frozen=True)
class Chosen:
    """How the promoted configuration came out among the candidates.

    Attributes:
        identity: hash of all that the choice, and with it the promotion, is a function of.
        seeds: the candidates' seeds; the models with the first one ship.
        records: of the candidates, best mean first.
        other_seeds: folders of the same configuration's models with the other seeds.
        seconds: spent on training them all, beyond the search.
    """

    identity: str
    seeds: tuple[int, ...]
    records: tuple[CandidateRecord, ...]
    other_seeds: tuple[Path, ...]
    seconds: float

    @property
    def record(self) -> CandidateRecord:
        """Of the promoted one."""
        (chosen,) = [record for record in self.records if record.verdict == "chosen"]
        return chosen

    def describe(self, metric: str, test_values: Sequence[float]) -> list[str]:
        """Lines for a person: how the candidates compare, and how much of the promoted one's value was luck."""
        best, chosen, lines = self.records[0], self.record, []
        for other in self.records[1:]:
            assert other.difference is not None
            mean, low, high = other.difference
            told = "better than" if other.verdict == "worse" else "tied with"
            interval = f"{mean:+.4f}, 95% interval {low:+.4f} to {high:+.4f}"
            lines.append(f"Trial {best.trial} is {told} trial {other.trial} ({interval})")
        if chosen is not best:
            lines.append(f"Trial {chosen.trial} is promoted: of those that are tied the smallest, then the fastest")
        retrained, test = mean_and_spread(chosen.values), mean_and_spread(test_values)
        lines.append(
            f"Trial {chosen.trial}, {metric}: {chosen.search_value:.4f} in search, {retrained} retrained, {test} on "
            f"test ({counted(len(self.seeds), 'seed')})"
        )
        return lines

    def to_json(self, test_values: Sequence[float]) -> dict[str, Any]:
        """For metrics.json. `test_values`: on test, of the promoted configuration with each seed."""
        chosen = self.record
        return {
            "seeds": list(self.seeds),
            "search_value": round(chosen.search_value, 6),
            "retrained_values": [round(value, 6) for value in chosen.values],
            "test_values": [round(value, 6) for value in test_values],
            "candidates": [asdict(record) for record in self.records],
        }


def choose(retrained: Sequence[Retrained], target_spec: TargetSpec, *, seed: int) -> tuple[int, list[CandidateRecord]]:
    """The position of the one to promote, and a record of each, best mean first.

    The highest mean over seeds is better than another where the 95% interval of their paired difference, over seeds and
    patients, lies above 0; else they are tied. Of the tied the one with the fewest parameters is chosen, then the
    fastest, then the one with the highest mean.

    Args:
        retrained: all with the same seeds and the same validation rows.
        seed: of the resampling of patients.
    """
    metric = target_spec.score
    values = [each.values(metric) for each in retrained]
    order = sorted(
        range(len(retrained)), key=lambda i: (-float(np.mean(values[i])), retrained[i].candidate.trial.number)
    )
    best, tied = order[0], [order[0]]
    differences: dict[int, tuple[float, float, float]] = {}
    for i in order[1:]:
        found = paired_difference(
            _scores(retrained[best], target_spec),
            _scores(retrained[i], target_spec),
            retrained[best].by_seed[0].validation.groups,
            seed=seed,
        )
        differences[i] = (found.mean, found.low, found.high)
        if found.low <= 0:
            tied.append(i)
    chosen = min(tied, key=lambda i: (*_size(retrained[i]), order.index(i)))
    records = [
        CandidateRecord(
            retrained[i].candidate.trial.number,
            _searched(retrained[i]),
            values[i],
            "chosen" if i == chosen else "tied" if i in tied else "worse",
            differences.get(i),
        )
        for i in order
    ]
    return chosen, records


def _scores(retrained: Retrained, target_spec: TargetSpec) -> list[Weighted]:
    judged = [each.validation for each in retrained.by_seed]
    return [target_spec.resampled_score(each.answers, each.targets) for each in judged]


def _size(retrained: Retrained) -> tuple[float, float]:
    """Parameters and milliseconds as the search measured them; unknown ones count as large."""
    cost = retrained.candidate.trial.cost
    return (cost.num_params if cost else math.inf, (cost and cost.latency_ms) or math.inf)


def _searched(retrained: Retrained) -> float:
    value = retrained.candidate.trial.value
    assert value is not None, "only trials with a value are promoted"
    return value

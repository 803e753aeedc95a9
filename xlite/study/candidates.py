"""From a proposal to a candidate: its checked configuration, its student's cost, its share of a GPU.

The one place where what a search space proposes is resolved; everything after it is given the result.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.errors import InputError
from xlite.gpu.probe import Shapes, footprint_key
from xlite.ledger import TrialRecord
from xlite.models.limits import Cost, Limits
from xlite.study.model_costs import ModelCosts
from xlite.study.options import Study
from xlite.study.shares import Shares
from xlite.study.space import SearchSpace
from xlite.train.canonical import canonical


@dataclass(frozen=True)
class Candidate:
    """A proposal, resolved.

    Attributes:
        overrides: dotted keys it chose.
        config: the study's base configuration with these, checked as a whole.
        cost: of its student.
        gpu_share: of one GPU, in (0, 1]; 0 on a CPU.
        broken_limit: the first limit its student exceeds, in words; None within all.
    """

    overrides: Mapping[str, Any]
    config: RunConfig
    cost: Cost
    gpu_share: float
    broken_limit: str | None = None


@dataclass(frozen=True)
class Candidates:
    """What a study may try, and what resolving a proposal needs.

    Attributes:
        shapes: of the data, to look up a configuration's share where shares follow footprints.
    """

    space: SearchSpace
    study: Study
    costs: ModelCosts
    limits: Limits
    shares: Shares
    shapes: Shapes

    def resolve(self, overrides: Mapping[str, Any]) -> Candidate:
        """The candidate of these dotted keys.

        Raises:
            InputError: an unknown key, a value out of range, or values that do not go together.
        """
        config = self.study.base.override(overrides, source=self.space.path.name)
        cost = self.costs.of(config.model)
        return Candidate(dict(overrides), config, cost, self._gpu_share(config), self.limits.broken_by(cost))

    def recall(self, rows: Iterable[TrialRecord]) -> None:
        """Let a student cost what it did in the first of these rows that has it.

        Timed again it would differ a little, and a front would take the two for different students.
        """
        for row in reversed(list(rows)):
            if row.cost is not None and row.cost.latency_ms is not None:
                with suppress(InputError):  # a row that no longer resolves
                    self.costs.set(self.study.base.override(row.overrides, source="row").model, row.cost)

    def identity(self, overrides: Mapping[str, Any]) -> str:
        """Hash of what a trial of these keys reads; equal ones train the same. Of keys that do not resolve: theirs."""
        try:
            config = self.study.base.override(overrides, source=self.space.path.name)
        except InputError:
            form = json.dumps(overrides, sort_keys=True, default=repr)
        else:
            form = canonical(config, self.study.task.target_spec).model_dump_json()
        return hashlib.sha256(form.encode()).hexdigest()[:16]

    def _gpu_share(self, config: RunConfig) -> float:
        if not self.shares.by_footprint:
            return self.shares.gpus_per_trial
        device = choose_device(config.train.precision)
        return self.shares.share_of(footprint_key(config, self.shapes, device))

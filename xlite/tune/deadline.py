"""What a time budget does to the trials that run when it is spent."""

import math
from collections.abc import Callable
from typing import Any

from ray import tune

from xlite.study.time_budget import TimeBudget


class Deadline(tune.Stopper):
    """Stops the trials that still run when promotion would soon no longer fit into what is left of the time.

    Args:
        promotion_s: seconds that promotion is expected to take; asked once, when the last trial has started.

    Attributes:
        has_stopped: whether it did.
        is_over: set to stop them at once, whatever time is left.
    """

    def __init__(self, time_budget: TimeBudget, promotion_s: Callable[[], float] = lambda: 0.0) -> None:
        self.time_budget, self.promotion_s = time_budget, promotion_s
        self.kept_s: float | None = None
        self.has_stopped = self.is_over = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether to stop; a promotion that would not fit at all gets no time."""
        left_s = self.time_budget.left_s()
        if self.is_over:
            return True
        if self.time_budget.may_start() or math.isinf(left_s):
            return False
        if self.kept_s is None:
            needed_s = self.promotion_s()
            self.kept_s = needed_s if needed_s < left_s else 0.0
        self.has_stopped = left_s <= self.kept_s
        return self.has_stopped

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles it for its own restore, which is not used

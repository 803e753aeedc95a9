"""When a search starts no more trials and when everything is to end, by the monotonic clock."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from xlite.errors import InputError


class OutOfTime(BaseException):
    """Raised by `TimeBudget.alarm`; like KeyboardInterrupt no Exception, so that nothing on the way handles it."""


@dataclass(frozen=True)
class TimeBudget:
    """Time that counts from when this is made.

    Attributes:
        search_s: no trial starts after this; None: no limit.
        reserve_s: after that, for running trials to end and for promotion; None: no limit.

    Raises:
        InputError: a reserve without a budget.
    """

    search_s: float | None = None
    reserve_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    started_s: float = field(init=False)

    def __post_init__(self) -> None:
        if self.reserve_s is not None and self.search_s is None:
            raise InputError("--promote-reserve is time after --time-budget; give that too")
        object.__setattr__(self, "started_s", self.clock())

    def may_start(self) -> bool:
        """Whether a trial may start."""
        return self.search_s is None or self.clock() - self.started_s < self.search_s

    def left_s(self) -> float:
        """Seconds until search and reserve are both over, negative afterwards; inf without a reserve."""
        if self.search_s is None or self.reserve_s is None:
            return math.inf
        return self.started_s + self.search_s + self.reserve_s - self.clock()

    @contextmanager
    def alarm(self) -> Iterator[None]:
        """Raise OutOfTime inside the block, in the main thread, when `left_s` has passed."""
        left_s = self.left_s()
        if math.isinf(left_s):
            yield
            return

        def ring(*_: object) -> NoReturn:
            raise OutOfTime

        before = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, max(left_s, 1e-6))
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

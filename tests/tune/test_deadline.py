"""Running trials are stopped when promotion would soon no longer fit, and not before."""

import pytest

from xlite.study.time_budget import TimeBudget
from xlite.tune.deadline import Deadline


@pytest.mark.parametrize(
    ("promotion_s", "stops_at"),
    [(30.0, 130.0), (0.0, 160.0), (100.0, 160.0)],  # budget 100 s, reserve 60 s; the last would not fit in any case
)
def test_trials_run_on_until_promotion_needs_the_rest(promotion_s, stops_at):
    now_s, asked = [0.0], []
    deadline = Deadline(TimeBudget(100.0, 60.0, lambda: now_s[0]), lambda: asked.append(1) or promotion_s)
    for now_s[0] in range(0, 200, 10):
        assert deadline.stop_all() == (now_s[0] >= stops_at) == deadline.has_stopped
    assert len(asked) == 1


@pytest.mark.parametrize("budget", [(None, None), (100.0, None)])
def test_without_a_reserve_running_trials_end_by_themselves(budget):
    now_s = [0.0]
    deadline = Deadline(TimeBudget(*budget, lambda: now_s[0]))
    now_s[0] = 1e9
    assert not deadline.stop_all()

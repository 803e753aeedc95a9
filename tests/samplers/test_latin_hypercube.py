"""Latin hypercube sampling of floats, integers and choices, and the first trials of a study."""

from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from studies import LOSS, RATE, open_study, run_one

from xlite.ledger import Ledger, sqlite_url
from xlite.samplers.latin_hypercube import latin_hypercube, quantile

PROBABILITIES = np.linspace(0, 1, 1000, endpoint=False)
DISTRIBUTIONS = [
    FloatDistribution(-1.0, 3.0),
    FloatDistribution(1e-6, 1e-1, log=True),
    FloatDistribution(0.0, 1.0, step=0.1),
    IntDistribution(3, 9),
    IntDistribution(16, 64, step=16),
    IntDistribution(1, 100, log=True),
    CategoricalDistribution(("a", "b", None)),
    FloatDistribution(2.0, 2.0),
]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=repr)
def test_values_are_distributed_as_optuna_s_random_ones(distribution):
    sampler = optuna.samplers.RandomSampler(seed=0)
    drawn = [sampler.sample_independent(None, None, "x", distribution) for _ in range(4000)]
    ours = [quantile(distribution, float(probability)) for probability in PROBABILITIES]
    for value in ours:  # create_trial raises if the distribution does not contain it
        optuna.trial.create_trial(params={"x": value}, distributions={"x": distribution}, value=0.0)
    assert {type(value) for value in ours} == {type(value) for value in drawn}
    if isinstance(distribution, FloatDistribution) and distribution.step is None:
        assert np.quantile(ours, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(drawn, [0.1, 0.5, 0.9]), rel=0.25)
        return
    if isinstance(distribution, FloatDistribution):
        ours, drawn = np.round(ours, 9).tolist(), np.round(drawn, 9).tolist()
    expected, found = Counter(drawn), Counter(ours)
    assert found.keys() >= expected.keys()
    assert all(abs(found[value] / 1000 - expected[value] / 4000) < 0.03 for value in found)


@pytest.mark.parametrize("num_trials", [1, 5, 16])
def test_each_block_of_trials_visits_every_stratum_once(num_trials):
    unit = FloatDistribution(0.0, 1.0)
    for block in range(3):
        numbers = range(block * num_trials, (block + 1) * num_trials)
        values = [latin_hypercube("x", unit, trial=number, num_trials=num_trials, seed=1) for number in numbers]
        assert sorted(int(value * num_trials) for value in values) == list(range(num_trials))


def test_the_order_of_strata_differs_by_parameter_seed_and_block():
    unit = FloatDistribution(0.0, 1.0)

    def order(name="x", seed=1, first=0):
        numbers = range(first, first + 16)
        return [int(16 * latin_hypercube(name, unit, trial=n, num_trials=16, seed=seed)) for n in numbers]

    orders = [order(), order(name="y"), order(seed=2), order(first=16)]
    assert len({tuple(each) for each in orders}) == 4
    assert order() == orders[0]


def test_a_study_leaves_the_hypercube_after_its_startup_trials(tmp_path):
    with Ledger.open(sqlite_url(tmp_path / "s.db"), "s", create=True, seed=3, num_startup=8) as ledger:
        first = [run_one(ledger).overrides for _ in range(8)]
        later = run_one(ledger).overrides
    decades = sorted(int((np.log10(overrides[RATE]) + 4) / 3 * 8) for overrides in first)
    assert decades == list(range(8))
    assert Counter(overrides[LOSS] for overrides in first) == {"bce": 4, "focal": 4}
    unit = FloatDistribution(1e-4, 1e-1, log=True)
    assert later[RATE] != latin_hypercube(RATE, unit, trial=8, num_trials=8, seed=3)


def test_startup_trials_are_the_same_when_each_runs_in_its_own_process(tmp_path):
    with open_study(sqlite_url(tmp_path / "whole.db")) as whole:
        expected = [run_one(whole).overrides for _ in range(3)]
    found = []
    for _ in range(3):
        with open_study(sqlite_url(tmp_path / "resumed.db")) as process:
            found.append(run_one(process).overrides)
    assert found == expected

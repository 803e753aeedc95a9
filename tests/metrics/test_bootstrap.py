"""Bootstrap intervals by patient."""

import numpy as np
import pytest

from xlite.errors import InputError
from xlite.metrics.multilabel import bootstrap_interval, weighted_macro_auc
from xlite.tasks.target_spec import TARGET_SPECS


def random_case(seed: int, *, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities full of ties against four labels."""
    rng = np.random.default_rng(seed)
    return rng.random((num_rows, 4)).round(1), (rng.random((num_rows, 4)) < 0.3).astype(np.float32)


def patients(num_rows: int, rows_each: int) -> np.ndarray:
    return np.array([f"patient{i // rows_each:03d}" for i in range(num_rows)])


def test_bootstrap_is_seeded_and_surrounds_the_value() -> None:
    probs, targets = random_case(7, num_rows=200)
    interval = bootstrap_interval(weighted_macro_auc(probs, targets), patients(200, 4), num_resamples=200, seed=1)
    again = bootstrap_interval(weighted_macro_auc(probs, targets), patients(200, 4), num_resamples=200, seed=1)
    value = weighted_macro_auc(probs, targets)(np.ones(200))
    assert interval == again and interval[0] < value < interval[1]
    assert interval != bootstrap_interval(
        weighted_macro_auc(probs, targets), patients(200, 4), num_resamples=200, seed=2
    )


@pytest.mark.parametrize("kind", TARGET_SPECS)
def test_with_weights_of_one_it_is_the_metric_itself_to_the_bit(kind: str) -> None:
    """So that a trial need not compute the other metrics of its training part."""
    target_spec, rng = TARGET_SPECS[kind], np.random.default_rng(3)
    for num_rows in (40, 701):
        logits = rng.normal(size=(num_rows, 5)).astype(np.float32).round(1)
        targets = np.eye(5, dtype=np.float32)[rng.integers(4, size=num_rows)]  # of one label there is none
        answers = target_spec.probabilities(logits)
        value = target_spec.resampled_score(answers, targets)(np.ones(num_rows))
        assert value == target_spec.judge(answers, targets, list("abcde")).scalars[target_spec.score]


def test_bootstrap_draws_patients_not_images() -> None:
    """Each image ten times over is no new evidence: by patient the interval stays, by image it shrinks by root 10."""
    probs, targets = random_case(8, num_rows=60)
    ten_probs, ten_targets = np.repeat(probs, 10, 0), np.repeat(targets, 10, 0)

    def width(p: np.ndarray, t: np.ndarray, groups: np.ndarray) -> float:
        low, high = bootstrap_interval(weighted_macro_auc(p, t), groups, num_resamples=300, seed=0)
        return high - low

    single = width(probs, targets, patients(60, 1))
    assert width(ten_probs, ten_targets, patients(600, 10)) == pytest.approx(single, rel=1e-9)
    assert width(ten_probs, ten_targets, patients(600, 1)) == pytest.approx(single / 10**0.5, rel=0.2)


def test_bootstrap_interval_widens_with_its_level_and_covers_as_normal_theory_says() -> None:
    rng = np.random.default_rng(0)
    probs, targets = rng.random((400, 1)), (np.arange(400) % 2).astype(float)[:, None]
    intervals = {
        level: bootstrap_interval(
            weighted_macro_auc(probs, targets), np.arange(400), num_resamples=600, seed=0, level=level
        )
        for level in (0.68, 0.95)
    }
    standard_error = (401 / (12 * 200 * 200)) ** 0.5  # Mann-Whitney without signal
    low, high = intervals[0.95]
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.15)
    assert low < intervals[0.68][0] < intervals[0.68][1] < high


def test_bootstrap_of_one_class_is_an_error_a_person_can_read() -> None:
    with pytest.raises(InputError, match="no resample has a label with both classes"):
        value = weighted_macro_auc(np.ones((3, 1)), np.ones((3, 1)))
        bootstrap_interval(value, np.arange(3), num_resamples=5, seed=0)

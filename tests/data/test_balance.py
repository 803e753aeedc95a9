"""Label and sampler weights, against the numbers of the chest X-ray table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xlite.data.balance import (
    effective_number,
    expected_label_shares,
    expected_no_finding_share,
    inverse_frequency,
    negative_shares,
    negatives_positives,
    positive_counts,
    sample_weights,
)

NIH_TABLE = Path(__file__).resolve().parents[2].parent / "shared/data/nih_labels/Data_Entry_2017_v2020.csv.gz"


@pytest.fixture(scope="module")
def nih_targets() -> np.ndarray:
    if not NIH_TABLE.exists():
        pytest.skip("the NIH label table is not beside the repository")
    one_hot = pd.read_csv(NIH_TABLE)["Finding Labels"].str.get_dummies("|")
    return one_hot.drop(columns="No Finding").to_numpy(np.float32)


def test_negatives_over_positives_of_infiltration_and_hernia_in_the_training_split() -> None:
    targets = np.zeros((78_484, 2), np.float32)
    targets[:13_823, 0] = 1
    targets[:154, 1] = 1
    np.testing.assert_allclose(negatives_positives(targets), [4.68, 508.64], atol=0.005)


def test_unknown_targets_count_neither_as_negative_nor_as_positive() -> None:
    nan = np.nan
    targets = np.array([[1, nan, 0, 1], [0, nan, 0, 1], [0, nan, nan, nan], [nan, nan, nan, nan]])
    np.testing.assert_array_equal(positive_counts(targets), [1, 0, 0, 2])
    np.testing.assert_array_equal(negatives_positives(targets), [2, 1, 1, 1])
    np.testing.assert_allclose(negative_shares(targets), [2 / 3, 0.5, 1, 0])


def test_inverse_frequency_is_one_over_the_root_scaled_to_mean_one() -> None:
    weights = inverse_frequency(np.array([3, 15, 99]), smoothing=1, power=0.5)
    np.testing.assert_allclose(weights / weights[0], [1, 0.5, 0.2])
    assert weights.mean() == pytest.approx(1)


def test_inverse_frequency_of_the_chest_labels_would_suppress_positives_as_a_pos_weight() -> None:
    unscaled = 1 / (np.array([13_823, 154]) + 1) ** 0.5
    np.testing.assert_allclose(unscaled, [0.0085, 0.080], atol=0.0005)
    np.testing.assert_allclose(inverse_frequency(np.array([13_823, 154])), unscaled / unscaled.mean())


def test_effective_number_of_cui_by_hand() -> None:
    weights = effective_number(np.array([1, 2]), beta=0.5)  # 0.5/0.5 = 1 and 0.5/0.75 = 2/3
    np.testing.assert_allclose(weights, [1.2, 0.8])


def test_effective_number_goes_from_equal_weights_to_inverse_frequency() -> None:
    counts = np.array([10, 1000])
    np.testing.assert_allclose(effective_number(counts, beta=0.0), [1, 1])
    weights = effective_number(counts, beta=1 - 1e-9)
    assert weights[0] / weights[1] == pytest.approx(100, rel=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_a_label_without_positives_gets_one_and_does_not_change_the_others(smoothing: float) -> None:
    counts, present = np.array([0, 4, 400]), np.array([4, 400])
    with_zero = inverse_frequency(counts, smoothing=smoothing)
    np.testing.assert_allclose(with_zero, [1, *inverse_frequency(present, smoothing=smoothing)])
    np.testing.assert_allclose(effective_number(counts, beta=0.99), [1, *effective_number(present, beta=0.99)])
    np.testing.assert_array_equal(effective_number(np.zeros(2, int), beta=0.99), [1, 1])


def test_sample_weights_by_hand() -> None:
    targets = np.array([[1, 0], [1, 1], [1, 0], [0, 0], [np.nan, 0]])  # 1/(3+1) and 1/(1+1), scaled: 0.5 and 1
    np.testing.assert_allclose(sample_weights(targets, how="mean"), [0.5, 0.75, 0.5, 0.01, 0.01])
    np.testing.assert_allclose(sample_weights(targets, how="max"), [0.5, 1, 0.5, 0.01, 0.01])
    np.testing.assert_allclose(sample_weights(targets, how="unscaled"), [0.25, 0.5, 0.25, 0.01, 0.01])


def test_a_label_without_positives_does_not_shrink_the_other_labels_weights() -> None:
    targets = np.array([[1, 0], [1, 0], [0, 0]])
    np.testing.assert_allclose(sample_weights(targets, how="mean"), [1, 1, 0.01])
    np.testing.assert_array_equal(sample_weights(np.zeros((3, 2)), how="max"), [0.01] * 3)


@pytest.mark.parametrize(
    ("how", "variation", "no_finding"),
    [("none", 0.916, 0.538), ("max", 0.420, 0.194), ("mean", 0.356, 0.232), ("unscaled", 0.420, 0.982)],
)
def test_expected_draws_of_the_whole_nih_table(
    nih_targets: np.ndarray, how: str, variation: float, no_finding: float
) -> None:
    weights = np.ones(len(nih_targets)) if how == "none" else sample_weights(nih_targets, how=how)  # type: ignore[arg-type]
    shares = expected_label_shares(nih_targets, weights)
    assert shares.shape == (14,) and shares.sum() == pytest.approx(1)
    assert shares.std() / shares.mean() == pytest.approx(variation, abs=0.0005)
    assert expected_no_finding_share(nih_targets, weights) == pytest.approx(no_finding, abs=0.0005)


def test_uniform_draws_show_hernia_once_in_350_labels(nih_targets: np.ndarray) -> None:
    shares = expected_label_shares(nih_targets, np.ones(len(nih_targets)))
    assert shares.min() == pytest.approx(0.0028, abs=0.00005) and shares.max() == pytest.approx(0.245, abs=0.0005)

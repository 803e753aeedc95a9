"""What the samplers do to a label table: measured as training draws, on tables whose shares are known."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import SHARED

from xlite.data.balance import positive_counts
from xlite.data.sources.nih import read_labels
from xlite.report.balance import (
    COLUMNS,
    SAMPLERS,
    balance_table,
    coefficient_of_variation,
    describe_balance,
    draw_balance,
    measure_samplers,
    num_closer,
    write_balance_csv,
)


@pytest.fixture(scope="module")
def targets() -> np.ndarray:
    """6,000 rows, one finding at most: a of 3,000, b of 300, c of 30, none of the others."""
    out = np.zeros((6000, 3), np.float32)
    out[:3000, 0], out[3000:3300, 1], out[3300:3330, 2] = 1, 1, 1
    return out


def test_drawn_shares_come_near_the_expected_ones(targets: np.ndarray) -> None:
    for drawn in measure_samplers(targets, num_batches=2000, batch_size=32, seed=1):
        findings_drawn = 64_000 * (1 - drawn.expected_no_finding)
        spread = np.sqrt(drawn.expected * (1 - drawn.expected) / findings_drawn)
        assert (np.abs(drawn.drawn - drawn.expected) < 4 * spread + 0.001).all(), drawn.sampler
        assert drawn.drawn_no_finding == pytest.approx(drawn.expected_no_finding, abs=0.01)


def test_without_a_sampler_every_row_of_an_epoch_counts_once(targets: np.ndarray) -> None:
    plain = measure_samplers(targets, num_batches=6000 // 50, batch_size=50, seed=1)[0]
    np.testing.assert_allclose(plain.drawn, np.array([3000, 300, 30]) / 3330)
    np.testing.assert_allclose(plain.drawn, plain.expected)
    assert plain.drawn_no_finding == pytest.approx(2670 / 6000)


def test_more_batches_than_an_epoch_has_go_on_in_the_next() -> None:
    targets = np.eye(4, dtype=np.float32)
    plain = measure_samplers(targets, num_batches=6, batch_size=2, seed=0)[0]
    np.testing.assert_allclose(plain.drawn, [0.25] * 4)


def test_max_evens_labels_out_and_unscaled_drowns_them(targets: np.ndarray) -> None:
    measured = {drawn.sampler: drawn for drawn in measure_samplers(targets, num_batches=50, batch_size=32, seed=1)}
    assert coefficient_of_variation(measured["max"].expected) < 0.02 < coefficient_of_variation(measured["none"].drawn)
    assert measured["unscaled"].expected_no_finding > 0.85 > measured["max"].expected_no_finding
    assert (measured["unscaled"].expected_rate < measured["max"].expected_rate / 5).all()


def test_the_seed_decides_the_draws(targets: np.ndarray) -> None:
    one, again, other = (measure_samplers(targets, num_batches=20, batch_size=8, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal([drawn.drawn for drawn in one], [drawn.drawn for drawn in again])
    assert not np.array_equal(one[1].drawn, other[1].drawn)


def test_variation_is_zero_for_equal_shares_and_known_for_two() -> None:
    assert coefficient_of_variation(np.full(14, 1 / 14)) == pytest.approx(0)
    assert coefficient_of_variation(np.array([0.75, 0.25])) == pytest.approx(0.5)


def test_the_csv_holds_every_sampler_and_label(targets: np.ndarray, tmp_path: Path) -> None:
    measured = measure_samplers(targets, num_batches=500, batch_size=32, seed=1)
    write_balance_csv(tmp_path / "balance.csv", measured, "abc", positive_counts(targets))
    with (tmp_path / "balance.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["sampler"], row["label"]) for row in rows] == [(s, label) for s in SAMPLERS for label in "abc"]
    assert [row["positives"] for row in rows[:3]] == ["3000", "300", "30"]
    for row in rows:
        distance = abs(float(row["drawn_share"]) - 1 / 3)
        assert float(row["distance_from_uniform"]) == pytest.approx(distance, abs=2e-6)
    assert {row["closer_to_uniform_than_none"] for row in rows if row["sampler"] == "max"} == {"yes"}
    assert float(rows[2]["expected_image_share"]) == pytest.approx(30 / 6000)


def test_the_words_name_the_evenest_and_the_emptiest(targets: np.ndarray) -> None:
    measured = measure_samplers(targets, num_batches=100, batch_size=32, seed=1)
    meaning = describe_balance(measured)
    assert [row["sampler"] for row, _ in balance_table(measured, "abc").rows] == list(SAMPLERS)
    assert "comes nearest" in meaning and "unscaled draws most images without a finding (9" in meaning


def test_the_picture_has_four_panels_and_takes_labels_without_positives(targets: np.ndarray, tmp_path: Path) -> None:
    with_empty = np.concatenate([targets, np.zeros((len(targets), 1), np.float32)], axis=1)
    measured = measure_samplers(with_empty, num_batches=10, batch_size=8, seed=1)
    draw_balance(tmp_path / "b.png", measured, ["a", "b", "c", "never"], with_empty)
    picture = cv2.imread(str(tmp_path / "b.png"))
    assert picture.shape == (1000, 1500, 3)
    for top in (0, 500):
        for left in (0, 750):
            assert picture[top : top + 500, left : left + 750].std() > 10
    assert [path.name for path in tmp_path.iterdir()] == ["b.png"]


def test_the_whole_nih_table_is_as_uneven_as_known() -> None:
    if not (SHARED / "nih_labels").is_dir():
        pytest.skip("the NIH label table is not beside the repository")
    targets = read_labels(SHARED / "nih_labels").table.targets
    measured = measure_samplers(targets, num_batches=500, batch_size=32, seed=42)
    expected = {drawn.sampler: coefficient_of_variation(drawn.expected) for drawn in measured}
    assert expected == pytest.approx({"none": 0.916, "max": 0.420, "mean": 0.356, "unscaled": 0.420}, abs=0.0005)
    none, largest, mean, unscaled = measured
    for drawn in (none, largest, mean):
        assert coefficient_of_variation(drawn.drawn) == pytest.approx(expected[drawn.sampler], abs=0.03)
    assert unscaled.drawn_no_finding == pytest.approx(0.982, abs=0.005)
    assert num_closer(mean, none) >= 12

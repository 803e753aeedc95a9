"""Fronts, volumes and knees of points that can be checked by hand."""

import numpy as np
import pytest

from xlite.samplers.pareto import best_first, front_ranks, hypervolume, knee

INF = np.inf


def test_a_rank_is_how_many_fronts_lie_before_a_point() -> None:
    points = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 1.0], [2.0, 1.0], [1.0, 3.0]])
    assert front_ranks(points).tolist() == [1, 1, 3, 2, 1]


def test_equal_points_share_a_rank_and_what_was_not_measured_loses_only_there() -> None:
    points = np.array([[2.0, 2.0], [2.0, 2.0], [2.0, -INF], [3.0, -INF]])
    assert front_ranks(points).tolist() == [1, 1, 2, 1]
    assert front_ranks(np.empty((0, 3))).tolist() == []


def test_the_order_begins_with_the_best_score_and_then_goes_to_the_far_end() -> None:
    # ranges are scaled to 1: from (0.9, -9) the farthest is (0.5, -1), then what lies in the widest gap
    points = np.array([[0.5, -1.0], [0.6, -2.0], [0.7, -5.0], [0.9, -9.0], [0.5, -9.0]])
    assert best_first(points) == [3, 0, 2, 1, 4]


def test_with_the_score_alone_the_order_is_by_score() -> None:
    assert best_first(np.array([[0.3], [0.9], [0.5]])) == [1, 2, 0]


@pytest.mark.parametrize(
    ("points", "volume"),
    [
        ([[1.0, 2.0, 3.0]], 6.0),
        ([[2.0, 1.0], [1.0, 2.0]], 3.0),
        ([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0], [-1.0, 9.0]], 3.0),  # one is dominated, one not above the reference
        ([[1.0, 1.0, 2.0], [2.0, 1.0, 1.0], [1.0, 2.0, 1.0]], 4.0),
        ([[1.0, 1.0], [1.0, 1.0]], 1.0),
        ([[-1.0, -1.0]], 0.0),
    ],
)
def test_the_hypervolume_of_boxes(points: list[list[float]], volume: float) -> None:
    assert hypervolume(np.array(points), np.zeros(len(points[0]))) == pytest.approx(volume)


def test_the_hypervolume_is_that_of_counted_cells() -> None:
    points = np.random.default_rng(0).integers(0, 7, (12, 3)).astype(float)
    cells = np.stack(np.meshgrid(*[np.arange(7) + 0.5] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    covered = (points[None] > cells[:, None]).all(axis=-1).any(axis=1).sum()
    assert hypervolume(points, np.zeros(3)) == pytest.approx(covered)


def test_the_knee_is_farthest_beyond_the_chord() -> None:
    assert knee(np.array([[0.9, -10.0], [0.85, -3.0], [0.5, -1.0]])) == 1
    assert knee(np.array([[0.9, -10.0], [0.6, -8.0], [0.5, -1.0]])) == 0  # beyond is nobody: the score decides


def test_two_costs_that_go_together_do_not_outvote_the_score() -> None:
    assert knee(np.array([[0.5, -1.0, -1.0], [0.9, -10.0, -20.0]])) == 1


def test_a_front_of_one_is_its_own_knee() -> None:
    assert knee(np.array([[0.9, -10.0]])) == 0

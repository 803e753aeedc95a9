"""Batches of an epoch: every row once, or drawn by weights, and a row drawn often in several views."""

import numpy as np
import pytest

from xlite.data.batches import draws


def epoch(num_rows=100, **changes):
    options = {"epoch": 0, "batch_size": 32, "num_views": 8, "seed": 3, **changes}
    return list(draws(num_rows, **options))


def test_without_weights_each_row_comes_at_most_once_and_the_short_last_batch_is_dropped():
    batches = epoch()
    positions = np.concatenate([b.positions for b in batches])
    assert [len(b.positions) for b in batches] == [32, 32, 32]
    assert len(np.unique(positions)) == 96
    assert all((b.views == 0).all() for b in batches)


def test_fewer_rows_than_a_batch_are_one_batch():
    assert [len(b.positions) for b in epoch(num_rows=5)] == [5]


def test_epoch_e_shows_view_e_mod_v_in_a_fresh_order():
    first, ninth = epoch(epoch=0), epoch(epoch=9)
    assert (ninth[0].views == 1).all()
    assert not np.array_equal(first[0].positions, ninth[0].positions)


def test_the_same_seed_and_epoch_draw_the_same():
    np.testing.assert_array_equal(epoch(epoch=4)[1].positions, epoch(epoch=4)[1].positions)


def test_a_row_drawn_k_times_takes_k_different_views():
    weights = np.ones(100)
    weights[7] = 30.0
    batches = epoch(weights=weights, epoch=2)
    positions = np.concatenate([b.positions for b in batches])
    views = np.concatenate([b.views for b in batches])
    drawn = views[positions == 7]
    assert len(drawn) > 8
    np.testing.assert_array_equal(drawn, (2 + np.arange(len(drawn))) % 8)


def test_weights_set_the_share_of_draws():
    weights = np.r_[np.full(500, 3.0), np.full(500, 1.0)]
    positions = np.concatenate([b.positions for e in range(20) for b in epoch(1000, epoch=e, weights=weights)])
    assert (positions < 500).mean() == pytest.approx(0.75, abs=0.02)

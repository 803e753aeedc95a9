"""A view is a function of (seed, row, view number) and of nothing else."""

import subprocess
import sys

import numpy as np
import pytest

from xlite.data.views import augment, view_seeds

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 32, 32), dtype=np.uint8)
ROWS = np.arange(6) + 100


def one(row, view, preset="medium", seed=1):
    return augment(PIXELS[row : row + 1], ROWS[row : row + 1], np.array([view]), preset=preset, seed=seed)[0]


@pytest.mark.parametrize("preset", ["light", "medium", "strong"])
def test_a_view_does_not_depend_on_its_batch(preset):
    together = augment(PIXELS, ROWS, np.full(6, 3), preset=preset, seed=1)
    for row in (5, 0, 3):
        np.testing.assert_array_equal(one(row, 3, preset), together[row])


def test_seed_row_and_view_each_change_it():
    same = np.stack([PIXELS[0]] * 3)
    by_row = augment(same, np.array([1, 2, 3]), np.zeros(3, int), preset="medium", seed=1)
    by_view = augment(same, np.array([1, 1, 1]), np.arange(3), preset="medium", seed=1)
    for images in (by_row, by_view, np.stack([one(0, 0, seed=s) for s in range(3)])):
        assert len({image.tobytes() for image in images}) == 3


def test_none_gives_the_pixels_themselves():
    np.testing.assert_array_equal(augment(PIXELS, ROWS, np.zeros(6, int), preset="none", seed=1), PIXELS)


def test_another_process_sees_the_same_pixels():
    code = (
        "import numpy as np, hashlib; from xlite.data.views import augment;"
        "p = np.random.default_rng(0).integers(0, 256, (6, 32, 32), dtype=np.uint8);"
        "v = augment(p, np.arange(6) + 100, np.arange(6), preset='strong', seed=9);"
        "print(hashlib.sha256(v.tobytes()).hexdigest())"
    )
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(runs) == 1 and len(runs.pop()) == 65


def test_seeds_of_many_rows_and_views_do_not_collide_beyond_chance():
    rows, views = np.meshgrid(np.arange(2000), np.arange(20))
    seeds = view_seeds(7, rows.ravel(), views.ravel())
    assert len(np.unique(seeds)) >= 40_000 - 5  # birthday bound in 2^32: 0.2 expected

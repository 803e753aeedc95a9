"""A view is a function of (seed, row, view number) only."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from xlite.data.views import augment, uniforms, view_seeds

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


def albumentations_medium(image, turned, angle, flipped, brightness, contrast):
    import albumentations as A

    steps = [A.HorizontalFlip(p=1.0)] if flipped else []
    if turned:
        steps.append(A.Rotate(limit=(angle, angle), border_mode=cv2.BORDER_CONSTANT, p=1.0))
    if brightness is not None:
        limits = {"brightness_limit": (brightness, brightness), "contrast_limit": (contrast, contrast)}
        steps.append(A.RandomBrightnessContrast(p=1.0, **limits))
    return A.Compose(steps)(image=image)["image"]


@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 3)])
def test_a_medium_view_equals_albumentations_with_the_same_choices(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    views = np.arange(60)
    seeds = view_seeds(3, np.zeros(60, int), views)
    got = augment(np.stack([image] * 60), np.zeros(60, int), views, preset="medium", seed=3)
    for view, (flip, turn, degrees, change, brightness, contrast) in zip(got, uniforms(seeds, 6), strict=True):
        choices = (turn < 0.7, (2 * degrees - 1) * 15, flip < 0.5)
        geometry = albumentations_medium(image, *choices, None, None)
        if change >= 0.5:
            differences = np.abs(
                view.astype(int) - geometry
            )  # flip and turn in one warp round a pixel or two otherwise
            assert differences.max() <= 1 and differences.mean() < 0.01
            continue
        grey = ((2 * brightness - 1) * 0.2, (2 * contrast - 1) * 0.2)
        expected = albumentations_medium(image, *choices, *grey).astype(int)
        assert np.abs(view.astype(int) - expected).max() <= 1  # it cuts off where we round


@pytest.mark.parametrize("preset", ["medium", "strong"])
def test_changes_are_drawn_independently_of_each_other(preset):
    """A flip seen in a half-and-half image, a brightness change in its corners: neither tells of the other."""
    image = np.full((32, 32), 100, np.uint8)
    image[:, 16:] = 140
    num = 3000
    views = augment(np.stack([image] * num), np.zeros(num, int), np.arange(num), preset=preset, seed=5)
    left, right = views[:, 13:19, 8:13].mean(axis=(1, 2)), views[:, 13:19, 19:24].mean(axis=(1, 2))
    flipped, sums = left > right, left + right
    changed = np.abs(sums - 240) > 4
    assert 0.45 < flipped.mean() < 0.55
    assert 0.3 < changed.mean() < 0.75
    assert abs(np.corrcoef(flipped, changed)[0, 1]) < 0.06


def test_uniforms_are_uniform_and_their_columns_unrelated():
    numbers = uniforms(view_seeds(1, np.arange(20_000), np.zeros(20_000, int)), 6)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.stack([np.histogram(column, bins=20, range=(0, 1))[0] for column in numbers.T])
    assert np.abs(counts - 1000).max() < 150  # 4.9 standard deviations
    assert np.abs(np.corrcoef(numbers.T) - np.eye(6)).max() < 0.035

"""Windows of scan lines: levelled and finite in any unit, and views that keep the order of the lines."""

import json

import numpy as np
import pytest

from xlite.data.scan_lines import ScanLinePreprocess, augment_lines, fill_lines
from xlite.data.table import Item
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError


def item(path, start, lines, window):
    return Item((path,), json.dumps({"start": start, "lines": lines, "window": window}))


def surface(lines=20, points=48, seed=0):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=(lines, points)), axis=1) + rng.normal(0, 3, (lines, 1))


def read_whole(folder, values, *, points=48):
    np.save(folder / f"{abs(hash(values.tobytes()))}.npy", values)
    path = max(folder.glob("*.npy"), key=lambda p: p.stat().st_mtime_ns)
    return ScanLinePreprocess(points=points, window_lines=len(values)).read(item(path, 0, len(values), len(values)))


def windows(num=4, lines=12, points=16, real=9):
    pixels = np.random.default_rng(1).normal(size=(num, lines, points)).astype(np.float16)
    pixels[:, real:] = 0
    return pixels


def test_a_window_is_its_lines_of_the_scan_then_zeros(tmp_path):
    values = surface()
    whole = read_whole(tmp_path, values)
    path = next(tmp_path.glob("*.npy"))
    window = ScanLinePreprocess(points=48, window_lines=8).read(item(path, 15, 5, 8))
    assert window.shape == (8, 48) and window.dtype == np.float16
    np.testing.assert_array_equal(window[:5], whole[15:])
    assert not window[5:].any()


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e9])
def test_units_height_and_tilt_do_not_matter(tmp_path, unit):
    values = surface()
    tilted = unit * (values + 500 + 0.7 * np.arange(values.shape[1]))
    np.testing.assert_allclose(read_whole(tmp_path, tilted), read_whole(tmp_path, values), atol=5e-3)


def test_spikes_stay_within_half_precision(tmp_path):
    values = surface()
    values[3, 4], values[5, 6] = 1e12, -1e12
    window = read_whole(tmp_path, values)
    assert np.isfinite(window).all() and window.max() == 60_000 and window.min() == -60_000


def test_shrinking_averages_over_the_points(tmp_path):
    values = surface()
    full = read_whole(tmp_path, values).astype(np.float64)
    half = read_whole(tmp_path, values, points=24).astype(np.float64)
    np.testing.assert_allclose(half, full.reshape(20, 24, 2).mean(axis=2), atol=5e-3)
    assert read_whole(tmp_path, values, points=96).shape == (20, 96)


def test_gaps_are_filled_from_their_neighbours():
    scan = np.tile(np.arange(6.0)[:, None], (1, 4)) * 10 + np.arange(4)
    holed = scan.copy()
    holed[2:4], holed[1, 1] = np.nan, np.nan
    np.testing.assert_allclose(fill_lines(holed), scan)
    holed = scan.copy()
    holed[0] = holed[5] = np.nan
    filled = fill_lines(holed)
    np.testing.assert_array_equal(filled[0], scan[1])
    np.testing.assert_array_equal(filled[5], scan[4])


@pytest.mark.parametrize("num_measured", [0, 23])
def test_a_scan_without_a_line_that_was_measured_for_the_most_part_is_unreadable(tmp_path, num_measured):
    values = surface()
    values[:, num_measured:] = np.nan
    np.save(tmp_path / "s.npy", values)
    with pytest.raises(UnreadableImage, match="aborted scan"):
        ScanLinePreprocess(16, 20).inputs(tmp_path / "s.npy")


def test_a_scan_that_became_shorter_is_unreadable(tmp_path):
    np.save(tmp_path / "s.npy", surface(lines=6))
    with pytest.raises(UnreadableImage, match="6 lines"):
        ScanLinePreprocess(points=48, window_lines=8).read(item(tmp_path / "s.npy", 0, 8, 8))


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "s.npy"
    preprocess = ScanLinePreprocess(points=48, window_lines=8)
    np.save(path, surface())
    before = preprocess.read(item(path, 0, 8, 8))
    np.save(path, surface(lines=30, seed=1))
    assert (preprocess.read(item(path, 0, 8, 8)) != before).any()


def test_sizes_out_of_range_are_refused():
    with pytest.raises(InputError, match="points"):
        ScanLinePreprocess(points=1, window_lines=8)
    with pytest.raises(InputError, match="window_lines"):
        ScanLinePreprocess(points=8, window_lines=0)


@pytest.mark.parametrize("preset", ["light", "medium", "strong"])
def test_a_view_depends_only_on_seed_row_and_view(preset):
    pixels, rows, views = windows(), np.array([5, 6, 7, 8]), np.array([0, 1, 0, 3])
    together = augment_lines(pixels, rows, views, preset=preset, seed=3)
    assert together.shape == pixels.shape and together.dtype == pixels.dtype
    alone = augment_lines(pixels[2:3], rows[2:3], views[2:3], preset=preset, seed=3)
    np.testing.assert_array_equal(alone[0], together[2])
    for changed in ({"seed": 4}, {"views": views + 1}, {"rows": rows + 1}):
        arguments = {"rows": rows, "views": views, "seed": 3, **changed}
        other = augment_lines(pixels, arguments["rows"], arguments["views"], preset=preset, seed=arguments["seed"])
        assert (other != together).any(axis=(1, 2)).all()


def test_no_augmentation_changes_nothing():
    pixels = windows()
    same = augment_lines(pixels, np.arange(4), np.zeros(4, int), preset="none", seed=0)
    np.testing.assert_array_equal(same, pixels)
    assert not np.shares_memory(same, pixels)


def test_lines_keep_their_order_are_mirrored_together_and_padding_stays_zero():
    pixels = np.repeat(windows(num=1), 200, axis=0)
    out = augment_lines(pixels, np.arange(200), np.zeros(200, int), preset="strong", seed=0).astype(np.float64)
    assert not out[:, 9:].any()
    real = pixels[0, :9].astype(np.float64)
    dropped = (out[:, :9].std(axis=2) == 0).mean(axis=1)
    assert 0 < dropped.mean() < 0.1
    straight = np.abs(out[:, :9] - real).mean(axis=2)
    mirrored = np.abs(out[:, :9] - real[:, ::-1]).mean(axis=2)
    whole = dropped == 0
    is_mirrored = mirrored < straight
    assert (is_mirrored[whole].all(axis=1) | ~is_mirrored[whole].any(axis=1)).all()
    assert 0.3 < is_mirrored[whole].all(axis=1).mean() < 0.7
    assert np.minimum(straight, mirrored)[whole].max() < 0.3  # noise, and no line of another place


def test_a_dropped_line_is_the_mean_of_the_window():
    pixels = windows(num=1) + np.float16(5)
    pixels[:, 9:] = 0
    pixels = np.repeat(pixels, 100, axis=0)
    out = augment_lines(pixels, np.arange(100), np.zeros(100, int), preset="strong", seed=0)[:, :9]
    dropped = out[out.std(axis=2) == 0]
    assert len(dropped)
    np.testing.assert_allclose(dropped, pixels[0, :9].astype(np.float32).mean(), rtol=2e-3)

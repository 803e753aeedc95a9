"""The lumbar phantom: RSNA's layout, the same bytes every time, and a canal that narrows with the grade."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from xlite.data.dicom import read_dicom
from xlite.data.phantom import lumbar
from xlite.data.phantom.lumbar import GRADE_SHARES, _draw_studies, lumbar_phantom_folder, write_lumbar_phantom
from xlite.data.phantom.lumbar_scene import draw_slice, draw_spine, make_frame
from xlite.data.slices import SlicePreprocess
from xlite.data.sources.rsna import LABELS, read_rsna
from xlite.errors import InputError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = lumbar_phantom_folder(tmp_path_factory.mktemp("phantom"), num_studies=10, image_px=64, seed=3)
    write_lumbar_phantom(folder, num_studies=10, image_px=64, seed=3)
    return folder


def test_the_real_reader_reads_every_level(small: Path) -> None:
    parsed = read_rsna(small)
    assert len(parsed.table) == 50 and not (parsed.missing or parsed.excluded or parsed.notes)
    assert len(set(parsed.table.groups)) == 10
    assert SlicePreprocess(32).read(parsed.table.items[0]).std() > 10


def test_the_tables_have_rsna_s_columns(small: Path) -> None:
    train = pd.read_csv(small / "train.csv")
    assert train.shape == (10, 26) and list(train)[:2] == ["study_id", "spinal_canal_stenosis_l1_l2"]
    assert list(train)[6] == "left_neural_foraminal_narrowing_l1_l2"
    assert list(train)[-1] == "right_subarticular_stenosis_l5_s1"
    assert list(pd.read_csv(small / "train_label_coordinates.csv")) == [
        *("study_id", "series_id", "instance_number", "condition", "level", "x", "y")
    ]
    assert list(pd.read_csv(small / "train_series_descriptions.csv")) == ["study_id", "series_id", "series_description"]


def test_slices_are_numbered_in_the_order_of_their_positions(small: Path) -> None:
    for series in (small / "train_images").glob("*/*"):
        paths = sorted(series.iterdir(), key=lambda path: int(path.stem))
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
        assert 11 <= len(paths) <= 15
        assert [header.InstanceNumber for header in headers] == list(range(1, len(paths) + 1))
        places = [header.ImagePositionPatient[0] for header in headers]
        assert (np.diff(places) > 0).all() and headers[0].ImageOrientationPatient == [0, 1, 0, 0, 0, -1]
        assert read_dicom(paths[0]).shape == (64, 64)


def test_the_same_parameters_give_the_same_bytes_and_another_seed_others(small: Path, tmp_path: Path) -> None:
    write_lumbar_phantom(tmp_path / "again", num_studies=10, image_px=64, seed=3)
    assert contents(tmp_path / "again") == contents(small)
    write_lumbar_phantom(tmp_path / "other", num_studies=10, image_px=64, seed=4)
    assert contents(tmp_path / "other").keys() != contents(small).keys()


def test_a_complete_set_is_kept_and_anything_else_is_not_overwritten(small: Path, tmp_path: Path) -> None:
    before = (small / "train.csv").stat().st_mtime_ns
    write_lumbar_phantom(small, num_studies=10, image_px=64, seed=3)
    assert (small / "train.csv").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="holds something other"):
        write_lumbar_phantom(small, num_studies=11, image_px=64, seed=3)


def test_an_interruption_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    folder = tmp_path / "lumbar"
    with pytest.raises(KeyboardInterrupt):
        write_lumbar_phantom(folder, num_studies=10, image_px=64, seed=0, progress=interrupt)
    assert not folder.exists() and not list(tmp_path.glob(".lumbar.*.tmp"))


def test_the_folder_s_name_says_the_parameters() -> None:
    name = lumbar_phantom_folder(Path("data"), num_studies=100, image_px=128, seed=5).name
    assert name == f"lumbar-100x128-s5-v{lumbar.VERSION}"


@pytest.mark.parametrize("wrong", [{"num_studies": 9}, {"image_px": 62}, {"image_px": 65}, {"seed": -1}])
def test_parameters_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"phantom: {next(iter(wrong))}"):
        write_lumbar_phantom(tmp_path / "x", **wrong)


def test_grades_have_the_documented_shares_and_narrowing_is_most_common_at_l4_l5() -> None:
    grades = np.array([study.grades for study in _draw_studies(3000, seed=0)])
    shares = np.bincount(grades.ravel(), minlength=len(LABELS)) / grades.size
    assert np.abs(shares - GRADE_SHARES).max() < 0.015
    assert (grades > 0).mean(axis=0).argmax() == 3


def canal_signal(grade: int, seed: int) -> float:
    """Fluid of the middle slice near L3/L4's point, over what lies halfway to its neighbours."""
    rng = np.random.default_rng(seed)
    spine = draw_spine(np.array([0, 0, grade, 0, 0]), rng)
    frame = make_frame(spine, 128, rng)
    picture = draw_slice(spine, frame, float(spine.middle_z(np.array(spine.discs[3].s))), rng)
    points = spine.points(128)

    def fluid(x: float, y: float) -> float:
        around = picture[round(y) - 1 : round(y) + 2, round(x) - 7 : round(x) + 8]
        return float(np.sort(around, axis=1)[:, -8:].sum())

    beside = [fluid(*((points[2] + points[k]) / 2)) for k in (1, 3)]
    return fluid(*points[2]) / np.mean(beside)


def test_the_canal_at_the_annotated_point_narrows_with_the_grade() -> None:
    signals = np.array([[canal_signal(grade, seed) for seed in range(8)] for grade in range(3)])
    normal, moderate, severe = signals.mean(axis=1)
    assert normal > moderate + 0.1 > severe + 0.2


def test_a_degenerated_disc_is_independent_of_the_grade() -> None:
    def discs(grade: int) -> np.ndarray:
        spines = [draw_spine(np.full(5, grade), np.random.default_rng(seed)) for seed in range(60)]
        return np.array([disc.signal for spine in spines for disc in spine.discs[1:6]])

    assert np.array_equal(discs(0), discs(2))


def test_the_canal_is_seen_near_the_middle_only(small: Path) -> None:
    table = read_rsna(small).table
    centre = np.array([SlicePreprocess(32).read(one)[[0, 3], 8:24, 8:24, 2].mean(axis=(1, 2)) for one in table.items])
    assert (centre[:, 1] > centre[:, 0]).mean() > 0.9


def test_a_slice_takes_milliseconds() -> None:
    rng = np.random.default_rng(0)
    spine = draw_spine(np.zeros(5, int), rng)
    frame = make_frame(spine, 128, rng)
    times = []
    for z in np.linspace(-10, 10, 5):
        begin = time.perf_counter()
        draw_slice(spine, frame, float(z), rng)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.06


def test_points_lie_in_the_picture_and_the_record_says_the_parameters(small: Path) -> None:
    points = pd.read_csv(small / "train_label_coordinates.csv")
    assert points[["x", "y"]].to_numpy().min() > 4 and points[["x", "y"]].to_numpy().max() < 60
    assert json.loads((small / "phantom.json").read_text())["num_studies"] == 10

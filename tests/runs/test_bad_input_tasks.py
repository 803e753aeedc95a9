"""Mistakes in lumbar, STM and labelled-image folders: one line that names the thing, exit 2; damage is listed."""

import numpy as np
import pandas as pd
import pytest
from labelled_images import labelled_folder
from test_bad_input import refused

from xlite.cli import run as run_command
from xlite.commands import prepare_data
from xlite.data.phantom.lumbar import write_lumbar_phantom
from xlite.data.phantom.stm import write_stm_phantom


@pytest.fixture(scope="module")
def lumbar_source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lumbar") / "set"
    write_lumbar_phantom(folder, num_studies=30, image_px=64, seed=0)
    return folder


@pytest.fixture(scope="module")
def stm_source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stm") / "set"
    write_stm_phantom(folder, num_scans=24, lines=32, points=32, seed=0)
    return folder


@pytest.fixture
def copy_of(tmp_path):
    import shutil

    return lambda source: shutil.copytree(source, tmp_path / "data")


def prepare(capsys, task, data, *more):
    return refused(capsys, "prepare_data", "--task", task, "--data", data, "--cache-dir", data.parent / "cache", *more)


def edit(path, change):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table).to_csv(path, index=False)


def set_cell(column, value):
    def change(table):
        table.loc[0, column] = value
        return table

    return change


def test_lumbar_tables(capsys, lumbar_source, copy_of):
    data = copy_of(lumbar_source)
    grades = data / "train.csv"
    healthy = grades.read_text()
    column = next(name for name in pd.read_csv(grades).columns if name.startswith("spinal_canal"))
    edit(grades, set_cell(column, "Awful"))
    error = prepare(capsys, "lumbar_spine", data)
    assert "train.csv" in error and "'Awful'" in error and "Moderate" in error
    grades.write_text("")
    assert "train.csv" in prepare(capsys, "lumbar_spine", data)
    grades.write_text(healthy.splitlines()[0] + "\n")
    assert "train.csv" in prepare(capsys, "lumbar_spine", data)
    grades.unlink()
    assert "train.csv" in prepare(capsys, "lumbar_spine", data)


def test_lumbar_series_that_are_not_there(capsys, lumbar_source, copy_of):
    import shutil

    data = copy_of(lumbar_source)
    study = sorted((data / "train_images").iterdir())[0]
    shutil.rmtree(study)
    error = prepare(capsys, "lumbar_spine", data)
    assert "--allow-missing" in error and "5" in error


def test_a_damaged_dicom_is_counted_listed_and_refused_above_one_percent(capsys, lumbar_source, copy_of):
    data = copy_of(lumbar_source)
    file = sorted((data / "train_images").rglob("*.dcm"))[6]
    file.write_bytes(file.read_bytes()[:900])
    error = prepare(capsys, "lumbar_spine", data)
    assert "unusable" in error and "--allow-missing" in error and ".csv" in error
    with pytest.raises(SystemExit) as left:
        places = ["--data", str(data), "--cache-dir", str(data.parent / "cache")]
        run_command(prepare_data.run, prepare_data.parser(), ["--task", "lumbar_spine", "--allow-missing", *places])
    assert left.value.code == 0 and "Left out" in capsys.readouterr().out


def test_stm_tables_and_scans(capsys, stm_source, copy_of):
    data = copy_of(stm_source)
    table = data / "lines.csv"
    healthy = table.read_text()
    for change, words in (
        (set_cell("line", "999"), "999"),
        (set_cell("line", "one"), "'one'"),
        (set_cell("scan", "nowhere"), "nowhere"),
        (lambda frame: frame.rename(columns={"label": "class"}), "'label'"),
        (lambda frame: frame.assign(label="clean"), "two or more"),
    ):
        table.write_text(healthy)
        edit(table, change)
        assert words in prepare(capsys, "stm_scanlines", data)
    table.write_text(healthy.splitlines()[0] + "\n")
    assert "lines.csv" in prepare(capsys, "stm_scanlines", data)
    table.unlink()
    assert "lines.csv" in prepare(capsys, "stm_scanlines", data)


def test_an_aborted_and_a_ragged_scan_are_left_out_by_name(capsys, stm_source, copy_of):
    data = copy_of(stm_source)
    scans = sorted(data.rglob("*.npz"))
    arrays = dict(np.load(scans[0]))
    np.savez(scans[0], **{name: np.full_like(array, np.nan) for name, array in arrays.items()})
    scans[1].write_bytes(b"PK\x03\x04 not a scan")
    error = prepare(capsys, "stm_scanlines", data)
    assert "2 unusable" in error and "--allow-missing" in error


def test_labelled_images(capsys, tmp_path):
    data = labelled_folder(tmp_path / "data")
    table = pd.read_csv(data / "labels.csv")
    assert "no column" in prepare(capsys, "images", data, "--label-column", "colour")
    assert "reads fixed columns" in prepare(capsys, "chestxray14", data, "--label-column", "ill")
    table.assign(second=table["image"].to_numpy()[::-1]).to_csv(data / "labels.csv", index=False)
    assert "--file-column" in prepare(capsys, "images", data)
    table.assign(ill=0).to_csv(data / "labels.csv", index=False)
    assert "no image has any" in prepare(capsys, "images", data)
    table.assign(image="x" + table["image"]).to_csv(data / "labels.csv", index=False)
    assert "names images" in prepare(capsys, "images", data)
    (data / "labels.csv").unlink()
    assert "no folder of images" in prepare(capsys, "images", data)

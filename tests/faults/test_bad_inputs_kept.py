"""What a refusal leaves, and what is let pass: allowed damage is listed, files made before stay as they are."""

import csv
import shutil
from collections import namedtuple

import numpy as np
import pytest
from bad_inputs import TABLE, copy_of, cut, healthy

from xlite.commands import prepare_data
from xlite.commands.cli import run as run_command


@pytest.fixture
def home(tmp_path):
    healthy(tmp_path)
    return tmp_path


def prepare(capsys, home, *more):
    """(exit code, stdout, stderr) of prepare_data."""
    places = ["--data", str(home / "nih"), "--cache-dir", str(home / "cache")]
    with pytest.raises(SystemExit) as left:
        run_command(prepare_data.run, prepare_data.parser(), [*places, *map(str, more)])
    return left.value.code, *capsys.readouterr()


def images(home):
    return sorted((home / "nih").rglob("*.png"))


def test_unreadable_images_are_left_out_when_allowed_and_listed(home, capsys):
    first, second, *_ = images(home)
    first.write_bytes(b"")
    second.unlink()
    code, out, _ = prepare(capsys, home, "--allow-missing")
    assert code == 0 and "1 missing and 1 unusable of 60 examples" in out
    with next((home / "cache").glob("excluded-*.csv")).open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "reason"]
    assert ["00000000_001.png", "missing"] in rows
    assert ["00000000_000.png", "unreadable: the file is empty"] in rows


def test_a_tampered_split_is_refused_and_a_new_one_not_drawn(home, capsys):
    assert prepare(capsys, home)[0] == 0
    split = next((home / "cache" / "splits").glob("*.csv"))
    split.write_text(split.read_text().replace(",test", ",train", 1))
    tampered = split.read_bytes()
    code, _, error = prepare(capsys, home)
    assert code == 2 and split.name in error and error.count("\n") == 1
    assert split.read_bytes() == tampered


def test_a_patient_on_both_official_lists_is_named(home, capsys):
    names = [path.name for path in images(home)]
    (home / "nih" / "train_val_list.txt").write_text("\n".join(names[1:]))
    (home / "nih" / "test_list.txt").write_text(names[0])
    code, _, error = prepare(capsys, home, "--split", "official")
    assert code == 2 and "patient 0 is on both" in error


def test_a_full_disk_is_one_line_and_what_was_made_stays(home, capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    code, _, error = prepare(capsys, home, "--image-size", "512")
    assert code == 2 and error.count("\n") == 1 and "--cache-dir" in error and "free" in error
    assert len(images(home)) == 60


def test_a_place_that_may_not_be_written_is_one_line(home, capsys, monkeypatch):
    """Root may write everywhere, so the refusal is the system's, given by hand."""
    import os

    make = os.mkdir

    def refuse(path, *more, **options):
        if "cache" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return make(path, *more, **options)

    monkeypatch.setattr(os, "mkdir", refuse)
    code, _, error = prepare(capsys, home)
    assert code == 2 and error.count("\n") == 1 and "Permission denied" in error and "cache" in error


def test_a_file_that_may_not_be_read_is_one_line(home, capsys, monkeypatch):
    from pathlib import Path

    table, opened = home / TABLE, Path.open

    def refuse(path, *more, **options):
        if path == table:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *more, **options)

    monkeypatch.setattr(Path, "open", refuse)
    code, _, error = prepare(capsys, home)
    assert code == 2 and error == f"error: {table}: Permission denied; fix that or use another place\n"


def test_a_damaged_slice_is_left_out_with_its_levels_when_allowed(home, capsys):
    copy_of("lumbar", cut("train_images/*/*/*.dcm", 900, at=10))(home)
    code, out, _ = prepare(capsys, home, "--task", "lumbar_spine", "--data", home / "lumbar", "--allow-missing")
    assert code == 0 and "Left out" in out and "excluded-" in out


def test_an_aborted_and_a_damaged_scan_are_left_out_by_name(home, capsys):
    copy_of("stm")(home)
    aborted, damaged, *_ = sorted((home / "stm").rglob("*.npz"))
    arrays = dict(np.load(aborted))
    np.savez(aborted, **{name: np.full_like(array, np.nan) for name, array in arrays.items()})
    damaged.write_bytes(b"PK\x03\x04 not a scan")
    code, _, error = prepare(capsys, home, "--task", "stm_scanlines", "--data", home / "stm")
    assert code == 2 and "2 unusable of 12" in error and "--allow-missing" in error


def test_tables_of_other_systems_are_read(home, capsys):
    table = (home / TABLE).read_text()
    for data in (table.encode("utf-8-sig"), table.replace("\n", "\r\n").encode(), table.replace("\n", "\r").encode()):
        (home / TABLE).write_bytes(data)
        code, out, error = prepare(capsys, home)
        assert code == 0 and "42 train" in out, error


def test_what_a_part_cannot_judge_is_said_before_anything_is_trained(home, capsys):
    lines = (home / TABLE).read_text().splitlines()
    (home / TABLE).write_text("\n".join([*lines[:-2], lines[-2].replace("|", "|Hernia|", 1), lines[-1]]) + "\n")
    code, out, error = prepare(capsys, home)
    assert code == 0, error
    (said,) = [line for line in out.splitlines() if "the test part has no" in line]
    assert "Hernia" in said and "Mass" in said and "Effusion" not in said and "left out of its averages" in said


def test_a_test_part_that_can_judge_nothing_is_said_before_the_search():
    from xlite.data.split import Split, check_split
    from xlite.data.table import Item, Table

    ids = np.array([f"i{k}" for k in range(9)])
    targets = np.array([[1, 0], [0, 1], [1, 1], [1, 0], [0, 1], [0, 0], [1, 0], [1, 0], [1, 0]], np.float32)
    table = Table(ids, tuple(Item(()) for _ in ids), ids, targets, ("a", "b"))
    split = Split(np.arange(3), np.arange(3, 6), np.arange(6, 9), "patient", 0)
    (note,) = check_split(table, split)
    assert "in the 3 images of the test part" in note and "promotion would fail" in note and "--no-promote" in note

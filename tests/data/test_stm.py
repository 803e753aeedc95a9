"""The STM reader: windows label each line once; errors in a table or a scan are one line."""

import gzip
import json
import struct
import sys

import numpy as np
import pytest
from conftest import SHARED

from xlite.data.scan_lines import ScanLinePreprocess, load_scan
from xlite.data.sources.stm import read_stm
from xlite.errors import InputError

REAL = SHARED / "stm_scans"


def scan(lines=10, points=24, seed=0):
    return np.random.default_rng(seed).normal(size=(lines, points)).astype(np.float32)


def write_folder(folder, scans, rows, *, header="scan,line,label", name="lines.csv"):
    folder.mkdir(exist_ok=True)
    for scan_name, values in scans.items():
        np.savez(folder / scan_name, Z_fwd=values, Z_bwd=values)
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return folder


def alternating(name, lines):
    return [f"{name},{line},{'ab'[line % 2]}" for line in range(lines)]


def write_sxm(path, forward, *, header_extra=b"", cut=0):
    """A Nanonis scan of one channel, both directions, as the instrument writes it."""
    lines, points = forward.shape
    header = (
        b":NANONIS_VERSION:\n2\n:SCANIT_TYPE:\n              FLOAT            MSBFIRST\n"
        b":REC_DATE:\n 01.01.2024\n:REC_TIME:\n12:00:00\n:REC_TEMP:\n      290.0\n:ACQ_TIME:\n       10.0\n"
        + f":SCAN_PIXELS:\n       {points}       {lines}\n".encode()
        + b":SCAN_FILE:\nC:\\scan.sxm\n:SCAN_TIME:\n             1.0E-1             1.0E-1\n"
        b":SCAN_RANGE:\n           1.0E-8           1.0E-8\n:SCAN_OFFSET:\n             0.0E+0         0.0E+0\n"
        b":SCAN_ANGLE:\n            0.0E+0\n:SCAN_DIR:\nup\n:BIAS:\n            1.0E+0\n"
        + header_extra
        + b":DATA_INFO:\n\tChannel\tName\tUnit\tDirection\tCalibration\tOffset\n"
        b"\t14\tZ\tm\tboth\t1.0E+0\t0.0E+0\n\n:SCANIT_END:\n\n\n\x1a\x04"
    )
    values = np.concatenate([forward.ravel(), forward[:, ::-1].ravel()])
    data = struct.pack(f">{len(values)}f", *values)
    path.write_bytes(header + data[: len(data) - cut])


def test_windows_tile_a_scan_and_label_each_line_once(tmp_path):
    parsed = read_stm(write_folder(tmp_path, {"s": scan()}, alternating("s", 10)), window_lines=4)
    table = parsed.table
    assert parsed.kind == "multiclass" and table.labels == ("a", "b")
    assert table.ids.tolist() == ["s:0000", "s:0004", "s:0006"]
    known = np.isfinite(table.targets).all(axis=2)
    assert known.tolist() == [[True] * 4, [True] * 4, [False, False, True, True]]
    assert table.targets[2, 2:].argmax(axis=1).tolist() == [0, 1]  # lines 8 and 9
    assert json.loads(table.items[2].detail) == {"start": 6, "lines": 4, "window": 4}
    assert table.auxiliary.tolist() == [[4]] * 3 and table.groups.tolist() == ["s"] * 3


def test_a_scan_shorter_than_the_window_is_padded(tmp_path):
    folder = write_folder(tmp_path, {"s": scan(lines=3)}, alternating("s", 3))
    table = read_stm(folder, window_lines=8).table
    assert table.targets.shape == (1, 8, 2) and table.auxiliary.tolist() == [[3]]
    assert np.isnan(table.targets[0, 3:]).all() and np.isfinite(table.targets[0, :3]).all()


def test_window_0_is_the_whole_scan_padded_to_the_longest(tmp_path):
    folder = write_folder(
        tmp_path, {"s": scan(lines=3), "t": scan(lines=7)}, [*alternating("s", 3), *alternating("t", 7)]
    )
    table = read_stm(folder, window_lines=0).table
    assert table.ids.tolist() == ["s:0000", "t:0000"] and table.targets.shape == (2, 7, 2)
    assert table.auxiliary.tolist() == [[3], [7]]


def test_empty_and_missing_labels_are_unknown_and_windows_without_any_are_left_out(tmp_path):
    rows = ["s.npz,0,a", "s.npz,1,", "s.npz,2,b"]
    parsed = read_stm(write_folder(tmp_path, {"s": scan(lines=8)}, rows), window_lines=4)
    assert np.isfinite(parsed.table.targets[0, :, 0]).tolist() == [True, False, True, False]
    assert len(parsed.table) == 1 and "1 windows" in parsed.notes[0]


def test_numeric_classes_are_sorted_by_number(tmp_path):
    folder = write_folder(tmp_path, {"s": scan()}, ["s,0,10", "s,1,9", "s,2,2"])
    assert read_stm(folder).table.labels == ("2", "9", "10")


def test_the_group_column_groups_scans(tmp_path):
    rows = ["s,0,a,mica", "t,0,b,mica", "u,0,b,"]
    folder = write_folder(
        tmp_path, {name: scan() for name in "stu"}, rows, header="scan,line,label,group", name="labels.csv"
    )
    assert read_stm(folder).table.groups.tolist() == ["mica", "mica", "u"]


def test_a_gzipped_table_and_a_folder_of_scans_are_found(tmp_path):
    (tmp_path / "scans").mkdir()
    np.save(tmp_path / "scans" / "s.npy", scan())
    text = "\n".join(["scan,line,label", *alternating("s.npy", 10)])
    (tmp_path / "lines.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert len(read_stm(tmp_path, window_lines=0).table) == 1


def test_a_missing_line_is_unknown(tmp_path):
    values = scan()
    values[4] = np.nan
    values[5, :5] = np.nan  # a gap, still a line
    table = read_stm(write_folder(tmp_path, {"s": values}, alternating("s", 10)), window_lines=10).table
    assert np.flatnonzero(np.isnan(table.targets[0, :, 0])).tolist() == [4]


def test_unreadable_scans_are_excluded_with_the_reason(tmp_path):
    bad = {
        "aborted": np.full((10, 24), np.nan, np.float32),
        "flat": np.ones((10, 24)),
        "stack": np.zeros((3, 10, 24)),
        "words": np.full((10, 24), "x"),
        "objects": np.array([[1], [1, 2]], dtype=object),
    }
    rows = [*alternating("s", 10), *(f"{name},0,a" for name in bad), "cut,0,a", "empty,0,a", "short,0,a"]
    folder = write_folder(tmp_path, {"s": scan(), **bad}, rows)
    (folder / "cut.npz").write_bytes((folder / "s.npz").read_bytes()[:300])
    (folder / "empty.npy").touch()
    write_sxm(folder / "short.sxm", scan(), cut=8)
    parsed = read_stm(folder)
    assert len(parsed.table) == 1
    assert set(parsed.excluded) == {*bad, "cut", "empty", "short"}
    assert "aborted" in parsed.excluded["aborted"] and "constant" in parsed.excluded["flat"]
    assert "(3, 10, 24)" in parsed.excluded["stack"] and "not numbers" in parsed.excluded["words"]
    assert all("\n" not in reason for reason in parsed.excluded.values())


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no rows"),
        (["s,0,a", "s,1,a"], "1 class;"),
        (["s,0,a", "s,10,b"], "row 3 has line 10, but s.npz has lines 0-9"),
        (["s,0,a", "s,-1,b"], "row 3 has line '-1'"),
        (["s,0,a", "s,1.5,b"], "row 3 has line '1.5'"),
        (["s,0,a", "s,1,b", "s.npz,01,a"], "s.npz line 1 is in rows 3 and 4"),
        (["s,0,a", "t,1,b"], "row 3: no scan file 't'"),
        (["s,0,a", ",1,b"], "row 3 has no scan"),
        (["t,0,a", "t,1,b"], "row 2: no scan file 't'"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path, rows, says):
    with pytest.raises(InputError) as error:
        read_stm(write_folder(tmp_path, {"s": scan()}, rows))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_wrong_folder_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"no lines\.csv"):
        read_stm(tmp_path)
    write_folder(tmp_path, {}, ["s,0,a"], name="one.csv")
    with pytest.raises(InputError, match="no scan"):
        read_stm(tmp_path)
    write_folder(tmp_path, {"s": scan()}, ["s,0,a"], name="two.csv")
    with pytest.raises(InputError, match=r"which of one\.csv, two\.csv"):
        read_stm(tmp_path)
    write_folder(tmp_path, {}, ["s,0"], header="scan,line")
    with pytest.raises(InputError, match="no column 'label'"):
        read_stm(tmp_path)


def test_a_scan_has_one_group(tmp_path):
    folder = write_folder(tmp_path, {"s": scan()}, ["s,0,a,x", "s,1,b,y"], header="scan,line,label,group")
    with pytest.raises(InputError, match=r"row 3 puts s\.npz into group 'y'"):
        read_stm(folder)


def test_a_name_that_matches_two_files_is_refused_unless_the_suffix_is_given(tmp_path):
    folder = write_folder(tmp_path, {"s": scan()}, ["s,0,a", "s,1,b"])
    np.save(folder / "s.npy", scan())
    with pytest.raises(InputError, match=r"row 2: which of s\.npz, s\.npy"):
        read_stm(folder)
    write_folder(tmp_path, {}, ["s.npz,0,a", "s.npy,1,b"])
    assert read_stm(folder).table.ids.tolist() == ["s.npy:0000", "s.npz:0000"]


def test_missing_scans_are_left_out_if_allowed(tmp_path):
    folder = write_folder(tmp_path, {"s": scan()}, [*alternating("s", 10), "gone,0,a"])
    assert read_stm(folder, allow_missing=True).missing == ("gone",)


def test_arrays_of_unknown_names_are_listed(tmp_path):
    np.savez(tmp_path / "s.npz", left=scan(), right=scan())
    with pytest.raises(InputError, match="left, right"):
        load_scan(tmp_path / "s.npz")
    np.savez(tmp_path / "t.npz", left=scan(), bias=np.float32(1), note=np.array(["x"]))
    assert load_scan(tmp_path / "t.npz").shape == (10, 24)


def test_the_current_is_read_if_the_topography_is_flat(tmp_path):
    flat = np.repeat(np.arange(10.0)[:, None], 24, axis=1)  # steps of the drift correction between constant lines
    np.savez(tmp_path / "s.npz", Z_fwd=flat, Current_fwd=scan(seed=1), Current_bwd=scan(seed=2))
    np.testing.assert_array_equal(load_scan(tmp_path / "s.npz"), scan(seed=1))
    np.savez(tmp_path / "t.npz", Z_fwd=scan(), Current_fwd=scan(seed=1))
    np.testing.assert_array_equal(load_scan(tmp_path / "t.npz"), scan())


def test_a_nanonis_file_is_read_as_it_was_recorded(tmp_path):
    pytest.importorskip("nanonispy2")
    values = scan(lines=12, points=16)
    write_sxm(tmp_path / "s.sxm", values, header_extra=":COMMENT:\nT = 4 \u00b0C\n\n".encode("latin-1"))
    np.testing.assert_array_equal(load_scan(tmp_path / "s.sxm"), values)
    (tmp_path / "lines.csv").write_text("\n".join(["scan,line,label", *alternating("s", 12)]))
    item = read_stm(tmp_path, window_lines=12).table.items[0]
    assert ScanLinePreprocess(points=16, window_lines=12).read(item).shape == (12, 16)


def test_a_nanonis_file_without_its_reader_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nanonispy2.read", None)
    write_sxm(tmp_path / "s.sxm", scan())
    with pytest.raises(InputError, match="pip install nanonispy2"):
        load_scan(tmp_path / "s.sxm")


@pytest.mark.skipif(not REAL.is_dir(), reason="real STM scans are not here")
def test_real_scans_are_read_except_the_aborted_one(tmp_path):
    files = sorted(REAL.glob("*.npz"))
    rows = ["scan,line,label"]
    for file in files:
        (tmp_path / file.name).symlink_to(file)
        rows += [f"{file.stem},{line},{'ab'[line % 3 == 0]}" for line in range(80)]
    (tmp_path / "lines.csv").write_text("\n".join(rows))
    parsed = read_stm(tmp_path)
    assert list(parsed.excluded) == ["tycoon_empty"] and len(set(parsed.table.groups)) == len(files) - 1
    preprocess = ScanLinePreprocess(points=64, window_lines=32)
    for item in parsed.table.items:
        window = preprocess.read(item).astype(np.float64)
        assert np.isfinite(window).all() and window.std(axis=1).min() > 0

"""Foreign files run nothing: not when loaded, not in a report, a spreadsheet or a terminal, and lead nowhere else."""

import ast
import csv
import hashlib
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from bad_inputs import healthy, teacher
from conftest import REPO

from xlite.commands import analyze, leaderboard, prepare_data, train_one
from xlite.commands.cli import run as run_command
from xlite.data.sources.folder import read_images
from xlite.errors import InputError
from xlite.ledger import Ledger, TrialResult, sqlite_url
from xlite.metrics.multilabel import DeadLabels
from xlite.storage.files import read_json, write_json
from xlite.storage.text import csv_text, escape_cell, unescape_cell
from xlite.train.summary import RunSummary

CODE = [
    path for folder in ("xlite", "runners", "search_spaces", "benchmarks") for path in (REPO / folder).rglob("*.py")
]
RUNS_WHAT_IT_READS = {
    *("pickle", "cPickle", "dill", "shelve", "marshal", "jsonpickle", "joblib", "torch.hub"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle", "pd.read_pickle", "eval", "exec"),
    *("os.system", "os.popen", "subprocess.getoutput"),
}
FORMULA, SCRIPT = "=cmd|' ⁄C calc'!A0", "<script>alert(1)<⁄script>"  # "/" cannot stand in a folder's name


class Trap:
    """An object whose pickle makes a file where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            for alias in node.names:
                name = f"{module}.{alias.name}".lstrip(".")
                if alias.name in RUNS_WHAT_IT_READS or name in RUNS_WHAT_IT_READS or module in RUNS_WHAT_IT_READS:
                    yield name
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if name in RUNS_WHAT_IT_READS or given.get("shell") is True or given.get("allow_pickle") is True:
                yield name
            if name == "torch.load" and given.get("weights_only") is not True:
                yield name


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(REPO)))
def test_nothing_that_runs_what_it_reads_is_used(path: Path) -> None:
    assert not list(unsafe(ast.parse(path.read_text())))


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "from torch import hub", "eval(x)", "import torch\ntorch.load(f)",
        "np.load(f, allow_pickle=True)", "pd.read_pickle(f)", "subprocess.run(x, shell=True)", "yaml.load(f)",
    ],
)  # fmt: skip
def test_the_search_for_it_finds_it(code: str) -> None:
    assert list(unsafe(ast.parse(code)))


def called(module, *arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        run_command(module.run, module.parser(), [str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    healthy(tmp_path)
    return tmp_path


def test_a_pickle_given_as_a_teacher_is_not_loaded(home: Path, capsys) -> None:
    teacher()(home)
    mark, places = home / "mark", ("--data", home / "nih", "--cache-dir", home / "cache", "--image-size", 32)
    weights = pickle.dumps(Trap(mark))
    pickle.loads(weights)
    assert mark.exists()  # the trap works
    mark.unlink()
    (home / "teacher.safetensors").write_bytes(weights)
    digest = hashlib.sha256(weights).hexdigest()
    write_json(home / "teacher.json", {**read_json(home / "teacher.json"), "weights_sha256": digest})
    assert called(train_one, *places, "--teacher", home / "teacher.safetensors") == 2
    assert "not a safetensors file" in capsys.readouterr().err and not mark.exists()
    (home / "backbone.pt").write_bytes(weights)
    assert called(train_one, *places, "--set", f"model.weights={home / 'backbone.pt'}") == 2
    assert not mark.exists()


def test_pickles_in_scans_and_pixel_caches_are_not_loaded(home: Path, capsys) -> None:
    mark = home / "mark"
    scans = home / "stm"
    scans.mkdir()
    trap = np.array([[Trap(mark)] * 4] * 4, dtype=object)
    np.save(scans / "a.npy", trap, allow_pickle=True)
    np.savez(scans / "b.npz", z_fwd=trap)
    rows = [(name, line, "xy"[line % 2]) for name in ("a", "b") for line in range(4)]
    pd.DataFrame(rows, columns=["scan", "line", "label"]).to_csv(scans / "lines.csv", index=False)
    assert called(prepare_data, "--task", "stm_scanlines", "--data", scans, "--cache-dir", home / "cache") == 2
    assert "none of the 2 scans can be read" in capsys.readouterr().err and not mark.exists()
    places = ("--data", home / "nih", "--cache-dir", home / "cache", "--image-size", 64)
    assert called(prepare_data, *places) == 0
    (pixels,) = (home / "cache").glob("*/pixels.npy")
    np.save(pixels, trap, allow_pickle=True)
    assert called(prepare_data, *places) == 0  # made again from the images
    assert np.load(pixels, mmap_mode="r").shape == (60, 64, 64) and not mark.exists()


def test_text_that_a_spreadsheet_would_run_is_kept_from_it_and_read_back() -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "'", "", "plain", "a=b", FORMULA]
    for text in texts:
        cell = escape_cell(text)
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝")) and unescape_cell(cell) == text
    written = csv_text([texts, [-1, -0.5, 2]])
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert [unescape_cell(cell) for cell in rows[0]] == texts and rows[1] == ["-1", "-0.5", "2"]


def hostile_images(folder: Path) -> Path:
    """Three classes of images whose names are code."""
    rng = np.random.default_rng(0)
    for name in (FORMULA, SCRIPT, "[bold]$(touch mark)"):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            cv2.imwrite(str(folder / name / f"=1+{number}.png"), rng.integers(0, 255, (16, 16), dtype=np.uint8))
    (folder / FORMULA / "=1+99.png").write_bytes(b"no picture")
    return folder


def test_names_that_are_code_are_data_on_the_way_through_preparing(tmp_path: Path, capsys) -> None:
    places = ("--task", "images", "--data", hostile_images(tmp_path / "data"), "--cache-dir", tmp_path / "cache")
    assert called(prepare_data, *places, "--allow-missing") == 0
    out = capsys.readouterr().out
    assert FORMULA in out and SCRIPT in out and "[bold]$(touch mark)" in out
    for path in (tmp_path / "cache").glob("excluded-*.csv"):
        with path.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert f"'{FORMULA}/=1+99.png" in cells and not any(cell.startswith("=") for cell in cells)
    assert called(prepare_data, *places, "--allow-missing") == 0  # the stored split is read back


def hostile_study(results: Path) -> None:
    study = results / "kd"
    (study / "study.db").unlink()
    with Ledger.open(sqlite_url(study / "study.db"), "kd", create=True, metadata={"metric": SCRIPT}) as ledger:
        for number in range(3):
            ledger.enqueue({"distill.alpha": 0.5, "distill.temperature": 4.0})
            ledger.ask(lambda trial: {})
            per_label = {FORMULA: {"auc": 0.5}, SCRIPT: {"auc": 0.4}}
            summary = RunSummary(
                config={"loss.name": f"{FORMULA} [x](javascript:alert(1))", "model.backbone": "\x1b[2J=1"},
                per_label=per_label,
                notes=(f"{FORMULA} collapsed", "![x](http://127.0.0.1/x.png)", "\x1b[31m"),
                dead_labels=DeadLabels((FORMULA, SCRIPT), 2, exclusive=False),
                device=SCRIPT,
                seconds=3,
                epochs=1,
                best_epoch=1,
            )
            if number == 2:
                result = TrialResult(summary=summary, reason=f"{SCRIPT}\n| a |\n[x](y)")
                ledger.finish(number, "failed", value=None, result=result)
            else:
                ledger.finish(number, "complete", value=0.5, result=TrialResult(summary=summary))
    write_json(study / "study.json", {"teacher": {"name": f"{SCRIPT}\n# x", "value": 0.7}, "shares": [1]})


def test_a_study_whose_words_are_code_is_reported_inert(home: Path, capsys) -> None:
    hostile_study(home / "results")
    places = ("--study", "kd", "--results", home / "results")
    assert called(leaderboard, *places, "--csv", home / "l.csv") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\\x1b[2J" in out
    with (home / "l.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    assert f"val_auc_{FORMULA}" in header and f"val_auc_{SCRIPT}" in header and len(rows) == 3
    assert not [cell for row in (header, *rows) for cell in row if cell.startswith(("=", "+", "@", "\t", "\r"))]
    assert called(analyze, *places, "--out", home / "out") == 0
    report = (home / "out" / "analysis.md").read_text()
    assert "<" not in report and "&lt;script&gt;" in report
    assert "](http" not in report and "](javascript" not in report and "](y)" not in report
    assert "\n# x" not in report and "](curves.png)" not in report


def test_links_are_followed_and_names_are_not(tmp_path: Path) -> None:
    """The folder's owner makes links; the text of a table comes from anywhere."""
    outside, data = tmp_path / "outside", tmp_path / "data"
    outside.mkdir()
    data.mkdir()
    for number in range(8):
        cv2.imwrite(str(outside / f"{number}.png"), np.full((8, 8), number, np.uint8))
        (data / f"{number}.png").symlink_to(outside / f"{number}.png")
    (data / "loop").symlink_to(data)
    (data / "dangling.png").symlink_to(tmp_path / "gone")
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(8)], "ill": [k % 2 for k in range(8)]})
    table.to_csv(data / "labels.csv", index=False)
    reading = read_images(data)
    assert [item.path for item in reading.table.items] == [data / f"{k}.png" for k in range(8)]
    for prefix in ("../outside/", str(outside) + "/", "../../outside/"):
        for number in range(8):
            (data / f"{number}.png").unlink(missing_ok=True)
        table.assign(image=prefix + table["image"]).to_csv(data / "labels.csv", index=False)
        with pytest.raises(InputError, match=r"names images|no image in it|is there"):
            read_images(data)


def test_pipes_and_devices_are_passed_over(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), np.full((8, 8), number, np.uint8))
    os.mkfifo(tmp_path / "a" / "pipe.png")
    os.mkfifo(tmp_path / "labels.csv")
    (tmp_path / "b" / "endless.png").symlink_to("/dev/zero")
    assert len(read_images(tmp_path).table) == 6


def test_a_small_file_that_unpacks_to_a_huge_table_is_refused(tmp_path: Path, monkeypatch) -> None:
    import gzip

    from xlite.data.sources import csv_text, listing

    monkeypatch.setattr(csv_text, "MAX_TABLE_BYTES", 10_000)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 100_000))
    with pytest.raises(InputError, match="more than 10,000 bytes, too large for a label table"):
        listing.read_columns(tmp_path / "t.csv.gz", ("a",))


def test_a_password_is_in_no_line_that_a_runner_prints(home: Path, capsys) -> None:
    for module in (leaderboard, analyze):
        for url in ("oracle://tiger:SECRET@localhost/base", "nosuch://tiger:SECRET@host/base"):
            more = ("--out", home / "out") if module is analyze else ()
            assert called(module, "--study", "kd", "--results", home / "results", "--storage", url, *more) == 2
            said = capsys.readouterr()
            assert "SECRET" not in said.err + said.out and said.err.count("\n") == 1

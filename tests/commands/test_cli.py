"""What commands share: argument types, exit codes, quick help."""

import argparse
import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlite.commands import cli
from xlite.errors import InputError, TrainingFailed

ROOT = Path(__file__).resolve().parents[2]
SLOW = {"pydantic", "torch", "optuna", "pandas", "ray", "numpy", "timm", "cv2", "sklearn"}


def code_of(main: Callable[[argparse.Namespace], Any], argv: list[str] | None = None) -> object:
    parser = cli.parser("A test.")
    parser.add_argument("--trials", type=cli.positive_int, default=16, help="configurations in all")
    parser.add_argument("--csv", help="a file")
    with pytest.raises(SystemExit) as caught:
        cli.run(main, parser, argv or [])
    return caught.value.code


def raises(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def main(arguments: argparse.Namespace) -> None:
        raise error

    return main


def test_the_exit_code_is_main_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(lambda arguments: None) == 0
    assert code_of(lambda arguments: 3) == 3
    assert code_of(lambda arguments: arguments.trials, ["--trials", "7"]) == 7
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("a.csv: row 3\nhas no label"), 2, "error: a.csv: row 3 has no label\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/x.bin"),
            2,
            "error: /data/x.bin: No space left on device; free some space, then run the same command again\n",
        ),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            2,
            "error: Disk quota exceeded; free some space, then run the same command again\n",
        ),
    ],
)
def test_what_a_person_can_mend_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(raises(error)) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("bug", [ValueError("ours"), FileNotFoundError("ours"), BrokenPipeError("another pipe")])
def test_our_own_bugs_keep_their_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)):
        cli.run(raises(bug), cli.parser("A test."), [])


def test_a_training_that_fails_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(raises(TrainingFailed("the loss is nan at epoch 2"))) == 1
    assert capsys.readouterr().err == "Training failed: the loss is nan at epoch 2\n"


def test_a_wrong_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(raises(AssertionError()), ["--trials", "none"]) == 2
    assert capsys.readouterr().err == (
        "error: argument --trials: got 'none'; write a whole number above 0, e.g. 16; --help lists the options\n"
    )
    assert code_of(raises(AssertionError()), ["--trial", "3"]) == 2  # no abbreviations
    assert capsys.readouterr().err == "error: unrecognized arguments: --trial 3; --help lists the options\n"


def test_help_shows_defaults_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(raises(AssertionError()), ["--help"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"configurations in all \(default: 16\)", text)
    assert "None" not in text


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (cli.positive_int, "16", 16),
        (cli.positive_int, "1e3", 1000),
        (cli.positive_float, "0.5", 0.5),
        (cli.share, "auto", "auto"),
        (cli.seed, "0", 0),
        (cli.duration, "8h", 28_800.0),
        (cli.duration, "30m", 1_800.0),
        (cli.duration, "90s", 90.0),
        (cli.duration, "1h30m", 5_400.0),
        (cli.duration, "1.5d", 129_600.0),
        (cli.size, "6M", 6_000_000),
        (cli.size, "500k", 500_000),
        (cli.size, "11.4M", 11_400_000),
        (cli.size, "40000", 40_000),
    ],
)
def test_arguments_are_read(kind: Callable[[str], Any], text: str, value: Any) -> None:
    assert kind(text) == value
    assert type(kind(text)) is type(value)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (cli.positive_int, ["0", "-1", "1.5", "nan", "inf", "", "many"]),
        (cli.positive_float, ["0", "-0.1", "nan", "inf", "x"]),
        (cli.share, ["-0.5", "0", "1.5", "nan", "Auto"]),
        (cli.seed, ["-1", "4294967296", "0.5"]),
        (cli.duration, ["8", "h", "0s", "8 hours", "-3m", "1h30", ""]),
        (cli.size, ["0", "M", "6MB", "-5k", "", "0.1"]),
    ],
)
def test_arguments_that_mean_nothing_are_refused(kind: Callable[[str], Any], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=re.escape(f"got {text!r}; write")):
            kind(text)


def test_paths_are_absolute_and_what_they_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert cli.output_dir("later") == tmp_path / "later"
    assert cli.output_file("out.csv") == tmp_path / "out.csv"
    refused = [
        (cli.output_dir, "file", "file: is a file, not a folder"),
        (cli.output_file, ".", "is a folder"),
        (cli.output_file, "no/out.csv", "no: no such folder"),
    ]
    for kind, text, message in refused:
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            kind(text)


def test_a_study_lies_in_a_folder_of_its_name(tmp_path: Path) -> None:
    assert cli.study_folder(tmp_path, "kd_1") == tmp_path / "kd_1"
    with pytest.raises(InputError, match=r"study name 'a/b': use letters"):
        cli.study_folder(tmp_path, "a/b")


def test_an_unknown_study_is_answered_with_those_there_are(tmp_path: Path) -> None:
    for name in ("b", "a", "no_study"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "study.db").touch()
    (tmp_path / "b" / "study.json").touch()
    assert cli.existing_study_folder(tmp_path, "a") == tmp_path / "a"
    for name in ("no_study", "c"):
        with pytest.raises(InputError, match=f"^no study '{name}' in {tmp_path}; studies there: a, b$"):
            cli.existing_study_folder(tmp_path, name)
    with pytest.raises(InputError, match=r"studies there: none$"):
        cli.existing_study_folder(tmp_path / "nowhere", "a")


def test_a_study_without_a_name_is_called_after_its_time_and_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert re.fullmatch(r"\d{8}_\d{6}", cli.default_study_name())
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert re.fullmatch(r"\d{8}_\d{6}_j4711", cli.default_study_name())


@pytest.mark.parametrize("runner", sorted((ROOT / "runners").glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize(("option", "code"), [("--help", 0), ("--no-such-option", 2)])
def test_help_and_wrong_options_wait_for_nothing_slow(runner: Path, option: str, code: int) -> None:
    command = [sys.executable, "-X", "importtime", str(runner), option]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "argparse" in loaded
    assert not loaded & SLOW


def test_a_reader_that_leaves_early_ends_it_quietly() -> None:
    script = (
        "from xlite.commands import cli\n"
        "def main(arguments):\n    for line in range(200_000): print(line)\n"
        "cli.run(main, cli.parser('x'), [])\n"
    )
    read_end, write_end = os.pipe()
    with subprocess.Popen([sys.executable, "-c", script], stdout=write_end, stderr=subprocess.PIPE) as process:
        os.close(write_end)
        os.read(read_end, 10)
        os.close(read_end)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141

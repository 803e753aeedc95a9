"""The balance check as a command: a label table is enough, and a mistake is one line."""

import csv
import gzip

import pytest
from conftest import HEADER, run_runner

from xlite.commands import check_balance
from xlite.commands.cli import run as run_command


@pytest.fixture
def labels(tmp_path):
    """A label table without images."""
    folder = tmp_path / "labels"
    folder.mkdir()
    findings = ["Effusion"] * 30 + ["Hernia|Effusion"] * 3 + ["No Finding"] * 40
    rows = [f"{i:08d}_000.png,{finding},0,{i},50,F,PA,1,1,1,1\n" for i, finding in enumerate(findings)]
    (folder / "Data_Entry_2017_v2020.csv.gz").write_bytes(gzip.compress((HEADER + "".join(rows)).encode()))
    return folder


def called(capsys, *arguments):
    """(exit code, stdout, stderr) of the command in this process."""
    with pytest.raises(SystemExit) as left:
        run_command(check_balance.run, check_balance.parser(), [str(a) for a in arguments])
    return left.value.code, *capsys.readouterr()


def test_a_table_without_images_is_measured_and_saved(labels, tmp_path):
    done = run_runner("check_balance", "--data", labels, "--batches", 20, "--batch-size", 8, "--out", tmp_path / "o")
    assert (done.returncode, done.stderr) == (0, "")
    assert "73 images, 14 labels; 20 batches of 8" in done.stdout and "CV 0 would be" in done.stdout
    with (tmp_path / "o" / "balance.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4 * 14
    assert (tmp_path / "o" / "balance.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: next(folder.iterdir()).unlink(), ["labels", "no Data_Entry_2017"]),
        (lambda folder: (next(folder.iterdir()).unlink(), folder.rmdir()), ["labels", "no such folder"]),
        (lambda folder: next(folder.iterdir()).write_bytes(b"no gzip"), ["damaged gzip file"]),
    ],
)
def test_a_folder_without_a_table_is_one_line(labels, tmp_path, capsys, change, words):
    change(labels)
    code, _, error = called(capsys, "--data", labels, "--out", tmp_path / "o")
    assert (code, error.count("\n")) == (2, 1) and error.startswith("error: ")
    assert all(word in error for word in words), error
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("arguments", [("--batches", 0), ("--batch-size", "many"), ("--seed", -1)])
def test_a_mistaken_option_is_named(labels, capsys, arguments):
    code, _, error = called(capsys, "--data", labels, *arguments)
    assert code == 2 and arguments[0] in error


def test_a_batch_larger_than_the_table_is_the_table(labels, tmp_path, capsys):
    code, out, _ = called(capsys, "--data", labels, "--batches", 2, "--batch-size", 500, "--out", tmp_path / "o")
    assert code == 0 and "none " in out

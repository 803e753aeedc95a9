"""The bad-input table: each mistake, in every runner, is one line that names the thing, and exit code 2."""

import re
from collections import Counter

import pytest
from bad_inputs import PLACES, Row, healthy
from conftest import REPO, run_runner
from rows_data import DATA
from rows_evaluate import EVALUATE
from rows_explain import EXPLAIN
from rows_export import EXPORT
from rows_options import OPTIONS
from rows_package import PACKAGE
from rows_predict import PREDICT
from rows_studies import STUDIES
from rows_watch import WATCH

from xlite.commands import (
    analyze,
    check_balance,
    check_gpu,
    compare,
    evaluate,
    explain,
    export,
    leaderboard,
    package,
    predict,
    prepare_data,
    promote,
    teacher_bank,
    train_baselines,
    train_one,
    train_teacher,
    tune_kd,
    watch,
)
from xlite.commands.cli import run as run_command
from xlite.storage.text import has_control_characters

COMMANDS = {
    "analyze": analyze,
    "check_balance": check_balance,
    "check_gpu": check_gpu,
    "compare": compare,
    "export": export,
    "explain": explain,
    "evaluate": evaluate,
    "leaderboard": leaderboard,
    "package": package,
    "predict": predict,
    "prepare_data": prepare_data,
    "promote": promote,
    "teacher_bank": teacher_bank,
    "train_baselines": train_baselines,
    "train_one": train_one,
    "train_teacher": train_teacher,
    "tune_kd": tune_kd,
    "watch": watch,
}
ROWS: list[Row] = [*OPTIONS, *DATA, *STUDIES, *PREDICT, *PACKAGE, *EXPORT, *EXPLAIN, *EVALUATE, *WATCH]
SECRET = "SECRET"  # where a row has a password, this is it


def check_line(row: Row, error: str) -> None:
    assert error.startswith("error: ") and error.count("\n") == 1 and error.endswith("\n"), error
    assert not has_control_characters(error[:-1]) and SECRET not in error, repr(error)
    assert re.search(row.line, error.strip()), error


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_mistake_is_one_line_that_names_it(row: Row, tmp_path, capfd) -> None:
    healthy(tmp_path)
    row.given(tmp_path)
    module = COMMANDS[row.command]
    with pytest.raises(SystemExit) as left:
        run_command(module.run, module.parser(), row.words(tmp_path))
    said = capfd.readouterr()
    assert left.value.code == row.code, said
    check_line(row, said.err)


@pytest.mark.parametrize("row", [row for row in ROWS if row.shell], ids=lambda row: row.id)
def test_a_shell_sees_the_same(row: Row, tmp_path) -> None:
    healthy(tmp_path)
    row.given(tmp_path)
    done = run_runner(row.command, *row.words(tmp_path))
    assert done.returncode == row.code, done
    check_line(row, done.stderr)


def test_every_runner_has_rows_and_no_two_rows_are_the_same() -> None:
    assert set(COMMANDS) == set(PLACES) == {path.stem for path in (REPO / "runners").glob("*.py")}
    assert min(Counter(row.command for row in ROWS)[command] for command in COMMANDS) >= 5
    assert len(ROWS) >= 60
    assert not [id for id, count in Counter(row.id for row in ROWS).items() if count > 1]

"""The analysis as a command: it reads a study while it runs, refuses to conclude from two trials, names mistakes."""

import shutil

import pytest
from conftest import run_runner

from xlite.commands import analyze
from xlite.commands.cli import run as run_command
from xlite.ledger import Ledger, TrialResult, sqlite_url
from xlite.storage.files import write_json
from xlite.train.summary import RunSummary


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Results with the study "kd": two complete trials, with and without a teacher, and one still running."""
    results = tmp_path_factory.mktemp("analyze") / "results"
    (results / "kd").mkdir(parents=True)
    with Ledger.open(sqlite_url(results / "kd" / "study.db"), "kd", create=True) as ledger:
        for number, alpha in enumerate((0.0, 0.5, 1.0)):
            ledger.enqueue({"distill.alpha": alpha, "distill.temperature": 4.0})
            ledger.ask(lambda trial: {})
            ledger.report(number, 1, 0.6 + alpha / 10)
        for number, value in enumerate((0.60, 0.65)):
            summary = RunSummary(epochs=1, curve=(value,), best_epoch=1, seconds=36, device="cpu")
            ledger.finish(number, "complete", value=value, result=TrialResult(summary=summary))
    return results


@pytest.fixture
def results(template, tmp_path):
    return shutil.copytree(template, tmp_path / "results")


def called(capsys, *arguments):
    """(exit code, stdout, stderr) of the command in this process."""
    with pytest.raises(SystemExit) as left:
        run_command(analyze.run, analyze.parser(), [str(a) for a in arguments])
    return left.value.code, *capsys.readouterr()


def refused(capsys, *arguments):
    code, _, error = called(capsys, *arguments)
    assert (code, error.count("\n")) == (2, 1) and error.startswith("error: "), error
    return error


def test_two_trials_give_a_report_without_conclusions(results):
    folder = results / "kd" / "analysis"
    folder.mkdir()
    (folder / "importance.png").write_bytes(b"of a longer study")
    done = run_runner("analyze", "--study", "kd", "--results", results)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not enough trials: 1 pair, 1 trial with a teacher and 1 without" in done.stdout
    assert "not enough trials: 2 complete trials, 16 needed" in done.stdout
    assert "Yes" not in done.stdout and "raises" not in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["analysis.md", "curves.png", "sensitivity.png"]


def test_the_report_goes_where_it_is_told_and_the_storage_suffices(results, tmp_path, capsys):
    url = sqlite_url(results / "kd" / "study.db")
    code, out, _ = called(
        capsys, "--study", "kd", "--storage", url, "--results", tmp_path / "no", "--out", tmp_path / "o"
    )
    assert code == 0 and "0.02 CPU-core-hours" in out
    assert "not enough trials" in (tmp_path / "o" / "analysis.md").read_text()
    assert not (tmp_path / "no").exists()


def test_an_unknown_study_is_named_with_those_there(results, capsys):
    assert refused(capsys, "--study", "kdd", "--results", results).endswith("studies there: kd\n")
    assert "study name" in refused(capsys, "--study", "a/b", "--results", results)
    url = sqlite_url(results / "kd" / "study.db")
    assert "no study 'kdd'" in refused(capsys, "--study", "kdd", "--storage", url, "--results", results)


def test_a_study_without_an_ended_trial_is_refused_and_leaves_nothing(results, capsys):
    with Ledger.open(sqlite_url(results / "kd" / "study.db"), "empty", create=True) as ledger:
        ledger.ask(lambda trial: {})
    arguments = ("--study", "empty", "--storage", ledger.url, "--results", results)
    error = refused(capsys, *arguments)
    assert "study empty: no trial of its 1 has ended" in error and "`xlite tune`" in error
    assert not (results / "empty").exists()


def test_a_damaged_study_json_is_named(results, capsys):
    (results / "kd" / "study.json").write_text('{"teacher": ')
    assert "study.json: not valid JSON" in refused(capsys, "--study", "kd", "--results", results)


def test_the_teacher_comes_from_study_json(results, capsys):
    write_json(results / "kd" / "study.json", {"teacher": {"name": "resnet18", "value": 0.7}})
    code, out, _ = called(capsys, "--study", "kd", "--results", results)
    assert code == 0 and "(trial 1) differs from the teacher by -0.0500" in out


@pytest.mark.parametrize("arguments", [(), ("--study", "kd", "--top", 3)])
def test_a_mistaken_option_is_named(capsys, arguments):
    code, _, error = called(capsys, *arguments)
    assert code == 2 and ("--study" in error or "--top" in error)

"""A nested run knows what it was asked for from before its first search, and continues only as that."""

import shlex

import pytest

from xlite.commands import nested, tune_kd
from xlite.errors import InputError
from xlite.storage.files import read_json_object


@pytest.fixture
def run(tmp_path):
    """Run `--outer-folds 2` with more options, and a stand-in for the search of a fold."""

    def run(options, search):
        words = ["--outer-folds", "2", "--study", "n", "--results", str(tmp_path), *shlex.split(options)]
        return nested.run_nested(tune_kd.parser().parse_args(words), search)

    return run


def killed(arguments):
    """A search that is stopped after its study has begun."""
    root = arguments.results / arguments.study
    root.mkdir()
    (root / "study.json").write_text("{}")
    return 130


def test_stopped_in_its_first_fold_it_continues_only_with_the_same_options(run):
    options = "--objectives auc,size_mb --folds 3"
    assert run(options, killed) == 130
    with pytest.raises(InputError, match=r"--folds was 3 and is now 4; --thresholds was None and is now 'f1'"):
        run("--objectives auc,size_mb --folds 4 --thresholds f1", killed)
    with pytest.raises(InputError, match=r"--objectives was \['auc', 'size_mb'\] and is now None"):
        run("--folds 3", killed)


def test_what_was_kept_is_what_is_asked_again(tmp_path):
    words = ["--outer-folds", "2", "--objectives", "auc,size_mb", "--space", "space.py"]
    asked = nested.asked(tune_kd.parser().parse_args(words))
    nested.remember(tmp_path / "n", asked)
    assert read_json_object(tmp_path / "n" / nested.FILE) == asked


def test_nothing_binds_before_a_search_has_begun(run, tmp_path):
    def refused(arguments):
        raise InputError("too many folds")

    assert run("--folds 2 --dry-run", lambda arguments: 0) == 0
    assert not (tmp_path / "n").exists()
    with pytest.raises(InputError, match="too many folds"):
        run("--folds 30", refused)
    assert run("--folds 3", killed) == 130
    assert read_json_object(tmp_path / "n" / nested.FILE)["folds"] == 3


def test_a_front_has_no_one_winner_to_judge(run):
    with pytest.raises(InputError, match=r"--outer-folds with --promote front: an outer fold judges one promoted"):
        run("--objectives auc,size_mb --promote front", killed)

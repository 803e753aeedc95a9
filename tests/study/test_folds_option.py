"""A given teacher has seen every fold, so it goes with one model; said before anything is searched."""

import argparse

import pytest

from xlite.commands.tune_kd import num_folds
from xlite.errors import InputError


@pytest.mark.parametrize(
    ("folds", "teacher", "no_promote", "expected"),
    [(None, [], False, 5), (3, [], False, 3), (None, ["t"], False, 1), (1, ["t"], False, 1), (None, ["t"], True, 5)],
)
def test_folds_follow_the_task_unless_a_teacher_is_given(folds, teacher, no_promote, expected):
    arguments = argparse.Namespace(folds=folds, teacher=teacher, no_promote=no_promote)
    assert num_folds(arguments, 5) == expected


def test_folds_and_a_given_teacher_exclude_each_other():
    with pytest.raises(InputError, match="--folds with --teacher"):
        num_folds(argparse.Namespace(folds=5, teacher=["t"], no_promote=False), 5)

"""The bank holds NaN where the teacher is silent."""

from dataclasses import replace

import numpy as np
import pytest
from test_bank import IMAGE, Counting, all_views, build, teacher_of

from xlite.config import ModelConfig
from xlite.errors import InputError


@pytest.fixture
def teacher():
    Counting.shown = 0
    return teacher_of(ModelConfig())


class Silent(Counting):
    """Says nothing of the second label."""

    def answer(self, pixels, auxiliary, rows, *, device):
        logits = super().answer(pixels, auxiliary, rows, device=device)
        logits[:, 1] = np.nan
        return logits


def silenced(teacher):
    return Silent((replace(teacher.members[0], key="silent"),), IMAGE)


def test_a_bank_holds_nan_where_its_teacher_is_silent_and_says_that_it_does(teacher, tiny_dataset, tmp_path):
    assert not build(teacher, tiny_dataset, tmp_path / "whole")[0].has_gaps
    silent = silenced(teacher)
    for _ in range(2):  # built, then found
        bank, _ = build(silent, tiny_dataset, tmp_path)
        logits = bank.read(*all_views(bank))[1]
        assert bank.has_gaps and np.isnan(logits[:, 1]).all() and np.isfinite(logits[:, [0, 2]]).all()


def test_a_model_that_gives_no_number_is_not_taken_for_a_silent_teacher(teacher, tiny_dataset, tmp_path):
    teacher.members[0].model.set_bias([0.0, float("nan"), 0.0])
    with pytest.raises(InputError, match="its logits are not finite"):
        build(teacher, tiny_dataset, tmp_path)

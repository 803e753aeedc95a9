"""`check_bank` passes on what rounding to half precision explains, and on nothing else."""

import numpy as np
import pytest
from test_bank import CPU, Counting, ask, build, teacher_of
from test_bank_gaps import silenced

from xlite.config import ModelConfig
from xlite.data.batches import ViewReader
from xlite.distill.bank import PIXELS
from xlite.distill.bank_check import check_bank, half_step
from xlite.distill.teacher import Teacher
from xlite.storage.files import read_json


@pytest.fixture
def teacher():
    Counting.shown = 0
    return teacher_of(ModelConfig())


def check(bank, teacher, reader, **changes):
    return check_bank(bank, teacher, reader, device=CPU, **changes)


def test_a_sound_bank_holds_and_every_view_is_compared(teacher, tiny_dataset, tmp_path):
    told = []
    bank, reader = build(teacher, tiny_dataset, tmp_path, batch_size=8)
    found = check(bank, teacher, reader, progress=lambda *call: told.append(call))
    assert found.holds and found.num_checked == 60 and told[-1] == (60, 60)
    assert found.largest_excess <= 0 and found.num_pixels_different == 0  # the same batches: nothing but rounding
    assert 0 < found.largest_difference < 1e-3


def test_a_part_is_compared_in_the_batches_it_was_built_in(teacher, tiny_dataset, tmp_path):
    bank, reader = build(teacher, tiny_dataset, tmp_path, batch_size=5)
    assert read_json(bank.folder / "bank.json")["batch_size"] == 5
    Counting.shown = 0
    found = check(bank, teacher, reader, num_rows=8)
    assert found.holds and found.num_checked == Counting.shown == 10
    assert check(bank, teacher, reader, num_rows=10_000).num_checked == 60


def change(bank, name, at, by):
    array = np.load(bank.folder / name, mmap_mode="r+")
    array[at] += np.asarray(by, array.dtype)
    array.flush()


def test_one_logit_that_is_off_is_found(teacher, tiny_dataset, tmp_path):
    bank, reader = build(teacher, tiny_dataset, tmp_path)
    change(bank, "logits.npy", (2, 19, 1), 0.01)
    found = check(bank, teacher, reader)
    assert not found.holds and found.num_beyond == 1 and found.largest_difference == pytest.approx(0.01, rel=0.1)


def test_a_logit_that_is_not_a_number_is_found(teacher, tiny_dataset, tmp_path):
    bank, reader = build(teacher, tiny_dataset, tmp_path)
    change(bank, "logits.npy", (0, 0, 0), np.nan)
    assert check(bank, teacher, reader).num_beyond == 1


def test_silence_is_compared_too(teacher, tiny_dataset, tmp_path):
    silent = silenced(teacher)
    bank, reader = build(silent, tiny_dataset, tmp_path)
    assert check(bank, silent, reader).holds
    assert check(bank, teacher, reader).num_beyond == 60  # it would have answered
    array = np.load(bank.folder / "logits.npy", mmap_mode="r+")
    array[0, 4, 1] = 0.5
    array.flush()
    assert check(bank, silent, reader).num_beyond == 1


def test_one_pixel_that_is_another_is_found(teacher, tiny_dataset, tmp_path):
    bank, reader = build(teacher, tiny_dataset, tmp_path)
    change(bank, PIXELS, (1, 7, 16, 16), 1)
    found = check(bank, teacher, reader)
    assert not found.holds and (found.num_beyond, found.num_pixels_different) == (0, 1)


def test_another_teacher_and_other_views_are_found(teacher, tiny_dataset, tmp_path):
    bank, reader = build(teacher, tiny_dataset, tmp_path, pixel_budget_bytes=0)
    other = teacher_of(ModelConfig(head_bias="0.01,0,0"))
    assert check(bank, other, reader).num_beyond == 60  # the first label of every view
    moved = ViewReader(reader.pixels, reader.rows, reader.augmentation, reader.seed + 1)
    assert not check(bank, teacher, moved).holds


def test_a_teacher_left_in_training_mode_is_found(teacher, tiny_dataset, tmp_path):
    bank, reader = build(teacher, tiny_dataset, tmp_path)
    teacher.members[0].model.train()
    assert not check(bank, teacher, reader).holds


def test_other_batches_stay_within_the_allowance(teacher, tiny_dataset, tmp_path):
    """As on a machine that sums in another order."""
    bank, reader = build(teacher, tiny_dataset, tmp_path)

    class OneByOne(Teacher):
        def answer(self, pixels, auxiliary, rows, *, device):
            return np.concatenate([ask(teacher, image[None]) for image in pixels])

    alone = OneByOne(teacher.members, teacher.input_spec)
    assert check(bank, alone, reader).holds


def test_half_a_step_is_what_rounding_moves_at_most():
    values = np.float32([0.0, 1e-4, 0.3, 1.0, -1.999, 2.0, 37.3, 1000.7])
    values = np.concatenate([values, np.random.default_rng(0).normal(size=10_000, scale=8).astype(np.float32)])
    moved = np.abs(values - values.astype(np.float16).astype(np.float32))
    assert (moved <= half_step(values)).all()
    assert (moved[8:] / half_step(values[8:])).max() > 0.99

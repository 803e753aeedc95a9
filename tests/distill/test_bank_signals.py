"""The bank holds the teacher's features where they are asked for, and NaN where the teacher is silent."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from conftest import read_json
from test_bank import CPU, IMAGE, Counting, Uneven, all_views, build, teacher_of

from xlite.config import ModelConfig
from xlite.distill import bank_build
from xlite.distill.signals import Signals
from xlite.distill.teacher import Teacher
from xlite.errors import InputError


@pytest.fixture
def teacher():
    Counting.shown = 0
    return teacher_of(ModelConfig())


def test_features_are_the_live_teachers_rounded_to_half_precision(teacher, tiny_dataset, tmp_path):
    bank, _ = build(teacher, tiny_dataset, tmp_path, features=True)
    positions, views = all_views(bank)
    pixels, _ = bank.read(positions, views)
    assert bank.num_features == teacher.num_features == teacher.members[0].model.num_features
    for view in range(3):
        live = teacher.signals(pixels[views == view], None, np.arange(20), device=CPU).features
        np.testing.assert_array_equal(bank.features(positions, views)[views == view], live.astype(np.float16))
    assert bank.bytes_per_view()["features.npy"] == pytest.approx(2 * bank.num_features, abs=8)
    assert pickle.loads(pickle.dumps(bank)) == bank


def test_features_are_added_to_a_bank_whose_other_files_are_not_touched(teacher, tiny_dataset, tmp_path):
    plain, _ = build(teacher, tiny_dataset, tmp_path, batch_size=7)
    before = {name: (plain.folder / name).stat() for name in ("logits.npy", "pixels.npy")}
    answers = plain.read(*all_views(plain))
    added, _ = build(teacher, tiny_dataset, tmp_path, features=True)
    assert added.folder == plain.folder and Counting.shown == 120
    assert before == {name: (plain.folder / name).stat() for name in before}
    whole, _ = build(teacher, tiny_dataset, tmp_path / "at_once", features=True, batch_size=7)
    for file in ("features.npy", "logits.npy", "pixels.npy"):
        assert (added.folder / file).read_bytes() == (whole.folder / file).read_bytes()
    assert read_json(added.folder / "bank.json") == read_json(whole.folder / "bank.json")
    for old, new in zip(answers, added.read(*all_views(added)), strict=True):
        np.testing.assert_array_equal(old, new)
    asked = Counting.shown
    assert (
        build(teacher, tiny_dataset, tmp_path)[0] == build(teacher, tiny_dataset, tmp_path, features=True)[0] == added
    )
    assert Counting.shown == asked


def test_an_interrupted_addition_leaves_the_bank_and_goes_on(teacher, tiny_dataset, tmp_path, monkeypatch):
    plain, _ = build(teacher, tiny_dataset, tmp_path, batch_size=3)
    monkeypatch.setattr(bank_build, "_COMMIT_S", 0.0)
    monkeypatch.setattr(bank_build, "available_cpus", lambda: 1)
    monkeypatch.setattr(Uneven, "begun", 0)
    monkeypatch.setattr(Uneven, "fails_at", 9)
    fails, place = Uneven(teacher.members, IMAGE), plain.folder
    with pytest.raises(RuntimeError, match="no answer"):
        build(fails, tiny_dataset, tmp_path, batch_size=3, features=True)
    assert {path.name for path in place.iterdir()} >= {"progress.json", "features.npy", "bank.json"}
    still, _ = build(teacher, tiny_dataset, tmp_path)
    assert still.num_features == 0
    Counting.shown = 0
    added, _ = build(teacher, tiny_dataset, tmp_path, features=True)
    assert added.num_features and 0 < Counting.shown < 60 and not (place / "progress.json").exists()


class Silent(Counting):
    """Says nothing of the second label, and gives no features."""

    num_features = None

    def signals(self, pixels, auxiliary, rows, *, device):
        logits = super().signals(pixels, auxiliary, rows, device=device).logits
        logits[:, 1] = np.nan
        return Signals(logits, None)


def silenced(teacher):
    return Silent((replace(teacher.members[0], key="silent"),), IMAGE)


def test_a_bank_holds_nan_where_its_teacher_is_silent_and_says_that_it_does(teacher, tiny_dataset, tmp_path):
    assert not build(teacher, tiny_dataset, tmp_path / "whole")[0].has_gaps
    silent = silenced(teacher)
    for _ in range(2):  # built, then found
        bank, _ = build(silent, tiny_dataset, tmp_path)
        logits = bank.read(*all_views(bank))[1]
        assert bank.has_gaps and np.isnan(logits[:, 1]).all() and np.isfinite(logits[:, [0, 2]]).all()


def test_features_of_a_teacher_without_any_are_refused(teacher, tiny_dataset, tmp_path):
    silent = silenced(teacher)
    with pytest.raises(InputError, match=r"distill\.feature_weight: this teacher gives no features; use 0"):
        build(silent, tiny_dataset, tmp_path, features=True)


def test_a_model_that_gives_no_number_is_not_taken_for_a_silent_teacher(teacher, tiny_dataset, tmp_path):
    teacher.members[0].model.set_bias([0.0, float("nan"), 0.0])
    with pytest.raises(InputError, match="its logits are not finite"):
        build(teacher, tiny_dataset, tmp_path)


def test_features_of_an_ensemble_are_the_first_models(tiny_dataset, tmp_path):
    first, second = (teacher_of(ModelConfig(backbone=name)) for name in ("lcnet_035", "resnet10t"))
    both = Teacher((*first.members, *second.members), IMAGE)
    bank, reader = build(both, tiny_dataset, tmp_path, features=True)
    positions, views = np.arange(20), np.full(20, 1)
    expected = first.signals(reader.read(positions, views), None, positions, device=CPU).features
    np.testing.assert_array_equal(bank.features(positions, views), expected.astype(np.float16))

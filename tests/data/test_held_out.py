"""Held-out patients: whole, of the training part only, in no other part, and in nothing's identity where none are."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import write_nih_folder

from xlite.config import RunConfig
from xlite.console import SilentConsole
from xlite.data.held_out import HELD_OUT, hold_out, unguaranteed
from xlite.data.split import make_split
from xlite.data.stratify import row_targets
from xlite.data.table import Item, Table
from xlite.distill.teacher_checks import trained_on_note
from xlite.errors import InputError
from xlite.study.members import folds
from xlite.tasks import TASKS
from xlite.tasks.prepare import DataRequest, prepare

TASK = TASKS["chestxray14"]
DATA = RunConfig().override({"data.image_size": 16}, source="test").data


def made(num_rows=400, num_groups=150, seed=0, official=None):
    rng = np.random.default_rng(seed)
    groups = np.r_[np.arange(num_groups), rng.integers(num_groups, size=num_rows - num_groups)].astype(str)
    targets = (rng.random((num_rows, 3)) < [0.4, 0.2, 0.1]).astype(np.float32)
    ids = np.array([f"{i:04}.png" for i in range(num_rows)])
    return Table(ids, tuple(Item((name,)) for name in ids.tolist()), groups, targets, ("a", "b", "c"), official)


def held(table, split, share=0.25):
    return hold_out(table, split, share, seed=0, strata=row_targets(table.targets))


def test_a_share_of_the_training_patients_is_held_out_whole_and_stratified():
    table = made()
    split = make_split(table, strategy="patient", seed=0)
    smaller, rows = held(table, split)
    np.testing.assert_array_equal(np.sort(np.r_[smaller.train, rows]), split.train)
    np.testing.assert_array_equal(smaller.val, split.val)
    np.testing.assert_array_equal(smaller.test, split.test)
    seen = set(table.groups[np.r_[smaller.train, split.val, split.test]])
    assert not seen & set(table.groups[rows])
    assert len(rows) / len(split.train) == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(table.targets[rows].mean(0), table.targets[split.train].mean(0), atol=0.03)
    np.testing.assert_array_equal(rows, held(table, split)[1])
    assert smaller.content_hash(table) != split.content_hash(table)  # so a teacher of the other one is refused


def test_patients_of_given_parts_that_are_also_judged_stay_in_training():
    table = made()
    parts = np.where(np.arange(400) % 4 == 0, "test", np.where(np.arange(400) % 4 == 1, "val", "train"))
    table = replace(table, official=parts, groups=np.r_[np.arange(300), np.arange(1, 101)].astype(str))
    split = make_split(table, strategy="official", seed=0)
    smaller, rows = held(table, split)
    judged = table.groups[np.r_[split.val, split.test]]
    assert len(rows) == pytest.approx(50, abs=2) and not np.isin(table.groups[rows], judged).any()
    assert np.isin(table.groups[smaller.train], judged).any()


def test_too_few_patients_are_one_clear_line():
    table = made()
    with pytest.raises(InputError, match=r"--guarantee-share 0.9: 1 of the training part's 1 patients"):
        alone = replace(table, groups=np.repeat(["p", "q", "r"], [200, 100, 100]))
        held(alone, make_split(alone, strategy="patient", seed=0), 0.9)


def test_labels_without_a_held_out_positive_are_named():
    table = made()
    rows = np.flatnonzero(table.targets[:, 1] == 0)[:50]
    (note,) = unguaranteed(table, rows)
    assert note == "no held-out image is positive for b: no guarantee is possible"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    home = tmp_path_factory.mktemp("held")
    raw = write_nih_folder(home / "nih", 120, px=24)

    def of(task=TASK, **options):
        return prepare(task, DataRequest(raw, DATA, None, 0, "1", home / "cache", **options), SilentConsole())

    return of


def test_without_the_option_nothing_changes_and_with_it_all_hashes_do(prepared):
    plain, smaller = prepared(), prepared(guarantee_share=0.3)
    assert plain.full.parts.keys() == {"train", "val", "test"} and plain.split_file == smaller.split_file
    assert plain.full.split_hash == plain.split_file.read_text().split("content_hash=")[1].split()[0]
    for what in ("split_hash",), ("content_hash",), ("train_hash",):
        of_plain, of_smaller = (getattr(each.full, *what) for each in (plain, smaller))
        assert (of_plain() if callable(of_plain) else of_plain) != (
            of_smaller() if callable(of_smaller) else of_smaller
        )
    positions = np.sort(np.concatenate(list(smaller.full.parts.values())))
    np.testing.assert_array_equal(positions, np.arange(120))


def test_nothing_reads_them_before_promotion_and_folds_do_not_train_on_them(prepared):
    full = prepared(guarantee_share=0.3).full
    with pytest.raises(PermissionError, match="held_out part is read at promotion only"):
        full.part(HELD_OUT)
    rows = full.unsealed().part(HELD_OUT)
    for fold in folds(full, TASK.target_spec, 3, seed=0):
        np.testing.assert_array_equal(fold.unsealed().part(HELD_OUT), rows)
        assert not np.isin(rows, np.r_[fold.parts["train"], fold.parts["val"]]).any()


def test_a_teacher_that_has_seen_them_is_refused(prepared, tmp_path):
    full = prepared(guarantee_share=0.3).full
    (tmp_path / "seen.txt").write_text("\n".join(full.ids[full.parts[HELD_OUT][:3]]))
    with pytest.raises(InputError, match=r"0 validation and 0 test images of this data, and on 3 that are held out"):
        trained_on_note([tmp_path / "seen.txt"], full, allow_overlap=False)


def nothing_to_learn(table, split):
    if len(split.train) < 20:
        raise InputError("no label has both positives and negatives")
    return ()


def test_a_share_that_leaves_nothing_to_learn_or_classes_are_refused(prepared):
    nothing = replace(TASK, declared_target_spec=replace(TASK.target_spec, check_split=nothing_to_learn))
    with pytest.raises(InputError, match=r"--guarantee-share 0.99: no label has both"):
        prepared(nothing, guarantee_share=0.99)
    classes = replace(TASK, declared_target_spec=replace(TASK.target_spec, answers_are="classes"))
    with pytest.raises(InputError, match=r"--guarantee-share is for labels with thresholds; \w+ targets have none"):
        prepared(classes, guarantee_share=0.3)

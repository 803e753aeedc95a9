"""Splits and subsets: patients stay whole, labels keep their prevalence, a stored split is never redrawn."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlite.data.sources.nih import LABELS, read_labels
from xlite.data.split import (
    FRACTIONS,
    PARTS,
    Part,
    Split,
    check_split,
    load_or_make_split,
    make_split,
    resolve_subset,
    subset,
)
from xlite.data.stratify import row_targets
from xlite.data.table import Item, Table
from xlite.errors import InputError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not (SHARED / "nih_mini").is_dir(), reason="the real NIH data is not beside this copy"
)


@cache
def real(name: str) -> Table:
    return read_labels(SHARED / name).table


def table_of(groups: list[int], targets: np.ndarray, official: list[str] | None = None) -> Table:
    n = len(groups)
    ids = np.array([f"{i:04}.png" for i in range(n)])
    labels = tuple(f"label{i}" for i in range(targets.shape[1]))
    official_array = None if official is None else np.array(official)
    return Table(
        ids,
        tuple(Item((Path(i),)) for i in ids),
        np.array(groups).astype(str),
        targets.astype(np.float32),
        labels,
        official_array,
    )


def random_table(seed: int, num_rows: int = 200, num_groups: int = 80, official: bool = False) -> Table:
    rng = np.random.default_rng(seed)
    groups = np.r_[np.arange(num_groups), rng.integers(num_groups, size=num_rows - num_groups)]
    targets = rng.random((num_rows, 4)) < [0.3, 0.2, 0.1, 0.05]
    lists = np.where(groups % 5 == 0, "test", "train").tolist() if official else None
    return table_of(groups.tolist(), targets, lists)


def label_counts(table: Table, split: Split) -> dict[Part, np.ndarray]:
    """(L,) positives of each label, by part."""
    return {part: (row_targets(table.targets)[split.rows_of(part)] == 1).sum(axis=0) for part in PARTS}


def crossing(table: Table, split: Split) -> set[str]:
    """Groups found in more than one part."""
    groups_in = [set(table.groups[split.rows_of(part)].tolist()) for part in PARTS]
    return (groups_in[0] & groups_in[1]) | (groups_in[0] & groups_in[2]) | (groups_in[1] & groups_in[2])


def covered(split: Split) -> list[int]:
    return sorted(np.concatenate([split.rows_of(part) for part in PARTS]).tolist())


@st.composite
def tables(draw: st.DrawFn) -> Table:
    num_groups = draw(st.integers(3, 30))
    num_rows = draw(st.integers(num_groups, 3 * num_groups))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = np.r_[np.arange(num_groups), (rng.random(num_rows - num_groups) ** 3 * num_groups).astype(int)]
    targets = (rng.random((num_rows, draw(st.integers(1, 5)))) < rng.uniform(0, 0.6)).astype(np.float32)
    targets[rng.random(targets.shape) < draw(st.sampled_from([0, 0.2]))] = np.nan
    return table_of(groups.tolist(), targets)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tables(), st.integers(0, 2**32 - 1), st.sampled_from(["patient", "image"]))
def test_every_row_is_in_one_part_and_no_patient_crosses(table: Table, seed: int, strategy: str) -> None:
    split = make_split(table, strategy=strategy, seed=seed)  # type: ignore[arg-type]
    assert covered(split) == list(range(len(table)))
    assert all(len(split.rows_of(part)) > 0 and (np.diff(split.rows_of(part)) > 0).all() for part in PARTS)
    assert strategy == "image" or not crossing(table, split)


@needs_shared
@pytest.mark.parametrize("seed", range(10))
def test_on_all_of_nih_each_label_keeps_its_prevalence(seed: int) -> None:
    table = real("nih_labels")
    split = make_split(table, strategy="patient", seed=seed)
    whole = table.targets.mean(axis=0)
    assert not crossing(table, split) and covered(split) == list(range(112_120))
    for part, fraction in zip(PARTS, FRACTIONS, strict=True):
        prevalence = table.targets[split.rows_of(part)].mean(axis=0)
        assert abs(len(split.rows_of(part)) / len(table) - fraction) < 0.001  # asked: 0.002
        assert np.abs(prevalence - whole).max() < 0.0015, LABELS[int(np.abs(prevalence - whole).argmax())]  # 0.0040
        assert np.abs(prevalence / whole - 1).max() < 0.01, part  # 0.15


@needs_shared
def test_the_seeds_image_level_split_has_its_exact_sizes() -> None:
    table = real("nih_labels")
    split = make_split(table, strategy="image", seed=42)
    assert [len(split.rows_of(part)) for part in PARTS] == [78_484, 16_818, 16_818]
    whole = table.targets.mean(axis=0)
    assert max(np.abs(table.targets[split.rows_of(p)].mean(axis=0) / whole - 1).max() for p in PARTS) < 0.01
    assert crossing(table, split)


@needs_shared
def test_the_official_test_list_is_kept_and_validation_is_an_eighth_of_the_rest() -> None:
    table = real("nih_labels")
    split = make_split(table, strategy="official", seed=0)
    assert table.official is not None
    assert split.test.tolist() == np.flatnonzero(table.official == "test").tolist()
    assert abs(len(split.val) / 86_524 - 1 / 8) < 0.001 and not crossing(table, split)
    train, val = (table.targets[split.rows_of(part)].mean(axis=0) for part in ("train", "val"))
    assert np.abs(val / train - 1).max() < 0.05


@needs_shared
def test_on_the_small_real_set_counts_are_as_close_as_whole_images_allow() -> None:
    table = real("nih_mini")
    total = table.targets.sum(axis=0)
    for seed in range(5):
        split = make_split(table, strategy="patient", seed=seed)
        for part, fraction in zip(PARTS, FRACTIONS, strict=True):
            assert np.abs(label_counts(table, split)[part] - fraction * total).max() < 2.5
            assert abs(len(split.rows_of(part)) / len(table) - fraction) < 0.005
        assert check_split(table, split) == ()


@pytest.mark.parametrize("seed", range(20))
def test_three_positive_patients_are_enough_for_all_parts(seed: int) -> None:
    targets = np.zeros((60, 2))
    targets[[5, 25, 45], 0] = 1
    targets[[5, 6, 7, 8], 1] = 1
    table = table_of([*range(60)], targets)
    counts = label_counts(table, make_split(table, strategy="patient", seed=seed))
    assert [int(counts[part][0]) for part in PARTS] == [1, 1, 1]
    assert all(counts[part][1] > 0 for part in PARTS)


@pytest.mark.parametrize("seed", range(20))
def test_two_positive_patients_go_to_training_and_validation(seed: int) -> None:
    targets = np.zeros((60, 1))
    targets[[5, 25], 0] = 1
    table = table_of([*range(60)], targets)
    counts = label_counts(table, make_split(table, strategy="patient", seed=seed))
    assert [int(counts[part][0]) for part in PARTS] == [1, 1, 0]


def test_only_the_seed_decides() -> None:
    table = random_table(0)
    hashes = [make_split(table, strategy="patient", seed=seed).content_hash(table) for seed in (1, 1, 2, 3, 4)]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 4


def test_the_content_hash_is_of_ids_and_parts_only() -> None:
    table = random_table(0)
    split = make_split(table, strategy="patient", seed=1)
    reverse = table.take(np.arange(len(table))[::-1])
    mirrored = [np.sort(len(table) - 1 - split.rows_of(part)) for part in PARTS]
    assert Split(*mirrored, "official", 9).content_hash(reverse) == split.content_hash(table)
    assert Split(split.train, split.test, split.val, "patient", 1).content_hash(table) != split.content_hash(table)


def test_the_official_split_of_a_small_table() -> None:
    table = random_table(1, official=True)
    split = make_split(table, strategy="official", seed=0)
    assert table.official is not None
    assert (table.official[split.test] == "test").all() and (table.official[split.train] == "train").all()
    assert covered(split) == list(range(200)) and not crossing(table, split)


def test_official_without_lists_or_without_test_images_is_refused() -> None:
    with pytest.raises(InputError, match=r"no official train and test lists; .* --split patient"):
        make_split(random_table(1), strategy="official", seed=0)
    everything_train = table_of([1, 2, 3], np.eye(3), ["train"] * 3)
    with pytest.raises(InputError, match="none of the 3 images is on the official test list; use --split patient"):
        make_split(everything_train, strategy="official", seed=0)
    one_patient = table_of([1, 1, 3], np.eye(3), ["train", "train", "test"])
    with pytest.raises(InputError, match="2 images of 1 patients cannot fill train and val"):
        make_split(one_patient, strategy="official", seed=0)


def test_too_few_patients_or_images_are_refused() -> None:
    with pytest.raises(InputError, match="5 images of 2 patients cannot fill train, val and test"):
        make_split(table_of([1, 1, 1, 2, 2], np.ones((5, 1))), strategy="patient", seed=0)
    with pytest.raises(InputError, match="2 images cannot fill train, val and test"):
        make_split(table_of([1, 2], np.ones((2, 1))), strategy="image", seed=0)


def test_labels_absent_from_a_part_are_named() -> None:
    targets = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]])
    table = table_of([*range(6)], targets)
    split = Split(np.array([0, 1]), np.array([2, 3]), np.array([4, 5]), "patient", 0)
    assert check_split(table, split) == (
        "the train part has no positives of label2",
        "the train part has no negatives of label1",
        "the val part has no positives of label2: left out of its averages",
    )


@pytest.mark.parametrize(("train", "val", "part"), [([1, 3], [0, 2], "train"), ([0, 1], [2, 4], "val")])
def test_a_part_without_a_usable_label_is_refused(train: list[int], val: list[int], part: str) -> None:
    table = table_of([*range(6)], np.array([[1], [0], [1], [0], [1], [0]]))
    split = Split(np.array(train), np.array(val), np.array([5]), "patient", 0)
    with pytest.raises(
        InputError, match=f"no label has both positives and negatives in the 2 images of the {part} part"
    ):
        check_split(table, split)


@needs_shared
def test_a_fifth_of_nih_keeps_patients_whole_and_prevalences() -> None:
    table = real("nih_labels")
    train = make_split(table, strategy="patient", seed=0).train
    rows = subset(table, train, 0.2, seed=0)
    assert abs(len(rows) / len(train) - 0.2) < 0.005 and set(rows.tolist()) <= set(train.tolist())
    assert not set(table.groups[rows].tolist()) & set(table.groups[np.setdiff1d(train, rows)].tolist())
    assert np.abs(table.targets[rows].mean(axis=0) / table.targets[train].mean(axis=0) - 1).max() < 0.02


def test_a_subset_holds_the_one_positive_patient_and_the_whole_is_itself() -> None:
    targets = np.zeros((50, 1))
    targets[7] = 1
    table = table_of([*range(50)], targets)
    assert all(7 in subset(table, np.arange(50), 0.1, seed=seed) for seed in range(10))
    assert len(subset(table, np.arange(50), 0.1, seed=0)) == 5
    assert subset(table, np.array([4, 1, 9]), 1.0, seed=0).tolist() == [1, 4, 9]
    with pytest.raises(InputError, match="3 images of 1 patients"):
        subset(table_of([1, 1, 1], np.zeros((3, 1))), np.arange(3), 0.5, seed=0)


def test_auto_searches_a_fifth_of_large_sets() -> None:
    assert [resolve_subset("auto", n) for n in (20_000, 20_001)] == [1.0, 0.2]
    assert [resolve_subset(value, 50_000) for value in ("0.35", 0.35, 1, "1")] == [0.35, 0.35, 1.0, 1.0]


@pytest.mark.parametrize("value", ["0", 0.0, -0.1, 1.01, "nan", "some", ""])
def test_a_subset_outside_0_to_1_is_refused(value: str | float) -> None:
    with pytest.raises(InputError, match=r"--subset .*: use auto or a number"):
        resolve_subset(value, 100)


@pytest.mark.parametrize("strategy", ["patient", "official", "image"])
def test_a_stored_split_is_read_not_redrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str) -> None:
    table = random_table(2, official=True)
    drawn, path = load_or_make_split(table, strategy=strategy, seed=5, folder=tmp_path / "splits")  # type: ignore[arg-type]
    monkeypatch.setattr("xlite.data.split.make_split", None)
    stored, again = load_or_make_split(table, strategy=strategy, seed=5, folder=tmp_path / "splits")  # type: ignore[arg-type]
    assert path == again == tmp_path / "splits" / f"split_{strategy}_seed5_{table.content_hash()}.csv"
    assert all(np.array_equal(drawn.rows_of(part), stored.rows_of(part)) for part in PARTS)
    assert (stored.strategy, stored.seed) == (strategy, 5) and stored.train.dtype == np.int64


def test_other_seeds_strategies_and_tables_have_their_own_files(tmp_path: Path) -> None:
    first, second = random_table(2), random_table(3)
    for table, strategy, seed in [
        (first, "patient", 1),
        (first, "patient", 2),
        (first, "image", 1),
        (second, "patient", 1),
    ]:
        load_or_make_split(table, strategy=strategy, seed=seed, folder=tmp_path)  # type: ignore[arg-type]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (",val\n", ",train\n"),
        (",val\n", ",other\n"),
        (",val\n", "\n"),
        ("0003.png,", "9999.png,"),
        ("content_hash=", "content_hash=0"),
        ("seed=5", "seed=6"),
        ("id,part\n", ""),
        ("id,part\n", "id,part\nextra.png,test\n"),
        ("0199.png,", "0198.png,"),
    ],
)
def test_a_changed_split_file_is_refused(tmp_path: Path, old: str, new: str) -> None:
    table = random_table(2)
    _, path = load_or_make_split(table, strategy="patient", seed=5, folder=tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match="delete it to draw the split again") as caught:
        load_or_make_split(table, strategy="patient", seed=5, folder=tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 1000])
def test_a_truncated_split_file_is_refused(tmp_path: Path, keep: int) -> None:
    table = random_table(2)
    _, path = load_or_make_split(table, strategy="patient", seed=5, folder=tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="delete it to draw the split again"):
        load_or_make_split(table, strategy="patient", seed=5, folder=tmp_path)


@pytest.mark.parametrize("strategy", ["patient", "image"])
def test_outer_folds_test_every_row_once_and_keep_patients_whole(tmp_path, strategy):
    rng = np.random.default_rng(0)
    ids = np.array([f"{i:03}.png" for i in range(120)])
    groups = np.array([f"p{i // 3}" for i in range(120)]) if strategy == "patient" else ids
    targets = (rng.random((120, 2)) < 0.4).astype(np.float32)
    table = Table(ids, tuple(Item((Path(name),)) for name in ids), groups, targets, ("a", "b"))
    options = {"strategy": strategy, "seed": 3, "folder": tmp_path}
    found = [load_or_make_split(table, outer=(fold, 4), **options) for fold in (1, 2, 3, 4)]
    np.testing.assert_array_equal(np.sort(np.concatenate([split.test for split, _ in found])), np.arange(120))
    for split, file in found:
        parts = [set(groups[split.rows_of(part)]) for part in ("train", "val", "test")]
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
        assert len(split.test) == 30 and 13 <= len(split.val) <= 19
        assert np.abs(targets[split.test].mean(axis=0) - targets.mean(axis=0)).max() < 0.1
        assert "_outer" in file.name
    assert len({file for _, file in found}) == 4
    again, file = load_or_make_split(table, outer=(2, 4), **options)
    assert file == found[1][1] and again.content_hash(table) == found[1][0].content_hash(table)
    plain, _ = load_or_make_split(table, **options)
    assert plain.content_hash(table) not in {split.content_hash(table) for split, _ in found}


def test_too_few_patients_for_outer_folds_are_named():
    table = Table(
        np.array(["a", "b", "c"]), tuple(Item((Path(name),)) for name in "abc"), np.array(["p", "q", "q"]),
        np.array([[0], [1], [0]], dtype=np.float32), ("ill",),
    )  # fmt: skip
    with pytest.raises(InputError, match="--outer-folds 3: there are only 2 groups"):
        make_split(table, strategy="patient", seed=0, outer=(1, 3))
    with pytest.raises(InputError, match=r"--outer-folds 2: one group .* cannot fill train and val"):
        make_split(table, strategy="patient", seed=0, outer=(1, 2))

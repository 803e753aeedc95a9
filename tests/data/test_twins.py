"""Examples of one picture: found, kept in one part, never at the cost of a given test part or a stored split."""

from pathlib import Path

import numpy as np
import pytest

from xlite.data.split import PARTS, load_or_make_split
from xlite.data.split_apart import SplitTable, split_apart
from xlite.data.table import Item, Table
from xlite.data.twins import Pictures, nearly_identical, pictures_of, united, with_united_groups
from xlite.errors import InputError

NUM = 60


def table_of(num: int = NUM, groups: list[int] | None = None, official: list[str] | None = None) -> Table:
    ids = np.array([f"{i:03}.png" for i in range(num)])
    return Table(
        ids,
        tuple(Item((Path(name),)) for name in ids),
        ids if groups is None else np.array(groups).astype(str),
        np.array([[i % 2] for i in range(num)], dtype=np.float32),
        ("a",),
        None if official is None else np.array(official),
    )


def pictures(*twins: tuple[int, ...], num: int = NUM) -> Pictures:
    """Every example its own picture, but for the sets in `twins`."""
    pixels = np.arange(1, num + 1)
    for same in twins:
        pixels[list(same)] = same[0] + 1
    return pictures_of(np.stack([pixels, np.zeros(num)], axis=1).astype(np.uint64))


def drawn(table: Table, shown: Pictures, folder: Path, strategy: str = "patient", seed: int = 0) -> SplitTable:
    return split_apart(table, shown, strategy=strategy, seed=seed, folder=folder, strata=table.targets)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", ["patient", "image"])
@pytest.mark.parametrize("seed", range(5))
def test_a_drawn_split_has_each_picture_in_one_part(tmp_path: Path, strategy: str, seed: int) -> None:
    sets = [(i, i + 1, i + 2) for i in range(0, 30, 3)]
    found = drawn(table_of(), pictures(*sets), tmp_path, strategy, seed)
    assert all(len(set(found.part[list(same)])) == 1 for same in sets)
    assert set(found.part) == {0, 1, 2} and len(found.rows) == NUM
    again = drawn(table_of(), pictures(*sets), tmp_path, strategy, seed)
    assert again.part.tolist() == found.part.tolist() and again.file == found.file


def test_patients_with_a_picture_in_common_are_one_group_in_a_chain() -> None:
    table = table_of(8, groups=[3, 3, 1, 1, 2, 2, 4, 5])
    found = with_united_groups(table, pictures((1, 2), (3, 4), num=8).number)
    assert found.groups.tolist() == ["1"] * 6 + ["4", "5"]


@pytest.mark.parametrize("strategy", ["patient", "image", "official"])
def test_without_twins_across_groups_nothing_changes(tmp_path: Path, strategy: str) -> None:
    table = table_of(groups=[i // 2 for i in range(NUM)], official=["test" if i < 10 else "train" for i in range(NUM)])
    split, file = load_or_make_split(table, strategy=strategy, seed=3, folder=tmp_path / "plain")  # type: ignore[arg-type]
    for shown in (pictures(), *[pictures((4, 5))] * (strategy != "image")):
        found = drawn(table, shown, tmp_path / str(shown.repeated.any()), strategy, seed=3)
        assert found.file.name == file.name and found.file.read_bytes() == file.read_bytes()
        assert found.split.content_hash(found.table) == split.content_hash(table)


@pytest.mark.parametrize(
    ("official", "left_out"),
    [
        (["train", "test"], [0]),
        (["train", "val"], [0]),
        (["val", "test"], [0]),
        (["train", "val", "test", "train"], [0, 1, 3]),
        (["test", "test", "val", "val"], [2, 3]),
        (["train", "train"], []),
        (["test", "test"], []),
    ],
)
def test_a_given_test_part_stays_whole_and_the_copies_below_it_are_left_out(
    tmp_path: Path, official: list[str], left_out: list[int]
) -> None:
    rest = [("train", "val", "test")[i % 3] for i in range(NUM - len(official))]
    table = table_of(official=official + rest)
    found = drawn(table, pictures(tuple(range(len(official)))), tmp_path, "official")
    assert np.flatnonzero(found.part < 0).tolist() == left_out
    kept = [row for row in range(NUM) if row not in left_out]
    assert [PARTS[number] for number in found.part[kept]] == table.official[kept].tolist()  # type: ignore[index]
    assert found.table.ids.tolist() == table.ids[kept].tolist() and found.rows.tolist() == kept


def test_the_validation_part_that_is_drawn_from_official_training_images_has_no_picture_of_theirs(
    tmp_path: Path,
) -> None:
    table = table_of(official=["test"] * 10 + ["train"] * 50)
    sets = [(i, i + 1) for i in range(20, 60, 2)]
    found = drawn(table, pictures((0, 10), *sets), tmp_path, "official")
    assert np.flatnonzero(found.part < 0).tolist() == [10]
    assert all(len(set(found.part[list(same)])) == 1 for same in sets) and set(found.part[11:]) == {0, 1}


def test_an_official_part_without_a_picture_of_its_own_is_an_error_with_an_example(tmp_path: Path) -> None:
    table = table_of(6, official=["train", "train", "val", "val", "test", "test"])
    with pytest.raises(
        InputError, match=r"official train part .* \(e\.g\. 000\.png is 004\.png\); use --split patient"
    ):
        drawn(table, pictures((0, 4), (1, 3), num=6), tmp_path, "official")
    drawn(table, pictures((0, 4), (1, 3), num=6), tmp_path, "patient")


@pytest.mark.parametrize("strategy", ["patient", "image", "official"])
def test_a_split_that_was_stored_before_is_kept(tmp_path: Path, strategy: str) -> None:
    table = table_of(official=[("train", "val", "test")[i % 3] for i in range(NUM)])
    split, file = load_or_make_split(table, strategy=strategy, seed=0, folder=tmp_path)  # type: ignore[arg-type]
    before = file.read_bytes()
    sets = [(i, i + 1) for i in range(0, NUM // 2, 2)]
    shown = pictures(*sets)
    found = drawn(table, shown, tmp_path, strategy)
    assert found.file == file and file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    assert (found.part >= 0).all() and found.table is table
    assert all(np.array_equal(found.split.rows_of(part), split.rows_of(part)) for part in PARTS)
    assert shown.in_several_parts(found.part).any()
    assert not drawn(table, shown, tmp_path, strategy, seed=1).file.samefile(file)  # another seed is drawn anew
    if strategy != "official":
        assert not shown.in_several_parts(drawn(table, shown, tmp_path, strategy, seed=1).part).any()


def test_too_few_pictures_are_too_few_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 images cannot fill train, val and test"):
        drawn(table_of(6), pictures((0, 1, 2), (3, 4, 5), num=6), tmp_path, "image")


def test_constant_pictures_are_no_twins() -> None:
    hashes = np.array([[0, 0], [5, 1], [0, 0], [5, 1], [7, 1]], dtype=np.uint64)
    shown = pictures_of(hashes)
    assert shown.repeated.tolist() == [False, True, False, True, False]
    assert shown.constant.tolist() == [True, False, True, False, False]
    assert len(set(shown.number)) == 4


def test_different_targets_of_one_picture_are_found_and_unknown_is_a_target() -> None:
    shown = pictures((0, 1), (2, 3), (4, 5), num=7)
    targets = np.array([[1, 0], [1, 0], [1, 0], [1, 1], [np.nan, 0], [0, 0], [1, 1]])
    assert shown.with_other_targets(targets).tolist() == [False, False, True, True, True, True, False]
    assert not pictures(num=7).with_other_targets(targets).any()
    lines = np.repeat(targets[:, None], 3, axis=1)
    assert shown.with_other_targets(lines).tolist() == shown.with_other_targets(targets).tolist()


def test_near_twins_are_sets_of_one_perceptual_hash_in_several_parts_whose_pixels_agree() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (9, 8, 8), dtype=np.uint8)
    for row, copy_of in ((1, 0), (2, 0), (5, 4), (7, 6)):
        pixels[row] = np.clip(pixels[copy_of] * 0.9 + 10, 0, 255)
    #                  alike, 3 is not | one part  | identical | none
    perceptual = np.array([9, 9, 9, 9, 8, 8, 7, 7, 0], dtype=np.uint64)
    number = np.array([1, 2, 3, 4, 5, 6, 7, 7, 8], dtype=np.uint64)
    shown = pictures_of(np.stack([number, perceptual], axis=1))
    part = np.array([0, 2, 0, 2, 1, 1, 0, 2, 0])
    found = nearly_identical(shown, part, pixels[::-1], np.arange(9)[::-1])
    assert [same.tolist() for same in found] == [[0, 1, 2]]
    part[1] = -1  # left out
    assert nearly_identical(shown, part, pixels[::-1], np.arange(9)[::-1]) == []


def test_pictures_that_look_alike_get_one_number_with_all_their_copies() -> None:
    number = np.array([3, 1, 0, 1, 2, 4, 2])
    assert united(number, [np.array([1, 2]), np.array([0, 4])]).tolist() == [3, 1, 1, 1, 3, 4, 3]
    assert united(number, []).tolist() == number.tolist()

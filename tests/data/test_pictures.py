"""What only the pictures show, from raw folders: twins, constant images; said, listed and recorded."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from image_cases import make
from PIL import Image

from xlite.config import RunConfig
from xlite.console import Console
from xlite.data.split import PARTS
from xlite.errors import InputError
from xlite.tasks import TASKS
from xlite.tasks.prepare import DataRequest, prepare


class Lines(Console):
    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text=""):
        self.lines.append(text)


def prepared(folder, tmp_path, *, split=None, task="images", **changes):
    """The prepared data, the lines on pictures, and the rows of the listing."""
    data = RunConfig().override({"data.image_size": 32}, source="test").data
    console = Lines()
    request = DataRequest(folder, data, split, 0, "1.0", tmp_path / "cache", **changes)
    done = prepare(TASKS[task], request, console)
    name = done.split_file.stem.removeprefix("split_")
    listing = tmp_path / "cache" / f"twins-{name}.csv"
    rows = list(csv.DictReader(io.StringIO(listing.read_text()))) if listing.exists() else []
    understood = json.loads((tmp_path / "cache" / f"understood-{name}.json").read_text())
    assert understood == done.understood
    return done, [line for line in console.lines if str(listing) in line], rows


def part_of(done):
    """Part by id."""
    return {str(done.full.ids[row]): part for part in PARTS for row in done.full.unsealed().part(part)}


def test_twins_with_other_labels_are_counted_listed_and_in_one_part(tmp_path):
    (tmp_path / "case").mkdir()
    folder, _ = make("twins_other_label", tmp_path / "case")
    done, lines, rows = prepared(folder, tmp_path)
    assert len(lines) == 1 and lines[0].startswith(
        "Identical images: 40 examples show 20 pictures (20 of them with different labels); "
        "each picture is in one part only; listed in "
    )
    assert {row["finding"] for row in rows} == {"identical, different labels"} and len(rows) == 40
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert one["set"] == other["set"] and {one["labels"], other["labels"]} == {"a", "b"}
        assert one["part"] == other["part"] == part_of(done)[one["image"]] == part_of(done)[other["image"]]
    assert done.understood["pictures"]["with_other_targets"] == 20


def test_official_parts_that_are_all_copies_are_an_error_whose_answer_works(tmp_path):
    (tmp_path / "case").mkdir()
    folder, _ = make("twins_in_train_and_test", tmp_path / "case")
    with pytest.raises(InputError, match=r"every image of the official (train|val) part .*use --split patient"):
        prepared(folder, tmp_path)
    done, lines, _ = prepared(folder, tmp_path, split="patient")
    assert "48 examples show 16 pictures; each picture is in one part only" in lines[0]
    parts = part_of(done)
    for name in parts:
        assert parts[name] == parts["test/" + name.split("/", 1)[1]]


def test_a_training_copy_of_a_test_image_in_another_format_is_left_out(tmp_path):
    (tmp_path / "case").mkdir()
    folder, _ = make("class_only_in_val", tmp_path / "case")  # parts with the same pictures
    rng = np.random.default_rng(0)
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        Image.fromarray(rng.integers(0, 256, (20 + number, 24), dtype=np.uint8)).save(path)
    Image.open(folder / "test/a/3.png").save(folder / "train/a/copy.bmp")
    Image.open(folder / "test/b/0.png").save(folder / "val/b/copy.tif")
    done, lines, rows = prepared(folder, tmp_path)
    assert "4 examples show 2 pictures; 2 copies are left out" in lines[0]
    assert "(e.g. test/a/3.png and train/a/copy.bmp; test/b/0.png and val/b/copy.tif)" in lines[0]
    assert {(row["image"], row["part"]) for row in rows} == {
        ("test/a/3.png", "test"), ("train/a/copy.bmp", "left out"),
        ("test/b/0.png", "test"), ("val/b/copy.tif", "left out")
    }  # fmt: skip
    assert all(part == name.split("/")[0] for name, part in part_of(done).items())
    assert len(done.table) == len(done.full.rows) == 56
    pixels = done.full.open_pixels()[done.full.rows]
    assert len(np.unique(pixels.reshape(56, -1), axis=0)) == 56  # each example has its own row of the cache
    assert done.understood["parts"] == {"train": 16, "val": 24, "test": 16}
    assert done.understood["pictures"]["left_out"] == 2


def test_a_begun_study_keeps_its_split_and_is_told(tmp_path, monkeypatch):
    (tmp_path / "case").mkdir()
    folder, _ = make("twins_other_label", tmp_path / "case")
    with monkeypatch.context() as patch:  # as the version before drew it, with a cache that has no hashes
        patch.setattr("xlite.data.split_apart.with_united_groups", lambda table, number: table)
        before, _, _ = prepared(folder, tmp_path)
    (before.full.pixel_file.parent / "hashes.npy").unlink()
    stored = before.split_file.read_bytes()
    done, lines, rows = prepared(folder, tmp_path)
    assert done.split_file == before.split_file and done.split_file.read_bytes() == stored
    assert done.full.split_hash == before.full.split_hash and done.full.content_hash() == before.full.content_hash()
    crossing = done.understood["pictures"]["in_several_parts"]
    assert crossing >= 2 and f"{crossing} examples have copies in other parts of the split" in lines[0]
    assert f"delete {done.split_file} to draw it again" in lines[0] and len(rows) == 40
    done.split_file.unlink()
    assert "each picture is in one part only" in prepared(folder, tmp_path)[1][0]


def with_copies(folder, pairs, copied):
    """Forty images, two of a patient, and of each pair the first one's as another image of the second's patient."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = ["image,patient,ill,old"]
    for number in range(40):
        smooth = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
        smooth.resize((256, 256), Image.Resampling.BICUBIC).save(folder / f"{number:02}.png")
        rows.append(f"{number:02}.png,p{number // 2:02},{number % 3 == 0:d},{number % 5 < 2:d}")
    for one, other in pairs:
        name = copied(folder / f"{one:02}.png", folder / f"copy{one:02}")
        rows.append(f"{name},p{other // 2:02},{one % 3 == 0:d},{one % 5 < 2:d}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def test_copies_of_a_held_out_picture_are_held_out_too_though_the_split_was_drawn_before(tmp_path, monkeypatch):
    pairs = [(number, number + 2) for number in range(0, 36, 4)]
    folder = with_copies(
        tmp_path / "raw", pairs, lambda source, to: shutil.copy(source, to.with_suffix(".png")).name
    )  # fmt: skip
    monkeypatch.setattr("xlite.data.split_apart.with_united_groups", lambda table, number: table)
    done, _, rows = prepared(folder, tmp_path, guarantee_share=0.4)
    parts = part_of(done) | {str(done.full.ids[row]): "held_out" for row in done.full.parts["held_out"]}
    shared = [{parts[f"{one:02}.png"], parts[f"copy{one:02}.png"]} for one, _ in pairs]
    assert {"held_out"} in shared and {"train"} in shared
    assert all(each == {"held_out"} for each in shared if "held_out" in each)
    assert {row["part"] for row in rows if parts[row["image"]] == "held_out"} == {"held_out"}


def test_almost_identical_images_of_held_out_and_training_rows_are_named(tmp_path):
    def recompressed(source, to):
        Image.open(source).save(to.with_suffix(".jpg"), quality=95)
        return to.with_suffix(".jpg").name

    pairs = [(number, number + 2) for number in range(0, 36, 4)]
    folder = with_copies(tmp_path / "raw", pairs, recompressed)
    done, lines, _ = prepared(folder, tmp_path, guarantee_share=0.4)
    parts = part_of(done) | {str(done.full.ids[row]): "held_out" for row in done.full.parts["held_out"]}
    crossing = [{parts[f"{one:02}.png"], parts[f"copy{one:02}.jpg"]} for one, _ in pairs]
    assert {"train", "held_out"} in crossing
    assert done.understood["pictures"]["near_sets"] == sum(len(each) == 2 for each in crossing)
    assert any(line.startswith("Almost identical images in several parts") for line in lines)


def test_constant_images_are_counted_once_and_are_no_twins(tmp_path):
    for number in range(24):
        (tmp_path / "raw" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        value = np.random.default_rng(number).integers(0, 256, (20, 20)) if number > 5 else np.full((20, 20), 40)
        Image.fromarray(value.astype(np.uint8)).save(tmp_path / "raw" / "ab"[number % 2] / f"{number:02}.png")
    done, lines, rows = prepared(tmp_path / "raw", tmp_path)
    assert len(lines) == 1 and lines[0].startswith("Images of a single value: 6 (e.g. a/00.png); listed in ")
    assert [row["finding"] for row in rows] == ["constant"] * 6 and len(done.table) == 24
    assert done.understood["pictures"] | {"constant": 6, "identical": 0} == done.understood["pictures"]


def test_a_recompressed_copy_in_another_part_is_named_and_not_moved(tmp_path):
    (tmp_path / "case").mkdir()
    folder, _ = make("class_only_in_val", tmp_path / "case")
    rng = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.png")):
        smooth = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).resize(
            (256, 256), Image.Resampling.BICUBIC
        )
        smooth.save(path)
    Image.open(folder / "test/a/3.png").save(folder / "train/a/copy.jpg", quality=90)
    done, lines, rows = prepared(folder, tmp_path)
    assert len(lines) == 1 and lines[0].startswith(
        "Almost identical images in several parts: 1 sets (e.g. test/a/3.png and train/a/copy.jpg)"
    )
    assert [(row["finding"], row["image"], row["part"]) for row in rows] == [
        ("nearly identical", "test/a/3.png", "test"), ("nearly identical", "train/a/copy.jpg", "train")
    ]  # fmt: skip
    assert len(done.table) == 57


def test_a_picture_of_two_patients_is_named_with_both_and_an_almost_identical_one_too(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["image,patient,ill"]
    (tmp_path / "raw").mkdir()
    for number in range(40):
        smooth = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
        smooth.resize((256, 256), Image.Resampling.BICUBIC).save(tmp_path / "raw" / f"{number:02}.png")
        rows.append(f"{number:02}.png,p{number // 2},{number % 3 == 0:d}")
    shutil.copy(tmp_path / "raw" / "00.png", tmp_path / "raw" / "30.png")  # of p0 and p15
    shutil.copy(tmp_path / "raw" / "04.png", tmp_path / "raw" / "05.png")  # both of p2
    Image.open(tmp_path / "raw" / "12.png").save(tmp_path / "raw" / "38.jpg", quality=100)  # of p6 and p19
    rows = [row.replace("38.png", "38.jpg") for row in rows]
    (tmp_path / "raw" / "38.png").unlink()
    (tmp_path / "raw" / "labels.csv").write_text("\n".join(rows))
    for fold in (0, 1, 2, 3):  # 0: the plain split
        done, lines, listed = prepared(tmp_path / "raw", tmp_path, outer=(fold, 3) if fold else ())
        (line,) = [line for line in lines if line.startswith("Images of several patients")]
        assert "1 identical (e.g. 00.png and 30.png)" in line
        assert "1 sets almost identical (e.g. 12.png and 38.jpg)" in line
        assert {row["image"] for row in listed} == {"00.png", "30.png", "04.png", "05.png", "12.png", "38.jpg"}
        parts = part_of(done)
        assert parts["00.png"] == parts["30.png"] == parts["01.png"] == parts["31.png"]
        if fold:
            assert len({parts[name] for name in ("12.png", "13.png", "38.jpg", "39.png")}) == 1
    assert (
        done.understood["pictures"] | {"pictures_of_several_groups": 1, "near_sets_of_several_groups": 1}
        == (done.understood["pictures"])
    )


def test_a_data_set_without_findings_has_a_record_and_nothing_to_say(tiny_nih, tmp_path):
    done, lines, rows = prepared(tiny_nih, tmp_path, task="chestxray14")
    assert (lines, rows) == ([], []) and not list((tmp_path / "cache").glob("twins-*"))
    assert done.understood["pictures"] == dict.fromkeys(done.understood["pictures"], 0)
    assert done.understood["parts"] == {part: len(done.full.unsealed().part(part)) for part in PARTS}
    assert done.understood["pixel_key"] == done.full.pixel_key
    shutil.rmtree(tmp_path / "cache")
    assert prepared(tiny_nih, tmp_path, task="chestxray14")[0].understood == done.understood

"""The bank holds the live teacher's answers on exactly the pixels a trial sees, and is never trusted when damaged."""

import json
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import read_json

from xlite.config import ModelConfig
from xlite.data.batches import ViewReader
from xlite.data.input_spec import InputSpec
from xlite.data.views import augment
from xlite.device import choose_device, torch_threads
from xlite.distill import bank as bank_module
from xlite.distill import bank_build
from xlite.distill.bank import Bank, open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.teacher import Teacher
from xlite.distill.teachers.own import OwnModel
from xlite.errors import InputError
from xlite.models.build import build_model
from xlite.tasks import TASKS

CPU = choose_device("fp32", kind="cpu")
IMAGE = InputSpec("image", (32, 32))


class Counting(Teacher):
    """A teacher that counts the images it is shown."""

    shown = 0
    lock = threading.Lock()

    def answer(self, pixels, auxiliary, rows, *, device):
        with Counting.lock:
            Counting.shown += len(pixels)
        return super().answer(pixels, auxiliary, rows, device=device)


def teacher_of(config, *, num_labels=3, key="key", spec=IMAGE, **changes):
    model = build_model(config, num_labels=num_labels, seed=5, **changes).eval().requires_grad_(False)
    return Counting((OwnModel(model, 32, {"model": config.model_dump()}, key, spec),), spec)


def ask(teacher, pixels, auxiliary=None):
    """The teacher's logits for views of whatever rows."""
    return teacher.answer(pixels, auxiliary, np.zeros(len(pixels), int), device=CPU)


@pytest.fixture
def teacher():
    Counting.shown = 0
    return teacher_of(ModelConfig())


def build(teacher, dataset, folder, *, seed=7, preset="medium", num_views=3, batch_size=None, **changes):
    reader = ViewReader(dataset.open_pixels(), dataset.rows[:20], preset, seed)
    source = BankSource(teacher, reader, CPU, num_views, batch_size)
    return open_or_build(source, **{"data_key": "d", "logits_shape": (3,), "folder": folder, **changes}), reader


def all_views(bank, num_rows=20):
    positions, views = np.tile(np.arange(num_rows), bank.num_views), np.repeat(np.arange(bank.num_views), num_rows)
    return positions, views


def test_logits_are_the_live_teachers_rounded_to_half_precision_on_the_same_pixels(teacher, tiny_dataset, tmp_path):
    bank, reader = build(teacher, tiny_dataset, tmp_path)
    positions, views = all_views(bank)
    pixels, logits = bank.read(positions, views)
    np.testing.assert_array_equal(pixels, reader.read(positions, views))
    for view in range(3):
        live = ask(teacher, pixels[views == view])
        np.testing.assert_array_equal(logits[views == view], live.astype(np.float16))


class Uneven(Counting):
    """A teacher that answers some batches later than the next ones, or not at all."""

    begun, fails_at = 0, None

    def answer(self, pixels, auxiliary, rows, *, device):
        with Counting.lock:
            number, Uneven.begun = Uneven.begun, Uneven.begun + 1
        if number == self.fails_at:
            raise RuntimeError("no answer")
        time.sleep(0.05 * (number % 3 == 0))
        return super().answer(pixels, auxiliary, rows, device=device)


@pytest.mark.parametrize("num_cores", [1, 4])
def test_answers_that_come_out_of_order_are_kept_in_order(teacher, tiny_dataset, tmp_path, monkeypatch, num_cores):
    monkeypatch.setattr(bank_build, "available_cpus", lambda: num_cores)
    monkeypatch.setattr(Uneven, "begun", 0)
    uneven = Uneven(teacher.members, IMAGE)
    told = []
    with torch_threads(2):
        bank, reader = build(uneven, tiny_dataset, tmp_path, batch_size=3, progress=lambda *call: told.append(call[0]))
        assert torch.get_num_threads() == 2
    positions, views = all_views(bank)
    pixels, logits = bank.read(positions, views)
    np.testing.assert_array_equal(pixels, reader.read(positions, views))
    np.testing.assert_allclose(logits, ask(teacher, pixels), rtol=2**-11, atol=1e-5)
    assert Uneven.begun == len(told) == 21 and told == sorted(told)


def test_a_teacher_that_fails_on_a_batch_ends_the_build(teacher, tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(Uneven, "begun", 0)
    monkeypatch.setattr(Uneven, "fails_at", 5)
    fails = Uneven(teacher.members, IMAGE)
    before = threading.active_count()
    with torch_threads(2):
        with pytest.raises(RuntimeError, match="no answer"):
            build(fails, tiny_dataset, tmp_path, batch_size=3)
        assert torch.get_num_threads() == 2
    assert Uneven.begun < 21  # nobody goes on asking
    assert threading.active_count() == before
    bank, _ = build(teacher, tiny_dataset, tmp_path, batch_size=3)
    pixels, logits = bank.read(*all_views(bank))
    np.testing.assert_allclose(logits, ask(teacher, pixels), rtol=2**-11, atol=1e-5)


def test_a_read_follows_the_order_it_is_asked_in(teacher, tiny_dataset, tmp_path):
    bank, reader = build(teacher, tiny_dataset, tmp_path)
    positions, views = np.array([3, 19, 3]), np.array([0, 2, 1])
    pixels, logits = bank.read(positions, views)
    np.testing.assert_array_equal(pixels, reader.read(positions, views))
    one_by_one = [bank.read(positions[i : i + 1], views[i : i + 1])[1][0] for i in range(3)]
    np.testing.assert_array_equal(logits, one_by_one)


CLASSES = ModelConfig(backbone="mobilenetv3_small_050")
STACKS = {"architecture": "slices", "num_slices": 3, "num_levels": 5, "level_dim": 8}
KINDS = {
    "one of n": ("images", (32, 32), "|u1", (4,), CLASSES, None),
    "colour": ("images", (32, 32, 3), "|u1", (2,), CLASSES, None),
    "grades of stacks": ("lumbar_spine", (3, 32, 32, 3), "|u1", (3,), ModelConfig(**STACKS), 5),
    "coral": ("lumbar_spine", (3, 32, 32, 3), "|u1", (3,), ModelConfig(**STACKS, head="coral"), 5),
    "scan lines": ("stm_scanlines", (8, 32), "<f2", (8, 4), ModelConfig(architecture="lines", layers=1, width=16), 8),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_target_and_input_has_its_bank(kind, tmp_path):
    task, shape, dtype, logits_shape, config, extras_below = KINDS[kind]
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 255, (12, *shape)).astype(dtype)
    auxiliary = None if extras_below is None else rng.integers(0, extras_below, (12, 1)) + (task == "stm_scanlines")
    spec = InputSpec(config.architecture, shape, dtype)
    sizes = {"in_channels": spec.channels, "image_size": None if config.has_backbone else spec.image_size}
    teacher = teacher_of(config, num_labels=logits_shape[-1], spec=spec, **sizes)
    reader = ViewReader(pixels, np.arange(12), "medium", 3, TASKS[task].augment, auxiliary)
    source = BankSource(teacher, reader, CPU, num_views=2, batch_size=5)
    bank = open_or_build(source, data_key=kind, logits_shape=logits_shape, folder=tmp_path)
    positions, views = all_views(bank, 12)
    seen, logits = bank.read(positions, views)
    np.testing.assert_array_equal(seen, reader.read(positions, views))
    live = ask(teacher, seen, None if auxiliary is None else auxiliary[positions])
    assert logits.shape == (24, *logits_shape)
    np.testing.assert_allclose(logits, live, rtol=2**-11, atol=1e-5)
    if auxiliary is not None and task == "lumbar_spine":  # else the levels were not given to the teacher
        shuffled = ask(teacher, seen, 4 - auxiliary[positions])
        assert np.abs(shuffled - live).max() > 1e-3


def test_an_ensemble_is_one_set_of_logits(tiny_dataset, tmp_path):
    members = [build_model(ModelConfig(), num_labels=3, seed=seed).eval() for seed in (1, 2)]
    own = [OwnModel(model, size, {}, "k", IMAGE) for model, size in zip(members, (32, 48), strict=True)]
    both = Teacher(tuple(own), IMAGE)
    bank, reader = build(both, tiny_dataset, tmp_path)
    positions, views = np.arange(20), np.full(20, 1)
    logits = bank.read(positions, views)[1]
    images = reader.read(positions, views)
    mean = np.mean([ask(Teacher((member,), IMAGE), images) for member in own], axis=0)
    np.testing.assert_allclose(logits, mean, rtol=2**-10, atol=1e-5)


def test_14_labels_take_at_most_32_bytes_an_image_and_view(tiny_dataset, tmp_path):
    teacher = teacher_of(ModelConfig(), num_labels=14)
    bank, _ = build(teacher, tiny_dataset, tmp_path, logits_shape=(14,), pixel_budget_bytes=0)
    sizes = bank.bytes_per_view()
    assert sizes.keys() == {"logits.npy"} and 28 <= sizes["logits.npy"] <= 32


def test_beyond_the_pixel_budget_only_logits_are_kept(teacher, tiny_dataset, tmp_path):
    exactly = 3 * 20 * 32 * 32
    bank, _ = build(teacher, tiny_dataset, tmp_path / "below", pixel_budget_bytes=exactly - 1)
    pixels, logits = bank.read(np.array([1]), np.array([2]))
    assert pixels is None and logits.shape == (1, 3)
    assert not (bank.folder / "pixels.npy").exists()
    assert build(teacher, tiny_dataset, tmp_path / "at", pixel_budget_bytes=exactly)[0].has_pixels


def test_a_second_study_finds_it_and_asks_the_teacher_nothing(teacher, tiny_dataset, tmp_path):
    told = []
    first, _ = build(teacher, tiny_dataset, tmp_path, progress=lambda *call: told.append(call), batch_size=8)
    asked = Counting.shown
    again, _ = build(teacher, tiny_dataset, tmp_path)
    assert again == first and Counting.shown == asked == 60
    assert told[:3] == [(8, 60), (16, 60), (20, 60)] and told[-1] == (60, 60) and len(told) == 9
    assert {path.name for path in first.folder.iterdir()} == {"bank.json", "logits.npy", "pixels.npy", "lock"}


def test_whatever_decides_its_content_makes_another_bank(teacher, tiny_dataset, tmp_path):
    larger = Counting((replace(teacher.members[0], image_size=64),), IMAGE)
    other = Counting((replace(teacher.members[0], key="other"),), IMAGE)
    banks = [
        build(teacher, tiny_dataset, tmp_path),
        build(teacher, tiny_dataset, tmp_path, num_views=4),
        build(teacher, tiny_dataset, tmp_path, data_key="e"),
        build(teacher, tiny_dataset, tmp_path, seed=8),
        build(teacher, tiny_dataset, tmp_path, preset="light"),
        build(larger, tiny_dataset, tmp_path),
        build(other, tiny_dataset, tmp_path),
    ]
    assert len({bank.folder for bank, _ in banks}) == len(banks)


def test_a_bank_of_pixels_that_the_augmentation_no_longer_gives_is_not_used(
    teacher, tiny_dataset, tmp_path, monkeypatch
):
    added = 0

    def switching(pixels, rows, views, *, preset, seed):  # the same function by name, as after an upgrade below it
        return augment(pixels, rows, views, preset=preset, seed=seed) + np.uint8(added)

    reader = ViewReader(tiny_dataset.open_pixels(), tiny_dataset.rows[:20], "medium", 7, switching)
    source = BankSource(teacher, reader, CPU, num_views=3)
    old = open_or_build(source, data_key="d", logits_shape=(3,), folder=tmp_path)
    added = 1
    new = open_or_build(source, data_key="d", logits_shape=(3,), folder=tmp_path)
    assert old.folder != new.folder
    np.testing.assert_array_equal(
        new.read(np.arange(20), np.zeros(20, int))[0], old.read(np.arange(20), np.zeros(20, int))[0] + np.uint8(1)
    )


def damage(kind, bank):
    logits, pixels, record = (bank.folder / name for name in ("logits.npy", "pixels.npy", "bank.json"))
    if kind == "logits cut":
        logits.write_bytes(logits.read_bytes()[:-100])
    elif kind == "pixels cut":
        pixels.write_bytes(pixels.read_bytes()[:-100])
    elif kind == "pixels gone":
        pixels.unlink()
    elif kind == "record cut":
        record.write_bytes(record.read_bytes()[:-100])
    elif kind == "record of another bank":
        record.write_text(json.dumps({**read_json(record), "teacher": "another"}))
    elif kind == "record of other views":
        record.write_text(json.dumps({**read_json(record), "num_views": 2}))
    elif kind == "longer":
        pixels.write_bytes(pixels.read_bytes() + b"\0")
    else:
        file, at = {"logit flipped": (logits, -5), "pixel flipped": (pixels, 40_000), "header flipped": (logits, 30)}[
            kind
        ]
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(data)


DAMAGES = (
    "logits cut", "pixels cut", "pixels gone", "record cut", "record of another bank", "record of other views",
    "longer", "logit flipped", "pixel flipped", "header flipped",
)  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_bank_is_built_again(teacher, tiny_dataset, tmp_path, kind):
    bank, _ = build(teacher, tiny_dataset, tmp_path)
    whole = {path.name: path.read_bytes() for path in bank.folder.iterdir()}
    expected = bank.read(*all_views(bank))
    damage(kind, bank)
    again, _ = build(teacher, tiny_dataset, tmp_path)
    assert {path.name: path.read_bytes() for path in bank.folder.iterdir()} == whole
    assert Counting.shown == 120
    for before, after in zip(expected, again.read(*all_views(again)), strict=True):  # not through the old file's map
        np.testing.assert_array_equal(before, after)


def test_a_file_cut_short_under_a_trial_is_an_error_with_its_name_and_no_signal(teacher, tiny_dataset, tmp_path):
    bank, _ = build(teacher, tiny_dataset, tmp_path)
    file = bank.folder / "pixels.npy"
    file.write_bytes(file.read_bytes()[:5000])
    code = "import pickle, sys, numpy; pickle.loads(sys.stdin.buffer.read()).read(numpy.array([19]), numpy.array([2]))"
    trial = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(bank), capture_output=True, check=False)
    assert trial.returncode == 1  # a signal's would be negative
    assert f"InputError: {file}: damaged or gone; run the study again to rebuild it" in trial.stderr.decode()


def test_a_teacher_without_finite_logits_is_refused(teacher, tiny_dataset, tmp_path):
    teacher.members[0].model.set_bias([0.0, 1e6, 0.0])
    with pytest.raises(InputError, match="logits that are not finite in half precision"):
        build(teacher, tiny_dataset, tmp_path)
    assert list(tmp_path.glob("*/bank.json")) == []


def test_trials_cannot_write_into_it(teacher, tiny_dataset, tmp_path):
    bank, _ = build(teacher, tiny_dataset, tmp_path)
    bank.read(np.array([0]), np.array([0]))
    for name in ("pixels.npy", "logits.npy"):
        assert not bank_module._MAPS[str(bank.folder), name].flags.writeable
    assert pickle.loads(pickle.dumps(bank)) == bank == Bank(bank.folder, 3, True)


class Limited(Teacher):
    """A teacher with memory for so many views at once."""

    limit = 5

    def answer(self, pixels, auxiliary, rows, *, device):
        if len(pixels) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().answer(pixels, auxiliary, rows, device=device)


def test_where_gpu_memory_runs_out_the_teacher_is_asked_about_half_the_views(teacher, tiny_dataset, tmp_path, capfd):
    limited = Limited(teacher.members, teacher.input_spec)
    bank, _ = build(limited, tiny_dataset, tmp_path / "a", batch_size=16)
    asked, _ = build(teacher, tiny_dataset, tmp_path / "b", batch_size=4)
    for name in ("logits.npy", "bank.json"):
        assert (bank.folder / name).read_bytes() == (asked.folder / name).read_bytes()
    assert read_json(bank.folder / "bank.json")["batch_size"] == 4
    said = "GPU memory ran out; the teacher is asked about {} views at once"
    assert capfd.readouterr().err.splitlines() == [said.format(8), said.format(4)]
    assert build(limited, tiny_dataset, tmp_path / "a", batch_size=16)[0] == bank  # it is not built again


def test_where_not_even_one_view_fits_one_line_says_so(teacher, tiny_dataset, tmp_path):
    limited = Limited(teacher.members, teacher.input_spec)
    Limited.limit, before = 0, Limited.limit
    try:
        with pytest.raises(InputError, match="the teacher bank: GPU memory ran out"):
            build(limited, tiny_dataset, tmp_path, batch_size=2)
    finally:
        Limited.limit = before

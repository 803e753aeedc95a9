"""The bank holds the live teacher's answers on exactly the pixels a trial sees, and is never trusted when damaged."""

import multiprocessing

import numpy as np
import pytest

from xlite.config import ModelConfig
from xlite.data.batches import ViewReader
from xlite.device import choose_device
from xlite.distill import bank as bank_module
from xlite.distill.bank import open_or_build
from xlite.distill.teacher import Teacher
from xlite.errors import InputError
from xlite.models.build import build_model

CPU = choose_device("fp32", kind="cpu")


class Counting(Teacher):
    """A teacher that counts the images it is shown."""

    shown = 0

    def logits(self, pixels, extras=None, *, device):
        Counting.shown += len(pixels)
        return super().logits(pixels, extras, device=device)


@pytest.fixture
def teacher():
    Counting.shown = 0
    model = build_model(ModelConfig(), num_labels=3, seed=5).eval().requires_grad_(False)
    return Counting((model,), (32,), ({},), "key")


def build(teacher, dataset, folder, **changes):
    reader = ViewReader(dataset.open_pixels(), dataset.rows[:20], "medium", 7)
    options = {"data_key": "d", "num_views": 3, "logits_shape": (3,), "folder": folder, "device": CPU, **changes}
    return open_or_build(teacher, reader, **options), reader


def test_logits_are_the_live_teachers_within_half_precision_on_the_same_pixels(teacher, tiny_dataset, tmp_path):
    bank, reader = build(teacher, tiny_dataset, tmp_path)
    positions, views = np.array([3, 19, 3]), np.array([0, 2, 1])
    pixels, logits = bank.read(positions, views)
    np.testing.assert_array_equal(pixels, reader.read(positions, views))
    np.testing.assert_allclose(logits, teacher.logits(pixels, device=CPU), rtol=2e-3, atol=2e-3)


def test_beyond_the_pixel_budget_only_logits_are_kept(teacher, tiny_dataset, tmp_path):
    bank, _ = build(teacher, tiny_dataset, tmp_path, pixel_budget_bytes=1000)
    pixels, logits = bank.read(np.array([1]), np.array([2]))
    assert pixels is None and logits.shape == (1, 3)
    assert not (bank.folder / "pixels.npy").exists()


def test_a_second_study_finds_it_and_asks_the_teacher_nothing(teacher, tiny_dataset, tmp_path):
    first, _ = build(teacher, tiny_dataset, tmp_path)
    asked = Counting.shown
    again, _ = build(teacher, tiny_dataset, tmp_path)
    assert again == first and Counting.shown == asked == 60


def test_another_augmentation_seed_or_number_of_views_is_another_bank(teacher, tiny_dataset, tmp_path):
    first, _ = build(teacher, tiny_dataset, tmp_path)
    other, _ = build(teacher, tiny_dataset, tmp_path, num_views=4)
    third, _ = build(teacher, tiny_dataset, tmp_path, data_key="e")
    assert len({first.folder, other.folder, third.folder}) == 3


@pytest.mark.parametrize("name", ["logits.npy", "pixels.npy"])
def test_a_truncated_bank_is_built_again(teacher, tiny_dataset, tmp_path, name):
    bank, _ = build(teacher, tiny_dataset, tmp_path)
    whole = (bank.folder / name).read_bytes()
    (bank.folder / name).write_bytes(whole[:-100])
    build(teacher, tiny_dataset, tmp_path)
    assert (bank.folder / name).read_bytes() == whole


def test_an_unfinished_bank_is_not_opened(teacher, tiny_dataset, tmp_path):
    bank, _ = build(teacher, tiny_dataset, tmp_path)
    (bank.folder / "bank.json").unlink()
    assert bank_module._open(bank.folder) is None


def test_a_full_disk_is_one_line_and_leaves_nothing(teacher, tiny_dataset, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bank_module, "_write_header", full)
    with pytest.raises(InputError, match="No space left on device"):
        build(teacher, tiny_dataset, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def _build_in_child(folder, pixel_file, queue):
    Counting.shown = 0
    model = build_model(ModelConfig(), num_labels=3, seed=5).eval().requires_grad_(False)
    reader = ViewReader(np.load(pixel_file, mmap_mode="r"), np.arange(20), "none", 7)
    open_or_build(
        Counting((model,), (32,), ({},), "key"),
        reader,
        data_key="d",
        num_views=3,
        logits_shape=(3,),
        folder=folder,
        device=CPU,
    )
    queue.put(Counting.shown)


def test_of_two_processes_one_builds_and_one_waits(tiny_dataset, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    children = [
        context.Process(target=_build_in_child, args=(tmp_path, tiny_dataset.pixel_file, queue)) for _ in range(2)
    ]
    for child in children:
        child.start()
    shown = sorted(queue.get(timeout=120) for _ in children)
    for child in children:
        child.join()
    assert shown == [0, 60]

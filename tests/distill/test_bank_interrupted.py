"""The bank under interruption, with real processes: killed, doubled, out of disk, read-only, in the way of a file."""

import multiprocessing
import os
import resource
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from xlite.config import ModelConfig
from xlite.data.batches import ViewReader
from xlite.data.input_spec import InputSpec
from xlite.device import choose_device
from xlite.distill import bank as bank_module
from xlite.distill import bank_build
from xlite.distill.bank import open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.teacher import Teacher
from xlite.distill.teachers.own import OwnModel
from xlite.errors import InputError
from xlite.models.build import build_model

CPU = choose_device("fp32", kind="cpu")
SPEC = InputSpec("image", (32, 32))
NUM_ROWS, NUM_VIEWS, BATCH = 40, 3, 8
NUM_BATCHES = NUM_VIEWS * NUM_ROWS // BATCH
NUM_CORES = 2
NUM_AGAIN = 1 + NUM_CORES  # the batch that is being written, and those asked about ahead of it
BANK_BYTES = NUM_VIEWS * NUM_ROWS * (32 * 32 + 2 * 3)
SERVER = multiprocessing.get_context("forkserver")  # forks of a process that has imported torch: real, and quick
SERVER.set_forkserver_preload(["xlite.distill.bank", "xlite.models.build", "albumentations"])


class Logged(Teacher):
    """A teacher that takes its time and writes a line for every batch it is shown."""

    def answer(self, pixels, auxiliary, rows, *, device):
        description = self.members[0].description
        time.sleep(description["pause_s"])
        with description["log"].open("a") as log:
            log.write("batch\n")
        return super().answer(pixels, auxiliary, rows, device=device)


def build(root, *, pause_s=0.0, progress=None):
    """The bank below `root`, every batch of it a block of its own."""
    bank_build._COMMIT_S = 0.0
    bank_build.available_cpus = lambda: NUM_CORES
    model = build_model(ModelConfig(), num_labels=3, seed=5).eval().requires_grad_(False)
    teacher = Logged((OwnModel(model, 32, {"pause_s": pause_s, "log": root / "log"}, "key", SPEC),), SPEC)
    pixels = np.random.default_rng(0).integers(0, 255, (NUM_ROWS, 32, 32), dtype=np.uint8)
    reader = ViewReader(pixels, np.arange(NUM_ROWS), "medium", 7)
    source = BankSource(teacher, reader, CPU, NUM_VIEWS, BATCH)
    return open_or_build(source, data_key="d", logits_shape=(3,), folder=root / "banks", progress=progress)


def content(root):
    (folder,) = (root / "banks").iterdir()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def num_asked(root):
    return len((root / "log").read_text().splitlines()) if (root / "log").exists() else 0


def num_durable(root):
    (folder,) = (root / "banks").iterdir()
    return bank_build.read_progress(folder)[0] // BATCH


def wait_for_batches(root, number):
    deadline_s = time.monotonic() + 60
    while num_asked(root) < number:
        assert time.monotonic() < deadline_s, "no batch"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    build(root)
    assert num_asked(root) == NUM_BATCHES
    return content(root)


def _build_until(root, kill_at, counted):
    """Build, and die by SIGKILL at step `kill_at`: in the middle of a write, before a sync, a rename or a removal."""
    steps = 0

    def dying(function):
        def step(*arguments, **options):
            nonlocal steps
            steps += 1
            if steps == kill_at:
                if function is write_at:
                    descriptor, data, offset = arguments
                    write_at(descriptor, data[: len(data) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return step

    write_at = bank_build.write_at
    bank_build.write_at, bank_build.sync_data = dying(write_at), dying(bank_build.sync_data)
    Path.replace, Path.unlink = dying(Path.replace), dying(Path.unlink)
    build(root)
    counted.put(steps)


@pytest.fixture(scope="module")
def num_steps(tmp_path_factory):
    """How many instants a whole build has at which it can be killed."""
    counted = SERVER.Queue()
    child = SERVER.Process(target=_build_until, args=(tmp_path_factory.mktemp("count"), 0, counted))
    child.start()
    steps = counted.get(timeout=120)
    child.join()
    return steps


@pytest.mark.parametrize("share", [0.02, *np.random.default_rng(5).random(6).round(3), 0.97, 1.0])
def test_killed_at_any_instant_it_goes_on_and_is_equal_to_the_byte(tmp_path, uninterrupted, num_steps, share):
    child = SERVER.Process(target=_build_until, args=(tmp_path, max(1, round(share * num_steps)), None))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    asked, durable = num_asked(tmp_path), num_durable(tmp_path)
    assert asked - durable <= NUM_AGAIN or share > 0.9  # at the very end the records are already exchanged
    build(tmp_path)
    left = content(tmp_path)
    if share == 1.0:  # killed before its very last act, the removal of a file that nobody reads any more
        del left["progress.json"]
    assert left == uninterrupted
    assert num_asked(tmp_path) <= NUM_BATCHES + NUM_AGAIN  # no more is done again


def test_killed_five_times_in_a_row_it_ends_as_if_it_never_was(tmp_path, uninterrupted):
    for delay_s in np.random.default_rng(11).uniform(0, 0.1, 5):
        before = num_asked(tmp_path)
        child = SERVER.Process(target=build, args=(tmp_path,), kwargs={"pause_s": 0.02})
        child.start()
        wait_for_batches(tmp_path, before + 1)
        time.sleep(delay_s)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    build(tmp_path)
    assert content(tmp_path) == uninterrupted
    assert num_asked(tmp_path) <= NUM_BATCHES + 5 * NUM_AGAIN


def half_built(root):
    """A bank's folder with some durable blocks."""

    def stop(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(root, progress=stop)
    (folder,) = (root / "banks").iterdir()
    assert bank_build.read_progress(folder) == (64, 120) and not (folder / "bank.json").exists()
    return folder


@pytest.mark.parametrize("what", ["logits.npy", "pixels.npy", "progress.json"])
@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
def test_a_damaged_beginning_is_not_continued(tmp_path, uninterrupted, what, how):
    file = half_built(tmp_path) / what
    data = bytearray(file.read_bytes())
    if how == "gone":
        file.unlink()
    else:
        data[200] ^= 1
        file.write_bytes(data[:-1] if how == "cut" else data)
    asked = num_asked(tmp_path)
    build(tmp_path)
    assert content(tmp_path) == uninterrupted
    assert num_asked(tmp_path) == asked + NUM_BATCHES


def test_what_was_written_after_the_last_block_is_done_again(tmp_path, uninterrupted):
    folder = half_built(tmp_path)
    with (folder / "pixels.npy").open("ab") as pixels:
        pixels.write(b"rubbish" * 10_000)  # longer than what is missing
    (folder / ".progress.json.0123abcd.tmp").write_text("{")
    asked = num_asked(tmp_path)
    build(tmp_path)
    assert content(tmp_path) == uninterrupted
    assert num_asked(tmp_path) == asked + NUM_BATCHES - 8


def test_of_two_processes_one_builds_and_one_waits(tmp_path, uninterrupted):
    told = SERVER.Queue()
    children = [SERVER.Process(target=_build_and_tell, args=(tmp_path, told)) for _ in range(2)]
    for child in children:
        child.start()
    progress = [told.get(timeout=120) for _ in children]
    for child in children:
        child.join()
    assert content(tmp_path) == uninterrupted and num_asked(tmp_path) == NUM_BATCHES
    assert all(calls and calls == sorted(calls) for calls in progress)  # the one that waits shows how far the other is


def _build_and_tell(root, told):
    calls = []
    build(root, pause_s=0.05, progress=lambda *call: calls.append(call))
    told.put(calls)


def test_when_the_builder_is_killed_the_one_that_waits_goes_on(tmp_path, uninterrupted):
    first = SERVER.Process(target=build, args=(tmp_path,), kwargs={"pause_s": 0.05})
    first.start()
    wait_for_batches(tmp_path, 4)
    told = SERVER.Queue()
    second = SERVER.Process(target=_build_and_tell, args=(tmp_path, told))
    second.start()
    wait_for_batches(tmp_path, 6)
    os.kill(first.pid, signal.SIGKILL)
    told.get(timeout=120)
    for child in (first, second):
        child.join()
    assert content(tmp_path) == uninterrupted and num_asked(tmp_path) <= NUM_BATCHES + NUM_AGAIN


def message_of(root, **options):
    """The one line that a person reads."""
    with pytest.raises(InputError) as refused:
        build(root, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def _limited(root, num_bytes, told):
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))
    told.put(message_of(root))


@pytest.mark.parametrize(
    ("num_bytes", "left"), [(4_000, set()), (60_000, {"progress.json", "logits.npy", "pixels.npy"})]
)
def test_a_file_that_cannot_grow_is_one_line_and_no_bank(tmp_path, uninterrupted, num_bytes, left):
    told = SERVER.Queue()
    child = SERVER.Process(target=_limited, args=(tmp_path, num_bytes, told))
    child.start()
    message = told.get(timeout=120)
    child.join()
    assert "the teacher bank cannot be written (File too large)" in message and "--cache-dir" in message
    assert content(tmp_path).keys() == {"lock"} | left  # what is durable is kept to go on from, but is no bank
    asked, durable = num_asked(tmp_path), num_durable(tmp_path)
    assert asked - durable <= NUM_AGAIN and (durable > 0) == bool(left)
    build(tmp_path)
    assert content(tmp_path) == uninterrupted and num_asked(tmp_path) - asked == NUM_BATCHES - durable


@contextmanager
def mounted(folder, size):
    """A file system of its own, of `size`."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a small tmpfs here")
    try:
        yield folder
    finally:
        bank_module._MAPS.clear()
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_refused_before_the_teacher_is_asked(tmp_path):
    with mounted(tmp_path / "banks", "96k"):
        message = message_of(tmp_path)
        assert f"the teacher bank needs {BANK_BYTES / 2**20:.1f} MiB, 0.1 MiB free" in message
        assert num_asked(tmp_path) == 0 and list(tmp_path.glob("banks/*/*.npy")) == []


def test_a_disk_that_fills_up_is_one_line_and_with_room_it_goes_on(tmp_path, uninterrupted):
    with mounted(tmp_path / "banks", "256k") as disk:
        filler = disk / "filler"

        def fill(done, total):
            if done == 40 and not filler.exists():
                free = os.statvfs(disk)
                filler.write_bytes(bytes(free.f_bavail * free.f_bsize))

        assert "(No space left on device)" in message_of(tmp_path, progress=fill)
        assert list(disk.glob("*/bank.json")) == []
        filler.unlink()
        asked = num_asked(tmp_path)
        build(tmp_path)
        assert content(tmp_path) == uninterrupted
        assert num_asked(tmp_path) < asked + NUM_BATCHES


def test_a_read_only_folder_is_one_line_unless_the_bank_is_there(tmp_path, uninterrupted):
    with mounted(tmp_path / "banks", "1m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert "the teacher bank cannot be written (Read-only file system)" in message_of(tmp_path)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        build(tmp_path)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        asked = num_asked(tmp_path)
        build(tmp_path)
        assert num_asked(tmp_path) == asked and content(tmp_path) == uninterrupted


def test_a_file_where_the_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "banks").write_text("")
    assert "the teacher bank cannot be written (" in message_of(tmp_path)

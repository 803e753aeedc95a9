"""The pixel cache with real processes that are killed, interrupted, run twice, or out of disk space."""

import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from xlite.data.cache import PixelCache, open_or_build
from xlite.data.cache_build import read_journal
from xlite.data.decode import ImagePreprocess, decode
from xlite.data.picture_hash import PictureHashes
from xlite.data.table import Item

REPO = Path(__file__).resolve().parents[2]
NUM_IMAGES = 120
SIZE = ImagePreprocess(image_size=16)

PRELUDE = """
import os, resource, signal, sys, time
from pathlib import Path
import numpy as np
from xlite.data import cache_build
from xlite.storage import arrays
from xlite.data.cache import open_or_build
from xlite.data.decode import ImagePreprocess
from xlite.data.table import Item
from xlite.errors import InputError

cache_build._COMMIT_ROWS = 16
root = Path(sys.argv[1])
pause_s = float(sys.argv[2])
files = sorted((root / "images").iterdir())
log = os.open(root / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def logged(preprocess, item):
    path = item.path
    os.write(log, (path.name + "\\n").encode())
    time.sleep(pause_s)
    return unlogged(preprocess, item)

unlogged, ImagePreprocess.read_hashed = ImagePreprocess.read_hashed, logged

def build(**options):
    ids = np.array([file.name for file in files])
    options = {"cache_dir": root / "cache", "preprocess": ImagePreprocess(image_size=16)} | options
    return open_or_build([Item((file,)) for file in files], ids, num_threads=2, **options)

def message_of(build):
    try:
        build()
    except InputError as error:
        return str(error)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        assert cv2.imwrite(str(tmp_path / f"images/{number:05}.png"), rng.integers(0, 256, (32, 32), dtype=np.uint8))
    return tmp_path


def start(root: Path, body: str, *, pause_s: float = 0.0) -> subprocess.Popen[str]:
    """A process with `build()`, which logs each decoded name to `root/log` and waits `pause_s` an image."""
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(body), str(root), str(pause_s)]
    return subprocess.Popen(
        command,
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )


def wait_for_journal(root: Path, num_rows: int) -> Path:
    """The cache's folder once its journal has `num_rows` rows."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        for journal in (root / "cache").glob("*/journal.jsonl"):
            if len(read_journal(journal)[0]) >= num_rows:
                return journal.parent
        time.sleep(0.01)
    raise AssertionError("no journal")


def build_here(root: Path, calls: list[int]) -> PixelCache:
    def counted(preprocess: ImagePreprocess, item: Item) -> tuple[np.ndarray, PictureHashes]:
        calls.append(int(item.path.stem))
        return uncounted(preprocess, item)

    uncounted = ImagePreprocess.read_hashed
    files = sorted((root / "images").iterdir())
    ids = np.array([file.name for file in files])
    items = [Item((file,)) for file in files]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImagePreprocess, "read_hashed", counted)
        return open_or_build(items, ids, cache_dir=root / "cache", preprocess=SIZE, num_threads=2)


def expected_pixels(root: Path) -> np.ndarray:
    return np.stack([decode(file, SIZE) for file in sorted((root / "images").iterdir())])


def test_a_killed_build_resumes_where_its_journal_ends(root: Path) -> None:
    process = start(root, "build()", pause_s=0.02)
    folder = wait_for_journal(root, 32)
    process.kill()
    process.communicate()
    journaled = set(read_journal(folder / "journal.jsonl")[0])
    decoded_before = {int(Path(name).stem) for name in (root / "log").read_text().split()}
    assert not (folder / "cache.json").exists()
    assert 32 <= len(journaled) < NUM_IMAGES
    assert len(decoded_before - journaled) <= 16 + 8 + 4 * 8  # a chunk, what overfills it, the tasks in flight

    calls: list[int] = []
    cache = build_here(root, calls)
    assert sorted(calls) == sorted(set(range(NUM_IMAGES)) - journaled)
    np.testing.assert_array_equal(cache.pixels, expected_pixels(root))
    assert cache.hashes()[:, 0].all() and len(np.unique(cache.hashes()[:, 0])) == NUM_IMAGES


@pytest.mark.parametrize("tail", [b'{"rows": [1, 2', b"\0" * 40 + b"\n", b'[7]\n{"rows": [0], "failures": {}}\n'])
def test_a_journal_is_read_up_to_the_first_damaged_line(root: Path, tail: bytes) -> None:
    folder = build_here(root, []).path
    (folder / "cache.json").unlink()
    journal = folder / "journal.jsonl"
    journal.write_bytes(b'{"rows": [0, 1, 2, 3], "failures": {"5": "damaged"}}\n' + tail)
    calls: list[int] = []
    cache = build_here(root, calls)
    assert sorted(calls) == [4, *range(6, NUM_IMAGES)]
    assert cache.failures == {"00005.png": "damaged"}
    assert len(read_journal(journal)[0]) == NUM_IMAGES  # the rubbish is gone: what followed it can be read


def test_a_journal_without_its_pixels_is_ignored(root: Path) -> None:
    folder = build_here(root, []).path
    (folder / "pixels.npy").unlink()
    calls: list[int] = []
    np.testing.assert_array_equal(build_here(root, calls).pixels, expected_pixels(root))
    assert len(calls) == NUM_IMAGES


def test_ctrl_c_ends_a_build_within_an_image_and_leaves_its_journal(root: Path) -> None:
    body = """
        def slow_later(preprocess, item):
            time.sleep(0.0 if int(item.path.stem) < 32 else 0.6)  # a task of 8 such images would take 4.8 s
            return unlogged(preprocess, item)

        ImagePreprocess.read_hashed = slow_later
        build()
    """
    process = start(root, body)
    folder = wait_for_journal(root, 16)
    began_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - began_s < 3
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not (folder / "cache.json").exists() and len(read_journal(folder / "journal.jsonl")[0]) >= 16


def test_two_processes_at_once_build_one_cache_and_decode_each_image_once(root: Path) -> None:
    body = """
        told = []
        cache = build(progress=lambda *call: told.append(call))
        print(cache.path, cache.pixels.sum(), cache.ok.all(), told == sorted(told), told[-1][0] > 0)
    """
    processes = [start(root, body, pause_s=0.02) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [error for _, error in outputs] == ["", ""]
    assert outputs[0] == outputs[1]
    folder = next((root / "cache").iterdir())
    assert outputs[0][0].split() == [str(folder), str(expected_pixels(root).sum()), "True", "True", "True"]
    assert Counter((root / "log").read_text().split()) == Counter(f"{row:05}.png" for row in range(NUM_IMAGES))


def test_the_lock_of_a_killed_builder_is_free(root: Path) -> None:
    first = start(root, "build()", pause_s=0.02)
    wait_for_journal(root, 16)
    second = start(root, "print(build().ok.all())", pause_s=0.0)
    time.sleep(1.0)
    first.kill()
    first.communicate()
    assert second.communicate(timeout=60) == ("True\n", "")


def test_too_little_space_for_the_array_is_an_input_error_and_leaves_no_array(root: Path) -> None:
    body = """
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        print(message_of(build))
    """
    output, errors = start(root, body).communicate(timeout=60)
    assert errors == "" and "the pixel cache cannot be written (File too large)" in output
    folder = next((root / "cache").iterdir())
    assert str(folder) in output and [path.name for path in folder.iterdir()] == ["lock"]
    assert not (root / "log").exists() or (root / "log").read_text() == ""


def test_a_disk_that_fills_up_halfway_is_an_input_error_and_the_build_resumes_later(root: Path) -> None:
    body = """
        def filling(preprocess, item):
            if item.path.stem == "00060":
                resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, resource.RLIM_INFINITY))
            return logged(preprocess, item)

        ImagePreprocess.read_hashed = filling
        print(message_of(build))
    """
    output, errors = start(root, body).communicate(timeout=60)
    assert errors == "" and "the pixel cache cannot be written (File too large)" in output
    folder = next((root / "cache").iterdir())
    journaled = set(read_journal(folder / "journal.jsonl")[0])
    assert not (folder / "cache.json").exists() and len(journaled) >= 32
    calls: list[int] = []
    np.testing.assert_array_equal(build_here(root, calls).pixels, expected_pixels(root))
    assert sorted(calls) == sorted(set(range(NUM_IMAGES)) - journaled)


def test_a_full_file_system_is_an_input_error(root: Path) -> None:
    cache_dir = root / "cache"
    cache_dir.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(cache_dir)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small tmpfs here")
    try:
        body = """
            import shutil
            shutil.disk_usage = lambda path: type("Usage", (), {"free": 2**40})  # as if it filled up just after
            print(message_of(lambda: build(preprocess=ImagePreprocess(image_size=64))))
            if hasattr(os, "posix_fallocate"):
                del os.posix_fallocate  # as where files cannot be preallocated: now writing meets the full disk
            print(message_of(lambda: build(preprocess=ImagePreprocess(image_size=64))))
        """
        output, errors = start(root, body).communicate(timeout=60)
        assert errors == ""
        assert [line.count("(No space left on device)") for line in output.splitlines()] == [1, 1]
        assert list(cache_dir.glob("*/cache.json")) == []
    finally:
        subprocess.run(["umount", str(cache_dir)], check=True)

"""The pixel cache: the right rows under the right key, used only if complete."""

import os
import pickle
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from xlite.data.cache import PixelCache, open_or_build
from xlite.data.decode import ImagePreprocess, decode, read_picture
from xlite.data.picture_hash import PictureHashes, hashes_of
from xlite.data.table import Item
from xlite.errors import InputError

SIZE = ImagePreprocess(image_size=16)
DiskUsage = namedtuple("DiskUsage", "total used free")
Build = Callable[..., PixelCache]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    files = [tmp_path / "images" / f"{number:05}.png" for number in range(12)]
    for file in files:
        assert cv2.imwrite(str(file), cv2.GaussianBlur(rng.integers(0, 256, (40, 32), dtype=np.uint8), (0, 0), 2))
    return files


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def build(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> Build:
    """Open or build the cache of some files; `calls` gets the name of each file that is decoded."""

    def build(
        files: list[Path], preprocess: ImagePreprocess = SIZE, *, decode: Callable = decode, **options
    ) -> PixelCache:
        def counted(preprocess: ImagePreprocess, item: Item) -> tuple[np.ndarray, PictureHashes]:
            calls.append(item.path.name)
            image = decode(item.path, preprocess)
            return image, hashes_of(image)

        monkeypatch.setattr(ImagePreprocess, "read_hashed", counted)
        ids = np.array([file.name for file in files])
        options = {"cache_dir": tmp_path / "cache", "num_threads": 2} | options
        items = [Item((file,)) for file in files]
        return open_or_build(items, ids, preprocess=preprocess, **options)

    return build


def test_rows_are_the_decoded_images_in_the_order_of_the_files(files: list[Path], build: Build) -> None:
    cache = build(files[::-1])
    np.testing.assert_array_equal(cache.pixels, [decode(file, SIZE) for file in files[::-1]])
    assert cache.pixels.dtype == np.uint8 and not cache.pixels.flags.writeable
    assert cache.ok.all() and cache.failures == {}


def test_pixels_are_an_npy_file_with_data_at_a_multiple_of_64_bytes(files: list[Path], build: Build) -> None:
    cache = build(files)
    loaded = np.load(cache.path / "pixels.npy", mmap_mode="r")
    np.testing.assert_array_equal(loaded, cache.pixels)
    assert loaded.offset % 64 == 0


def test_a_complete_cache_is_opened_without_decoding(files: list[Path], build: Build, calls: list[str]) -> None:
    first = build(files)
    second = build(files)
    assert sorted(calls) == [file.name for file in files]
    assert second.path == first.path
    np.testing.assert_array_equal(second.pixels, first.pixels)


def test_every_input_is_in_the_key(files: list[Path], build: Build) -> None:
    def touched() -> list[Path]:
        os.utime(files[3], ns=(0, files[3].stat().st_mtime_ns + 1))
        return files

    def grown() -> list[Path]:
        found = files[3].stat()
        files[3].write_bytes(files[3].read_bytes() + b"\0")
        os.utime(files[3], ns=(0, found.st_mtime_ns))
        return files

    keys = [build(files).key]
    keys += [
        build(files, ImagePreprocess(image_size=16, **change)).key for change in ({"clahe_clip": 3.0}, {"version": 2})
    ]
    keys += [build(files, ImagePreprocess(image_size=17)).key, build(files, ImagePreprocess(16, clahe_tiles=4)).key]
    keys += [build(files[1:]).key, build(files[::-1]).key, build(touched()).key, build(grown()).key]
    assert len(set(keys)) == len(keys)


def test_the_folder_the_images_lie_in_is_not_in_the_key(files: list[Path], build: Build, tmp_path: Path) -> None:
    first = build(files)
    moved = (tmp_path / "images").rename(tmp_path / "moved")
    assert build([moved / file.name for file in files]).key == first.key


def test_damaged_and_missing_images_are_zero_rows_with_a_reason(
    files: list[Path], build: Build, calls: list[str]
) -> None:
    files[2].write_bytes(b"")
    files[5].unlink()
    cache = build(files)
    assert cache.failures == {
        "00002.png": "the file is empty",
        "00005.png": "cannot be found (No such file or directory)",
    }
    np.testing.assert_array_equal(np.flatnonzero(~cache.ok), [2, 5])
    assert not cache.pixels[[2, 5]].any() and cache.pixels[cache.ok].any(axis=(1, 2)).all()
    calls.clear()
    again = build(files)
    assert (again.failures, calls) == (cache.failures, [])


def test_a_file_that_could_not_be_read_is_tried_again_next_time(
    files: list[Path], build: Build, calls: list[str]
) -> None:
    def flaky(path: Path, preprocess: ImagePreprocess) -> np.ndarray:
        if path == files[4]:
            raise OSError(5, "Input/output error")
        return decode(path, preprocess)

    cache = build(files, decode=flaky)
    assert cache.failures == {"00004.png": "cannot be read (Input/output error)"}
    calls.clear()
    repaired = build(files)
    assert calls == ["00004.png"]
    assert repaired.path == cache.path and repaired.ok.all()
    np.testing.assert_array_equal(repaired.pixels[4], decode(files[4], SIZE))


def test_a_bug_in_a_decoder_is_not_reported_as_a_damaged_image(files: list[Path], build: Build, tmp_path: Path) -> None:
    def broken(path: Path, preprocess: ImagePreprocess) -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(files, decode=broken)
    assert not list((tmp_path / "cache").rglob("cache.json"))


@pytest.mark.parametrize("cut", [1, 12 * 256, 12 * 256 + 128])
def test_truncated_pixels_are_found_and_rebuilt(files: list[Path], build: Build, calls: list[str], cut: int) -> None:
    expected = build(files)
    before = np.array(expected.pixels)
    path = expected.path / "pixels.npy"
    del expected
    os.truncate(path, path.stat().st_size - cut)
    calls.clear()
    np.testing.assert_array_equal(build(files).pixels, before)
    assert len(calls) == len(files)


def test_a_rebuild_that_was_interrupted_is_not_taken_for_the_complete_cache_before_it(
    files: list[Path], build: Build
) -> None:
    path = build(files).path
    before = np.load(path / "pixels.npy")
    os.truncate(path / "pixels.npy", 1000)

    def interrupted(path: Path, preprocess: ImagePreprocess) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(files, decode=interrupted)
    np.testing.assert_array_equal(build(files).pixels, before)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"key": "other"}'])
def test_a_damaged_record_is_rebuilt_from_the_journal(
    files: list[Path], build: Build, calls: list[str], content: str
) -> None:
    files[2].write_bytes(b"")
    path = build(files).path
    (path / "cache.json").write_text(content)
    calls.clear()
    cache = build(files)
    assert calls == []
    assert cache.failures == {"00002.png": "the file is empty"}


def test_a_cache_is_pickled_as_its_path(files: list[Path], build: Build) -> None:
    cache = build(files, ImagePreprocess(image_size=256))
    sent = pickle.dumps(cache)
    assert len(sent) < 2000
    received = pickle.loads(sent)
    assert isinstance(received.pixels, np.memmap)
    np.testing.assert_array_equal(received.pixels, cache.pixels)


def test_progress_ends_at_all_rows_and_never_decreases(files: list[Path], build: Build) -> None:
    reports: list[tuple[int, int]] = []
    files[2].write_bytes(b"")
    build(files, progress=lambda *call: reports.append(call))
    assert reports == sorted(reports) and reports[-1] == (12, 12)


def test_opencvs_thread_number_is_restored_also_after_an_error(files: list[Path], build: Build) -> None:
    seen: list[int] = []

    def failing(path: Path, preprocess: ImagePreprocess) -> np.ndarray:
        seen.append(cv2.getNumThreads())
        raise KeyError

    previous = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        with pytest.raises(KeyError):
            build(files, decode=failing)
        assert cv2.getNumThreads() == 2 and set(seen) == {1}
    finally:
        cv2.setNumThreads(previous)


def test_too_little_disk_space_is_an_error_before_any_work(
    files: list[Path], build: Build, calls: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(2**40, 2**40, 2**28))
    with pytest.raises(InputError) as caught:
        build(files, ImagePreprocess(image_size=2**13))  # 12 x 64 MiB and 5%
    assert str(caught.value) == (
        f"{tmp_path / 'cache'}: the pixel cache needs 806.4 MiB, 256.0 MiB free; "
        "free disk space or use another --cache-dir"
    )
    assert calls == []


def test_a_cache_dir_that_cannot_be_made_is_named(files: list[Path], build: Build, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"file/[0-9a-f]{32}: the pixel cache cannot be written \(Not a directory\)"):
        build(files, cache_dir=tmp_path / "file")


def test_the_hashes_are_those_of_the_decoded_pictures_and_zero_where_there_is_none(
    files: list[Path], tmp_path: Path
) -> None:
    files[2].write_bytes(b"")
    ids = np.array([file.name for file in files])
    cache = open_or_build([Item((file,)) for file in files], ids, cache_dir=tmp_path / "cache", preprocess=SIZE)
    expected = [hashes_of(read_picture(file, channels=1)) if file != files[2] else (0, 0) for file in files]
    assert cache.hashes().tolist() == [list(hashes) for hashes in expected] and cache.hashes().dtype == np.uint64


@pytest.mark.parametrize("damage", ["missing", "truncated", "read-only"])
def test_a_cache_without_hashes_gets_those_of_its_pixels_and_decodes_nothing(
    files: list[Path], build: Build, calls: list[str], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    shutil.copy(files[0], files[5])
    files[2].write_bytes(b"")
    first = build(files)
    before, record = np.array(first.pixels), (first.path / "cache.json").read_text()
    path = first.path / "hashes.npy"
    if damage == "truncated":
        os.truncate(path, path.stat().st_size - 1)
    else:
        path.unlink()
    calls.clear()
    if damage == "read-only":

        @contextmanager
        def refused(folder: Path, **options: object) -> Iterator[None]:
            raise PermissionError(13, "Permission denied")
            yield

        monkeypatch.setattr("xlite.data.cache.locked", refused)
    hashes = build(files).hashes()
    assert hashes.tolist() == [list(hashes_of(row)) if row.any() else [0, 0] for row in before]
    assert hashes[0, 0] == hashes[5, 0] != 0 and len(set(hashes[:, 0])) == 11 and hashes[2].tolist() == [0, 0]
    assert calls == [] and path.exists() == (damage != "read-only")
    np.testing.assert_array_equal(first.pixels, before)
    assert (first.path / "cache.json").read_text() == record
    if damage != "read-only":
        stored = path.read_bytes()
        assert build(files).hashes().tolist() == hashes.tolist() and path.read_bytes() == stored


def test_a_row_that_was_tried_again_has_its_hash(files: list[Path], build: Build) -> None:
    def flaky(path: Path, preprocess: ImagePreprocess) -> np.ndarray:
        if path == files[4]:
            raise OSError(5, "Input/output error")
        return decode(path, preprocess)

    assert build(files, decode=flaky).hashes()[4].tolist() == [0, 0]
    assert build(files).hashes()[4].tolist() == list(hashes_of(decode(files[4], SIZE)))

"""Cleaning pixel caches: only unused and unlocked ones are removed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from xlite.data.cache import PixelCache, open_or_build, remove_unused
from xlite.data.decode import ImagePreprocess
from xlite.data.picture_hash import PictureHashes
from xlite.data.table import Item
from xlite.storage.locks import locked


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    (tmp_path / "images").mkdir()
    files = [tmp_path / "images" / f"{number:05}.png" for number in range(12)]
    for file in files:
        file.write_text("any")
    return files


def build(root: Path, files: list[Path]) -> PixelCache:
    def grey(preprocess: ImagePreprocess, item: Item) -> tuple[np.ndarray, PictureHashes]:
        return np.full((16, 16), 128, np.uint8), PictureHashes(0, 0)

    ids = np.array([file.name for file in files])
    items = [Item((file,)) for file in files]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImagePreprocess, "read_hashed", grey)
        return open_or_build(items, ids, cache_dir=root / "cache", preprocess=ImagePreprocess(16))


def test_only_unused_unlocked_cache_folders_are_removed(files: list[Path], tmp_path: Path) -> None:
    kept, unused, busy, mixed = (build(tmp_path, files[start:]) for start in range(4))
    (mixed.path / "thesis.tex").write_text("not ours")
    outside = tmp_path / ("a" * 32)
    shutil.copytree(unused.path, outside)
    linked = tmp_path / "cache" / ("b" * 32)
    linked.symlink_to(outside)
    links_inside = tmp_path / "cache" / ("c" * 32)
    links_inside.mkdir()
    (links_inside / "pixels.npy").symlink_to(outside / "pixels.npy")
    other = tmp_path / "cache" / "photos"
    other.mkdir()
    with locked(busy.path, waiting=None):
        removed = remove_unused(tmp_path / "cache", keep={kept.key})
    assert [path for path, _ in removed] == [unused.path] and 11 * 256 <= removed[0][1] <= 11 * 256 + 5 * 4096
    assert not unused.path.exists()
    for path in (kept, busy, mixed):
        assert (path.path / "pixels.npy").exists()
    assert (outside / "pixels.npy").exists() and linked.is_symlink() and links_inside.exists() and other.exists()


def test_a_removed_cache_is_built_again(files: list[Path], tmp_path: Path) -> None:
    assert remove_unused(tmp_path / "cache", keep=set()) == []
    complete, incomplete = build(tmp_path, files), build(tmp_path, files[1:])
    (incomplete.path / "cache.json").unlink()
    removed = {path for path, _ in remove_unused(tmp_path / "cache", keep=set())}
    assert removed == {complete.path, incomplete.path} and list((tmp_path / "cache").iterdir()) == []
    assert build(tmp_path, files).pixels.shape == (12, 16, 16)

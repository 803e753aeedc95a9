"""The example sheet: a row per label, raw beside preprocessed, for every shape of input."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from xlite.data.decode import ImagePreprocess
from xlite.data.example_sheet import example_sheet, picture_of, write_sheet
from xlite.data.input_spec import InputSpec
from xlite.data.table import Item, Table
from xlite.data.unreadable import UnreadableImage

TILE, GAP, NAME = 128, 4, 22


def spec_of(pixels: np.ndarray) -> InputSpec:
    return InputSpec("slices" if pixels.ndim == 4 else "image", pixels.shape, pixels.dtype.str)


@dataclass(frozen=True)
class Given:
    """A preprocess that gives the same pixels for every item, but for names that begin with "bad"."""

    pixels: np.ndarray

    @property
    def input_spec(self) -> InputSpec:
        return spec_of(self.pixels)

    def read(self, item: Item) -> np.ndarray:
        if item.path.name.startswith("bad"):
            raise UnreadableImage(item.path, "bad")
        return self.pixels


def table_of(paths: list[Path], targets: np.ndarray, labels: tuple[str, ...]) -> Table:
    ids = np.array([f"{i}" for i in range(len(paths))])
    return Table(ids, tuple(Item((path,)) for path in paths), ids, targets.astype(np.float32), labels)


@pytest.fixture
def images(tmp_path: Path) -> Table:
    """Six images 40 x 20: three bright ones with label a, three dark ones with label b."""
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        assert cv2.imwrite(str(path), np.full((20, 40), 200 if i < 3 else 60, np.uint8))
    return table_of(paths, np.array([[i < 3, i >= 3] for i in range(6)]), ("a", "b"))


def tiles(sheet: np.ndarray, row: int, width: int, count: int) -> list[np.ndarray]:
    """The examples of one row, each (128, width, 3)."""
    top = row * (NAME + TILE + GAP) + NAME
    lefts = [GAP + i * (width + GAP) for i in range(count)]
    return [sheet[top : top + TILE, left : left + width] for left in lefts]


def test_each_label_has_a_row_of_its_examples_raw_beside_preprocessed(images: Table) -> None:
    sheet = example_sheet(images, Given(np.full((8, 8), 130, np.uint8)), per_label=3)
    width = 2 * TILE + 1
    assert sheet.dtype == np.uint8 and sheet.shape == (2 * (NAME + TILE + GAP), GAP + 3 * (width + GAP), 3)
    for row, grey in enumerate((200, 60)):
        for tile in tiles(sheet, row, width, 3):
            assert tile[TILE // 2, 10].tolist() == [grey] * 3  # raw, its aspect kept: nothing above and below
            assert tile[5, 10].tolist() == [24] * 3
            assert tile[5, TILE + 10].tolist() == [130] * 3
        assert sheet[row * (NAME + TILE + GAP) :][:NAME].max() > 200  # the name is written


def test_the_real_preprocess_and_names_of_other_letters_are_drawn(images: Table) -> None:
    named = table_of([item.path for item in images.items], images.targets, ("Lungenödem", "肺炎/1"))
    assert example_sheet(named, ImagePreprocess(image_size=16), per_label=2).shape[0] == 2 * (NAME + TILE + GAP)


def test_colour_is_red_green_blue_before_and_after(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "red.png"), np.full((16, 16, 3), (0, 0, 250), np.uint8))
    table = table_of([tmp_path / "red.png"], np.ones((1, 1)), ("red",))
    preprocess = ImagePreprocess(image_size=16, clahe_clip=0, channels=3)
    (tile,) = tiles(example_sheet(table, preprocess, per_label=1), 0, 2 * TILE + 1, 1)
    assert tile[9, 9].tolist() == tile[9, TILE + 9].tolist() == [250, 0, 0]
    write_sheet(tmp_path / "sheet.png", table, preprocess)
    written = cv2.cvtColor(cv2.imread(str(tmp_path / "sheet.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(written, example_sheet(table, preprocess))


def test_random_examples_are_shown_the_same_ones_each_time(tmp_path: Path) -> None:
    for i in range(30):
        assert cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 8), 8 * i, np.uint8))
    table = table_of([tmp_path / f"{i}.png" for i in range(30)], np.ones((30, 1)), ("a",))
    first, again = (example_sheet(table, ImagePreprocess(8, clahe_clip=0)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    shown = [int(tile[9, 9, 0]) for tile in tiles(first, 0, 2 * TILE + 1, 4)]
    assert len(set(shown)) == 4 and shown != [0, 8, 16, 24]


def test_the_middle_slice_is_shown() -> None:
    slices = np.zeros((5, 8, 8, 3), np.uint8)
    slices[2] = (10, 20, 30)
    assert picture_of(slices, spec_of(slices))[0, 0].tolist() == [10, 20, 30]
    assert picture_of(slices[..., :1], spec_of(slices[..., :1])).shape == (8, 8)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (8, 8, 1), (5, 8, 8, 3), (5, 8, 8, 1), (1, 8, 8, 2)])
def test_every_shape_of_bytes_is_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    table = table_of([tmp_path / "scan.npz"], np.ones((1, 1)), ("a",))
    (tmp_path / "scan.npz").write_bytes(b"no image")
    (tile,) = tiles(example_sheet(table, Given(np.full(shape, 77, np.uint8)), per_label=1), 0, TILE, 1)
    assert (tile == 77).all()  # the raw file is no image: only what it becomes is shown


def test_scan_lines_are_scaled_by_their_own_percentiles(tmp_path: Path) -> None:
    (tmp_path / "scan.npz").write_bytes(b"no image")
    lines = np.linspace(-3, 5, 128 * 128).reshape(128, 128).astype(np.float16)
    lines[0, :10], lines[1, :10] = 60000, np.nan
    shown = picture_of(lines, spec_of(lines))
    assert shown[:, 64].min() == 0 and shown[-1, -1] == 255 and abs(int(shown[64, 0]) - 127) < 5
    targets = np.zeros((1, 128, 2))
    targets[0, 3, 1] = 1
    table = table_of([tmp_path / "scan.npz"], targets, ("fine", "torn"))
    sheet = example_sheet(table, Given(lines), per_label=1)
    np.testing.assert_array_equal(tiles(sheet, 1, TILE, 1)[0][..., 0], shown)
    assert (tiles(sheet, 0, TILE, 1)[0] == 24).all()  # no line of the first label
    nothing = np.full((4, 4), np.nan, np.float16)
    assert not picture_of(nothing, spec_of(nothing)).any()


def test_unreadable_examples_are_skipped(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("bad1.npz", "gone.png", "good.npz", "bad2.npz")]
    paths[2].write_bytes(b"")
    table = table_of(paths, np.ones((4, 1)), ("a",))
    first, second = tiles(example_sheet(table, Given(np.full((8, 8), 77, np.uint8)), per_label=2), 0, TILE, 2)
    assert (first == 77).all() and (second == 24).all()

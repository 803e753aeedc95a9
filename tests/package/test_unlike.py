"""Inputs unlike the training images are flagged by what is unlike; training images hardly ever are."""

import json

import cv2
import numpy as np
import pytest

from xlite.data.decode import ImagePreprocess, decode
from xlite.data.phantom.chest_dataset import write_phantom
from xlite.data.scan_lines import ScanLinePreprocess
from xlite.package.unlike import CONSTANT, GREY, SIZE, TrainingInputs, raw_side

SIZE_PX = ImagePreprocess(32)


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    """Paths of 60 phantom radiographs of 64 px, and what is known of them."""
    folder = tmp_path_factory.mktemp("chest")
    write_phantom(folder / "d", num_images=60, image_px=64)
    paths = sorted(folder.rglob("*.png"))
    pixels = np.stack([decode(path, SIZE_PX) for path in paths])
    known = TrainingInputs.measured(pixels, [raw_side(path) for path in paths])
    again = TrainingInputs.from_json(json.loads(json.dumps(known.to_json())))
    assert again == known and known.sides == (64.0, 64.0)
    return paths, known


def test_training_images_are_not_flagged(chest) -> None:
    paths, known = chest
    assert not [path for path in paths if known.flags(decode(path, SIZE_PX), raw_side(path))]


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        (lambda image: image, ()),
        (lambda image: cv2.resize(image, (24, 24)), (SIZE,)),
        (lambda image: np.full_like(image, 7), (CONSTANT,)),
        (lambda image: np.zeros((1, 1), np.uint8), (SIZE, CONSTANT)),
        (lambda image: np.where(np.arange(64) % 16 < 8, 0, 255) + 0 * image, (GREY,)),
        (lambda image: cv2.resize(image, (200, 200)), (SIZE,)),
    ],
)
def test_what_is_unlike_is_named(change, flags, chest, tmp_path) -> None:
    paths, known = chest
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), change(cv2.imread(str(paths[0]), cv2.IMREAD_GRAYSCALE)).astype(np.uint8))
    assert known.flags(decode(picture, SIZE_PX), raw_side(picture)) == flags


def test_each_colour_counts() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (50, 8, 8, 3)) // np.array([1, 2, 4])
    known = TrainingInputs.measured(pixels, channels=3)
    assert len(known.means) == 3 and known.sides is None
    assert known.flags(pixels[0]) == () and known.flags(pixels[0][..., ::-1]) == (GREY,)


def test_heights_of_scans_count_too_and_without_knowledge_nothing_is_flagged() -> None:
    rng = np.random.default_rng(0)
    shape = ScanLinePreprocess(points=16, window_lines=8).input_spec.shape
    windows = rng.normal(size=(50, *shape)).astype("<f2")
    known = TrainingInputs.measured(windows)
    assert known.flags(windows[3]) == () and known.flags(windows[3] * 30) == (GREY,)
    assert known.flags(np.zeros(shape, "<f2")) == (CONSTANT,)
    assert TrainingInputs.from_json({}) is None


def test_the_side_of_what_is_no_picture_is_not_known(tmp_path) -> None:
    (tmp_path / "a.png").write_text("a,b")
    (tmp_path / "a.dcm").write_bytes(b"\0" * 200)
    assert raw_side(tmp_path / "a.png") is raw_side(tmp_path / "a.dcm") is raw_side(tmp_path / "gone.png") is None

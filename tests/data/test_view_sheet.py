"""The sheet of views: the very pixels that students see, in the places that are named."""

import numpy as np
import pytest

from xlite.data.batches import ViewReader
from xlite.data.example_sheet import picture_of, tile_of
from xlite.data.input_spec import InputSpec
from xlite.data.view_sheet import view_sheet

TILE, GAP, NAME = 128, 4, 22


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec("image", (32, 32)),
        InputSpec("slices", (3, 32, 32, 3)),
        InputSpec("lines", (16, 32), "<f2", ("num_lines",)),
    ],
    ids=lambda spec: spec.layout,
)
def test_each_tile_is_the_view_that_a_student_sees(spec: InputSpec) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (9, *spec.shape)).astype(spec.dtype)

    def augment(pixels, rows, views, *, preset, seed):
        return pixels // (2 + views.reshape(-1, *[1] * (pixels.ndim - 1)).astype(pixels.dtype))

    reader = ViewReader(pixels, np.array([4, 2, 7]), "medium", 0, augment)
    sheet = view_sheet(reader, spec, num_examples=6, num_views=2)
    assert sheet.shape == (3 * (NAME + TILE + GAP), GAP + 6 * (TILE + GAP), 3) and sheet.dtype == np.uint8
    first, second = (reader.read(np.arange(3), np.full(3, number)) for number in range(2))
    for line, shown in enumerate((pixels[[4, 2, 7]], first, second)):
        for column, one in enumerate(shown):
            top, left = line * (NAME + TILE + GAP) + NAME, GAP + column * (TILE + GAP)
            wanted = tile_of(picture_of(one, spec), keep_aspect=True)
            assert (sheet[top : top + TILE, left : left + TILE] == wanted).all()
    assert len(np.unique(sheet[NAME:, GAP + 3 * (TILE + GAP) :][:TILE])) == 1  # no fourth example

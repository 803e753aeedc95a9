"""A picture of what students see: training examples as they are cached, and below each its augmented views."""

import numpy as np

from xlite.data.batches import ViewReader
from xlite.data.example_sheet import TILE_PX, named_row, picture_of, tile_of
from xlite.data.input_spec import InputSpec


def view_sheet(views: ViewReader, spec: InputSpec, *, num_examples: int = 6, num_views: int = 4) -> np.ndarray:
    """Draw the first training examples, at most `num_examples`, and their first `num_views` views.

    Of a stack of slices the middle one is shown, see `example_sheet.picture_of`.

    Returns:
        (H, W, 3) uint8, red, green, blue.
    """
    positions = np.arange(min(num_examples, len(views.rows)))
    rows = {"as cached": views.pixels[views.rows[positions]]}
    for number in range(num_views):
        rows[f"view {number}"] = views.read(positions, np.full(len(positions), number))
    tiles = {name: [tile_of(picture_of(one, spec), keep_aspect=True) for one in some] for name, some in rows.items()}
    return np.concatenate([named_row(name, some, TILE_PX, num_examples) for name, some in tiles.items()])

"""A trial sees no view of an image more than twice: the bank has half as many as the trial has epochs."""

from collections import Counter

import numpy as np
import pytest

from xlite.data.batches import draws
from xlite.study.teacher import num_views


@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 15])
def test_every_image_is_seen_once_an_epoch_and_in_no_view_more_than_twice(epochs: int) -> None:
    views = num_views(epochs)
    assert views == (epochs + 1) // 2
    seen: Counter[tuple[int, int]] = Counter()
    for epoch in range(epochs):
        for draw in draws(24, epoch=epoch, batch_size=8, num_views=views, seed=1):
            seen.update(zip(np.asarray(draw.positions).tolist(), np.asarray(draw.views).tolist(), strict=True))
    assert sum(seen.values()) == 24 * epochs and max(seen.values()) <= 2

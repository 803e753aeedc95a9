"""Any number of sources: in order, in several threads, read only a few batches ahead."""

import cv2
import numpy as np
from small_package import write_package

from xlite.package.find import Found
from xlite.package.predict import open_package
from xlite.package.stream import PassedOver, batch_size, predictions


def test_outcomes_are_in_order_and_sources_are_taken_a_few_batches_ahead(tmp_path) -> None:
    write_package(tmp_path / "p")
    predictor = open_package(tmp_path / "p", threads=1)
    for number, px in enumerate((900, 4, 300)):  # not equally fast
        grey = np.random.default_rng(number).integers(0, 255, (px, px), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), grey)
    wanted = [list(predictor.predict(tmp_path / f"{k}.png").values()) for k in range(3)]
    taken = told = furthest = 0

    def sources():
        nonlocal taken
        for number in range(400):
            taken += 1
            name = "gone.png" if number % 50 == 7 else f"{number // 16 % 3}.png"
            yield Found(str(number), tmp_path / name)

    for outcome in predictions(predictor, sources(), threads=2):
        assert outcome.id == str(told)
        if isinstance(outcome, PassedOver):
            assert told % 50 == 7 and outcome.reason == "cannot be read (No such file or directory)"
        else:
            np.testing.assert_allclose(outcome.probabilities, wanted[told // 16 % 3], atol=1e-6)
        furthest, told = max(furthest, taken - told), told + 1
    assert told == 400 and furthest <= 6 * batch_size(predictor)

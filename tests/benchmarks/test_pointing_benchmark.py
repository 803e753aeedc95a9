"""The pointing benchmark knows where the phantom draws each finding."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from xlite.data.phantom.chest import draw_chest
from xlite.data.phantom.chest_records import FINDINGS, Picture


@pytest.fixture
def pointing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    import pointing

    return pointing


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_findings_place_is_what_it_changes_and_most_of_the_picture_is_not(pointing, finding):
    picture = Picture(3, 0, {finding: 0.8, **({"Mass": 0.6} if finding != "Mass" else {})})
    place = pointing.drawn_place(picture, finding, seed=0, image_px=128)
    assert 0 < place.mean() < 0.35
    without = replace(picture, severities={k: v for k, v in picture.severities.items() if k != finding})
    change = np.abs(draw_chest(picture, seed=0, image_px=128).astype(int) - draw_chest(without, seed=0, image_px=128))
    assert change[place].min() > change[~place].max() and change.max() > 10


def test_a_small_finding_has_a_small_place_and_one_that_is_not_drawn_none(pointing):
    mass = pointing.drawn_place(Picture(5, 0, {"Mass": 0.5, "Effusion": 0.9}), "Mass", seed=0, image_px=128)
    rows, columns = np.nonzero(mass)
    assert np.ptp(rows) < 32 and np.ptp(columns) < 32
    assert not pointing.drawn_place(Picture(5, 0, {"Mass": 0.5}), "Effusion", seed=0, image_px=128).any()

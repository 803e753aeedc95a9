"""Pictures in a run of TensorBoard."""

import numpy as np
from event_files import pictures

from xlite.data.example_sheet import png_of
from xlite.train.hparams import PICTURES, begin_run, curve_files
from xlite.train.pictures import write_pictures


def test_pictures_are_read_as_they_were_written_and_replaced_whole(tmp_path) -> None:
    wide, high = (png_of(np.full(shape, 90, np.uint8)) for shape in ((20, 50, 3), (50, 20, 3)))
    write_pictures(tmp_path / "run", {"views/a": wide, "explained/<b>": high}, "about", step=3)
    begin_run(tmp_path / "run", {"optim.lr": 0.1})
    assert pictures(tmp_path / "run") == {"views/a": (3, 50, 20, wide), "explained/<b>": (3, 20, 50, high)}
    write_pictures(tmp_path / "run", {"views/a": high}, "about")
    assert pictures(tmp_path / "run") == {"views/a": (0, 20, 50, high)}
    assert (tmp_path / "run" / PICTURES).exists() and not curve_files(tmp_path / "run")

"""What is left out is counted among what it was, known before anything is decoded, and told to the person."""

import json
from dataclasses import replace

import numpy as np
import pytest

from xlite.config import RunConfig
from xlite.console import SilentConsole
from xlite.data.cache import open_or_build
from xlite.data.decode import ImagePreprocess
from xlite.data.picture_hash import PictureHashes
from xlite.data.table import Item
from xlite.errors import InputError
from xlite.tasks import TASKS
from xlite.tasks.prepare import DataRequest, check_excluded, prepare

TASK = TASKS["chestxray14"]


def request_of(folder, tmp_path, **changes):
    data = RunConfig().override({"data.image_size": 32}, source="test").data
    return DataRequest(folder, data, None, 0, "1.0", tmp_path / "cache", **changes)


def reading_of(folder):
    return TASK.read(folder, allow_missing=False, data=RunConfig().data, column_overrides={})


def test_scans_are_counted_among_scans_and_not_among_their_windows(tiny_nih, tmp_path):
    lost = replace(reading_of(tiny_nih), excluded={"scan7": "aborted"})
    check_excluded(lost, {}, request_of(tiny_nih, tmp_path))  # 1 of 121 examples
    with pytest.raises(InputError, match=r"1 unusable of 10 examples.*scan7: aborted.*--allow-missing"):
        check_excluded(replace(lost, num_units=10), {}, request_of(tiny_nih, tmp_path))
    check_excluded(replace(lost, num_units=10), {}, request_of(tiny_nih, tmp_path, allow_missing=True))


def test_too_many_left_out_by_the_reader_is_said_before_anything_is_decoded(tiny_nih, tmp_path):
    lost = replace(reading_of(tiny_nih), excluded={f"e{i}": "no point" for i in range(9)})
    task = replace(TASK, read=lambda folder, **options: lost)
    with pytest.raises(InputError, match="9 unusable of 129"):
        prepare(task, request_of(tiny_nih, tmp_path), SilentConsole())
    assert not (tmp_path / "cache").exists()


def test_models_and_studies_know_how_pixels_were_made_and_on_what_they_were_measured(tiny_nih, tmp_path):
    full = prepare(TASK, request_of(tiny_nih, tmp_path), SilentConsole()).full
    assert full.preprocess["kind"] == "ImagePreprocess" and full.preprocess["clahe_clip"] == 2.0
    json.dumps(dict(full.preprocess))
    corrected = full.targets.copy()
    corrected[full.parts["test"][0]] = 1 - corrected[full.parts["test"][0]]
    other = replace(full, targets=corrected)
    assert other.train_hash() == full.train_hash() and other.content_hash() != full.content_hash()
    assert replace(full, labels=("x", *full.labels[1:])).train_hash() != full.train_hash()


def test_other_slices_of_the_same_size_and_time_are_another_cache(tmp_path):
    import os

    files = [tmp_path / f"{number}.bin" for number in range(3)]
    for file in files:
        file.write_bytes(b"same")
        os.utime(file, (0, 0))

    def cache_of(*chosen):
        return open_or_build(
            [Item(chosen)], np.array(["stack"]), cache_dir=tmp_path / "cache", preprocess=ImagePreprocess(16),
            read=lambda item, preprocess: (np.zeros((16, 16), np.uint8), PictureHashes(0, 0)),
        ).key  # fmt: skip

    assert cache_of(files[0], files[1]) != cache_of(files[0], files[2])
    assert cache_of(files[0], files[1]) == cache_of(files[0], files[1])

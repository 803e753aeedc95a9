"""A GPU that is too small for every student, or without bf16: one line before anything is trained."""

import re

import pytest
import torch
from conftest import write_nih_folder

from xlite.commands import tune_kd
from xlite.commands.cli import run as run_command
from xlite.gpu.memory import DeviceMemory
from xlite.gpu.probe import Footprint
from xlite.study.footprints import obtain_footprints

GIB = 2**30
SPACE = """
CONFIGURATIONS = [
    {"model.backbone": "lcnet_050", "distill.alpha": 0.0, "train.precision": wanted} for wanted in ("fp32", "bf16")
]
"""


@pytest.fixture
def tune(tmp_path, capsys):
    """`xlite tune` in a folder of its own: its line of error; nothing is written to its results."""
    write_nih_folder(tmp_path / "nih", 60)
    (tmp_path / "space.py").write_text(SPACE)

    def run(*more: str) -> str:
        words = f"--data {tmp_path}/nih --results {tmp_path}/r --cache-dir {tmp_path}/c --space {tmp_path}/space.py"
        with pytest.raises(SystemExit) as left:
            run_command(tune_kd.run, tune_kd.parser(), [*words.split(), "--image-size", "16", *more])
        error = capsys.readouterr().err
        assert left.value.code == 2 and error.count("\n") == 1, error
        assert not list((tmp_path / "r").rglob("*")) and not (tmp_path / "c" / "teachers").exists()
        return error

    return run


def test_a_card_too_small_for_the_smallest_student_is_refused(tune, monkeypatch):
    def probed(configs, study, shapes, device, console):
        assert obtain_footprints(configs, study, shapes, device, console) == {}  # on a CPU nothing is probed
        return {"small": Footprint(3 * GIB, GIB // 2, 0.1), "large": Footprint(2 * GIB, GIB // 2, 0.1, fits=False)}

    monkeypatch.setattr("xlite.study.plan.obtain_footprints", probed)
    monkeypatch.setattr("xlite.study.footprints.device_memory", lambda: DeviceMemory(3 * GIB, 2 * GIB))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    error = tune()
    assert re.search(r"a trial needs [34]\.\d GiB of GPU memory and this GPU has 2\.0 GiB free; lower optim", error)


def test_bf16_that_the_space_asks_for_is_refused_where_the_gpu_has_none(tune, monkeypatch):
    monkeypatch.setattr("xlite.device.device_kind", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert tune() == ("error: train.precision=bf16: this GPU does not support bf16; use train.precision=fp32\n")
    assert "this GPU does not support bf16" in tune("--set", "train.precision=bf16")

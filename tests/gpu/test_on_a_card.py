"""The check's steps on whether numbers are right, on a real card: `python -m pytest -m gpu`."""

import json
from pathlib import Path

import pytest
import torch
from conftest import run_runner

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU here")]
STEPS = ("one-step", "recorded", "failures", "resumed", "bank", "probe", "precision", "mps")


def test_the_gpu_trains_what_the_cpu_does_and_survives_what_goes_wrong(tmp_path: Path) -> None:
    done = run_runner("check_gpu", "--steps", *STEPS, "--out", tmp_path / "r.json", timeout_s=900)
    print(done.stdout, done.stderr)
    steps = json.loads((tmp_path / "r.json").read_text())["steps"]
    assert {name: step["summary"] for name, step in steps.items() if step["result"] == "failed"} == {}
    assert done.returncode == 0

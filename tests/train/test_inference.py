"""Evaluation: in batches of nearly equal size that take no more memory than training does."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from xlite.config import ModelConfig
from xlite.data.input_spec import InputSpec
from xlite.device import Device, choose_device
from xlite.models.build import build_model
from xlite.train import inference
from xlite.train.inference import evaluation_batches, predict_logits

CPU, GPU = choose_device("fp32", kind="cpu"), Device(torch.device("cuda"), None)

PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import choose_device
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train import loop
from xlite.train.run import TrainingRun
rng, numbers, parts = np.random.default_rng(0), np.arange(288), {"train": np.arange(32), "val": np.arange(32, 288)}
np.save("pixels.npy", rng.integers(0, 255, (288, 160, 160), dtype=np.uint8))
names, targets = numbers.astype(str), (rng.random((288, 2)) < 0.5).astype(np.float32)
spec = InputSpec("image", (160, 160))
data = Dataset(Path("pixels.npy"), "noise", numbers, names, names, targets, ("a", "b"), parts, "split", spec)
values = {"model.backbone": "mobilenetv3_small_050", "data.image_size": 160, "train.epochs": 1, "train.threads": 1}
config = RunConfig().override({**values, "optim.batch_size": 32}, source="test")
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
def predict(*args, **kwargs):
    peaks.append(peak())
    return predict_logits(*args, **kwargs)
peaks, predict_logits, loop.predict_logits = [peak()], loop.predict_logits, predict
list(loop.fit(TrainingRun(config, CHESTXRAY14, data, choose_device("fp32", kind="cpu"))))
print(json.dumps([*peaks, peak()]))
"""


def sizes(num_examples: int, spec: InputSpec, device: Device = CPU) -> list[int]:
    """How many examples are in each batch; together they are all of them, in order."""
    chosen = evaluation_batches(num_examples, spec, device)
    assert [number for some in chosen for number in range(num_examples)[some]] == list(range(num_examples))
    return [some.stop - some.start for some in chosen]


def test_a_batch_has_at_most_256_images_and_half_a_million_pixels():
    assert sizes(512, InputSpec("image", (32, 32))) == [256, 256]
    assert sizes(128, InputSpec("image", (64, 64))) == [128]
    assert sizes(60, InputSpec("image", (160, 160))) == [20, 20, 20]
    assert sizes(20, InputSpec("image", (160, 160, 3))) == [20]  # channels do not count
    assert sizes(3, InputSpec("image", (2048, 2048))) == [1, 1, 1]
    assert sizes(32, InputSpec("slices", (8, 64, 64, 1))) == [16, 16]
    assert sizes(512, InputSpec("lines", (16, 128))) == [256, 256]
    assert sizes(0, InputSpec("image", (64, 64))) == []


def test_on_a_gpu_pixels_do_not_count():
    assert sizes(512, InputSpec("image", (224, 224)), GPU) == [256, 256]
    assert sizes(64, InputSpec("slices", (8, 64, 64, 1)), GPU) == [32, 32]


def test_no_batch_is_much_smaller_than_the_others():
    assert sizes(257, InputSpec("image", (32, 32))) == [128, 129]
    assert sizes(21, InputSpec("image", (160, 160))) == [10, 11]


def test_logits_do_not_depend_on_the_batches(tiny_dataset, monkeypatch):
    model = build_model(ModelConfig(backbone="mobilenetv3_small_050", pretrained=False), num_labels=3, seed=0)
    positions = np.random.default_rng(0).permutation(100)
    whole = predict_logits(model, tiny_dataset, positions, device=CPU)
    monkeypatch.setattr(inference, "MAX_PIXELS", 20 * 32 * 32)
    assert np.allclose(predict_logits(model, tiny_dataset, positions, device=CPU), whole, rtol=0, atol=1e-6)
    assert model.training


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_evaluation_takes_no_more_memory_than_the_steps_before_it(tmp_path: Path):
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    start, after_steps, after_evaluation = json.loads(output)
    assert after_steps - start > 50
    assert after_evaluation - after_steps < 0.2 * (after_steps - start)

"""Evaluation: in batches of nearly equal size that take no more memory than training does, made ahead for a GPU."""

import json
import subprocess
import sys
import threading
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from xlite.config import ModelConfig
from xlite.data.input_spec import InputSpec
from xlite.device import Device, choose_device
from xlite.models.build import build_model
from xlite.train import inference
from xlite.train.batch_loader import PREFETCH, made_ahead
from xlite.train.inference import evaluation_batch_size, evaluation_batches, predict_logits

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


def test_on_a_gpu_a_batch_has_at_most_four_million_pixels_and_four_times_the_training_s():
    at_224, slices = InputSpec("image", (224, 224)), InputSpec("slices", (7, 256, 256, 1))
    assert sizes(166, at_224, GPU) == [83, 83]
    assert [evaluation_batch_size(at_224, GPU, trained_at) for trained_at in (1, 16, 32)] == [4, 64, 83]
    assert [evaluation_batch_size(slices, GPU, trained_at) for trained_at in (None, 2)] == [9, 8]
    assert evaluation_batch_size(InputSpec("image", (32, 32)), GPU, 1000) == 256
    assert evaluation_batch_size(InputSpec("image", (4096, 4096)), GPU, 16) == 1


def test_on_a_cpu_the_training_s_batch_has_no_effect():
    assert evaluation_batch_size(InputSpec("image", (64, 64)), CPU, 1) == 128


def test_no_batch_is_much_smaller_than_the_others():
    assert sizes(257, InputSpec("image", (32, 32))) == [128, 129]
    assert sizes(21, InputSpec("image", (160, 160))) == [10, 11]


def test_logits_do_not_depend_on_the_batches(tiny_dataset, monkeypatch):
    model = build_model(ModelConfig(backbone="mobilenetv3_small_050", pretrained=False), num_labels=3, seed=0)
    positions = np.random.default_rng(0).permutation(100)
    whole = predict_logits(model, tiny_dataset, positions, device=CPU)
    monkeypatch.setitem(inference.MAX_PIXELS, "cpu", 20 * 32 * 32)
    assert np.allclose(predict_logits(model, tiny_dataset, positions, device=CPU), whole, rtol=0, atol=1e-6)
    assert model.training


class GpuOnCpu(Device):
    """Stands in for a GPU: what is done for one alone is done, on the CPU."""

    on_gpu = True

    def put(self, array):
        assert threading.current_thread() is not threading.main_thread()  # which has the GPU's work to queue
        return torch.from_numpy(array)


def test_what_a_gpu_evaluates_is_made_by_a_thread_and_is_the_same(tiny_dataset, monkeypatch):
    for name in ("current_stream", "stream"):
        monkeypatch.setattr(torch.cuda, name, nullcontext)
    model = build_model(ModelConfig(backbone="mobilenetv3_small_050", pretrained=False), num_labels=3, seed=0)
    monkeypatch.setitem(inference.MAX_PIXELS, "cpu", 20 * 32 * 32)
    expected = predict_logits(model, tiny_dataset, np.arange(100), device=CPU)
    told = predict_logits(model, tiny_dataset, np.arange(100), device=GpuOnCpu(CPU.torch_device, None), trained_at=5)
    np.testing.assert_array_equal(told, expected)


def test_the_next_two_are_made_while_one_is_used_in_order_and_no_more_after_an_end():
    begun = []

    def make(number: int) -> int:
        begun.append(number)
        return number

    with closing(made_ahead(make, range(50))) as made:
        assert [next(made), next(made)] == [0, 1]
    assert begun == list(range(len(begun))) and len(begun) <= 2 + PREFETCH
    with pytest.raises(ZeroDivisionError):
        list(made_ahead(lambda number: 1 // (3 - number), range(9)))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_evaluation_takes_no_more_memory_than_the_steps_before_it(tmp_path: Path):
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    start, after_steps, after_evaluation = json.loads(output)
    assert after_steps - start > 50
    assert after_evaluation - after_steps < 0.2 * (after_steps - start)

"""Logits of a model over examples, without augmentation."""

import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn

from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device
from xlite.models.build import call

MAX_IMAGES = 256
"""Images or slices in a batch."""
MAX_PIXELS = 2**19
"""Pixels in a batch on a CPU, e.g. 20 images of 160 px: 256 of them are no faster and take 2 to 3 GB more than a
training step on 32, which the process then keeps (benchmarks/trial_memory.py)."""


@torch.inference_mode()
def predict_logits(model: nn.Module, dataset: Dataset, positions: np.ndarray, *, device: Device) -> np.ndarray:
    """(N, ..., L) float32 logits of the examples at `positions`, in order; the model is left in the mode it was in."""
    pixels, spec = dataset.open_pixels(), dataset.input_spec
    was_training = model.training
    model.eval()
    parts = []
    for some in evaluation_batches(len(positions), spec, device):
        chosen = positions[some]
        batch = device.inputs(spec, pixels[dataset.rows[chosen]], dataset.auxiliary_of(chosen))
        parts.append(batch_logits(model, batch, device=device))
    model.train(was_training)
    return np.concatenate(parts)


def evaluation_batches(num_examples: int, spec: InputSpec, device: Device) -> list[slice]:
    """The examples in order, in batches of nearly equal size: PyTorch may round differently in a small last one."""
    size = MAX_IMAGES // spec.num_slices
    if not device.on_gpu:
        size = min(size, MAX_PIXELS // (math.prod(spec.shape) // spec.channels))
    num_batches = math.ceil(num_examples / max(1, size))
    edges = np.linspace(0, num_examples, num_batches + 1).round().astype(int).tolist()
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def batch_logits(model: nn.Module, batch: tuple[Tensor, Tensor | None], *, device: Device) -> np.ndarray:
    """(B, ..., L) float32 logits of one batch from `Device.inputs`."""
    with device.autocast():
        return call(model, *batch).float().cpu().numpy()

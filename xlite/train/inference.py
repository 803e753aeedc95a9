"""Logits of a model over examples, without augmentation."""

import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn

from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device, no_tf32
from xlite.models.build import call
from xlite.train.batch_loader import made_ahead

MAX_IMAGES = 256
"""Images or slices in a batch."""
MAX_PIXELS = {"cpu": 2**19, "cuda": 2**22}
"""Pixels in a batch, by kind of device, e.g. 20 images of 160 px on a CPU: 256 of them are no faster and take 2 to 3 GB
more than a training step on 32, which the process then keeps (benchmarks/trial_memory.py). On a GPU 83 of 224 px."""
TIMES_TRAINED = 4
"""Examples in a batch on a GPU, in micro-batches of the training beside it: with so many a pass without gradients takes
less memory than a training step, which keeps every layer's output (4.4 times as much an image in ResNet-18, 6 to 19
times in the students of the shipped spaces, counted on a CPU; not measured on a GPU). A batch of the training's own
size would leave a fast card waiting for launches."""


@torch.inference_mode()
def predict_logits(
    model: nn.Module, dataset: Dataset, positions: np.ndarray, *, device: Device, trained_at: int | None = None
) -> np.ndarray:
    """(N, ..., L) float32 logits of the examples at `positions`, in order; the model is left in the mode it was in.

    On a GPU a thread makes the next batches meanwhile, and logits stay there to the end.

    Args:
        trained_at: examples in a micro-batch of the training in this process, if there is one.
    """
    pixels, spec = dataset.open_pixels(), dataset.input_spec
    # The stream that computes copies too: what a batch takes is then free for the next one, with no event to wait for.
    stream = torch.cuda.current_stream(device.torch_device) if device.on_gpu else None

    def inputs(some: slice) -> tuple[Tensor, Tensor | None]:
        chosen = positions[some]
        with torch.cuda.stream(stream):  # nothing without a stream
            return device.inputs(spec, pixels[dataset.rows[chosen]], dataset.auxiliary_of(chosen))

    batches = evaluation_batches(len(positions), spec, device, trained_at)
    was_training = model.training
    model.eval()
    made = made_ahead(inputs, batches) if device.on_gpu else map(inputs, batches)
    parts = [batch_logits(model, batch, device=device) for batch in made]
    model.train(was_training)
    return torch.cat(parts).cpu().numpy()


def evaluation_batches(
    num_examples: int, spec: InputSpec, device: Device, trained_at: int | None = None
) -> list[slice]:
    """The examples in order, in batches of nearly equal size: PyTorch may round differently in a small last one."""
    num_batches = math.ceil(num_examples / evaluation_batch_size(spec, device, trained_at))
    edges = np.linspace(0, num_examples, num_batches + 1).round().astype(int).tolist()
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def evaluation_batch_size(spec: InputSpec, device: Device, trained_at: int | None = None) -> int:
    """The most examples in a batch; `trained_at` as in `predict_logits`, it has no effect on a CPU."""
    pixels = math.prod(spec.shape) // spec.channels
    size = min(MAX_IMAGES // spec.num_slices, MAX_PIXELS[device.torch_device.type] // pixels)
    if device.on_gpu and trained_at is not None:
        size = min(size, TIMES_TRAINED * trained_at)
    return max(1, size)


def batch_logits(model: nn.Module, batch: tuple[Tensor, Tensor | None], *, device: Device) -> Tensor:
    """(B, ..., L) float32 logits of one batch from `Device.inputs`, on the device.

    A device of float32 computes in nothing less, on a GPU as on a CPU.
    """
    exact = device.on_gpu and device.autocast_dtype is None
    with no_tf32() if exact else device.autocast():
        return call(model, *batch)

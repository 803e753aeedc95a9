"""Logits of a model over examples, without augmentation."""

import numpy as np
import torch
from torch import Tensor, nn

from xlite.data.dataset import Dataset
from xlite.device import Device
from xlite.models.build import call


@torch.inference_mode()
def predict_logits(
    model: nn.Module, dataset: Dataset, positions: np.ndarray, *, device: Device, batch_size: int = 256
) -> np.ndarray:
    """(N, ..., L) float32 logits of the examples at `positions`, in order; the model is left in the mode it was in."""
    pixels, spec = dataset.open_pixels(), dataset.input_spec
    batch_size = max(1, batch_size // spec.num_slices)
    was_training = model.training
    model.eval()
    parts = []
    for start in range(0, len(positions), batch_size):
        chosen = positions[start : start + batch_size]
        batch = device.inputs(spec, pixels[dataset.rows[chosen]], dataset.auxiliary_of(chosen))
        parts.append(batch_logits(model, batch, device=device))
    model.train(was_training)
    return np.concatenate(parts)


def batch_logits(model: nn.Module, batch: tuple[Tensor, Tensor | None], *, device: Device) -> np.ndarray:
    """(B, ..., L) float32 logits of one batch from `Device.inputs`."""
    with device.autocast():
        return call(model, *batch).float().cpu().numpy()

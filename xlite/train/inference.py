"""Logits of a model over examples, without augmentation."""

import numpy as np
import torch
from torch import nn

from xlite.data.dataset import Dataset
from xlite.device import Device
from xlite.models.build import call


@torch.inference_mode()
def predict_logits(
    model: nn.Module, dataset: Dataset, positions: np.ndarray, *, device: Device, batch_size: int = 256
) -> np.ndarray:
    """(N, ..., L) float32 logits of the examples at `positions`, in order; the model is left in the mode it was in."""
    pixels = dataset.open_pixels()
    if pixels.ndim == 5:
        batch_size = max(1, batch_size // pixels.shape[1])  # of stacks: the backbone sees each of their slices
    was_training = model.training
    model.eval()
    parts = []
    for start in range(0, len(positions), batch_size):
        chosen = positions[start : start + batch_size]
        images, auxiliary = device.example(pixels[dataset.rows[chosen]], dataset.auxiliary_of(chosen))
        with device.autocast():
            parts.append(call(model, images, auxiliary).float().cpu().numpy())
    model.train(was_training)
    return np.concatenate(parts)

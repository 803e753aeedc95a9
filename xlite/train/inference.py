"""Logits of a model over rows of the pixel file, without augmentation."""

import numpy as np
import torch
from torch import nn

from xlite.device import Device


@torch.inference_mode()
def predict_logits(
    model: nn.Module, pixels: np.ndarray, rows: np.ndarray, *, device: Device, batch_size: int = 256
) -> np.ndarray:
    """(N, L) float32 logits in the order of `rows`; the model is left in the mode it was in.

    Args:
        pixels: (M, S, S) or (M, S, S, C) uint8.
        rows: (N,) integer positions in `pixels`.
    """
    was_training = model.training
    model.eval()
    parts = []
    for start in range(0, len(rows), batch_size):
        images = device.images(pixels[rows[start : start + batch_size]])
        with device.autocast():
            parts.append(model(images).float().cpu().numpy())
    model.train(was_training)
    return np.concatenate(parts)

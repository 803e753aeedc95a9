"""Views at a teacher's own input size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from xlite.data.input_spec import InputSpec


def resize(images: Tensor, size: int, spec: InputSpec) -> Tensor:
    """A uint8 batch from `Device.inputs` to side `size`; unchanged where it fits, as scan lines always do."""
    if spec.image_size == size:
        return images
    if spec.layout == "slices":
        planes = _scaled(images.permute(0, 1, 4, 2, 3).flatten(0, 1), size)
        return planes.unflatten(0, images.shape[:2]).permute(0, 1, 3, 4, 2)
    return _scaled(images, size) if spec.has_channel_axis else _scaled(images.unsqueeze(1), size).squeeze(1)


def _scaled(planes: Tensor, size: int) -> Tensor:
    """(B, C, S, S) to (B, C, size, size) uint8: bilinear with antialiasing."""
    scaled = F.interpolate(planes.float(), size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)

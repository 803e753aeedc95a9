"""Maps of one logit by its gradient: HiResCAM at the last feature map, gradient times input along scan lines.

Grad-CAM averages a layer's gradient over the picture. Without attention after the layer the gradient is the same
everywhere and HiResCAM, which does not average, gives the same map; with attention an average loses the place
(benchmarks/pointing.py). Not through torchcam: it has no HiResCAM, it sums with `nansum`, so that a map of NaN looks
like one of zeros, and it cuts negative evidence off before the members of an ensemble can be averaged.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlite.data.preprocess import ModelInput
from xlite.models.backbones import Backbone
from xlite.models.lines import ScanLineEncoder
from xlite.models.slices import SliceStudent
from xlite.package.sources import batch_arrays
from xlite.predictor import Predictor
from xlite.train.inference import batch_logits

Chosen = Callable[[Tensor], Tensor]
"""From logits (1, ..., L) to the scalar that is explained."""
LEAST_CELLS = 6
"""Rows and columns of a feature map that is worth drawing: the backbone's output from 192 px on."""


def class_activations(predictor: Predictor, one: ModelInput, labels: Sequence[int]) -> np.ndarray:
    """HiResCAM (Draelos and Carin, arXiv 2011.08891) of the labels' logits, the mean over an ensemble's members.

    Of the last feature map with LEAST_CELLS rows: the backbone's output, or of a small image that of an earlier stage.

    Returns:
        (labels, h, w), or (labels, T, h, w) of slices, float32, signed: to first order what each cell adds to the
        logit; NaN where the model computes NaN.
    """
    wanted = [_logit(label) for label in labels]
    maps = []
    for model in predictor.models:
        features, gradients = _gradients(model, predictor, one, wanted)
        maps.append(torch.stack([(features * gradient).sum(dim=1) for gradient in gradients]))
    found = torch.stack(maps).mean(dim=0).cpu().numpy()
    return found if predictor.preprocess.input_spec.layout == "slices" else found[:, 0]


def line_saliency(predictor: Predictor, one: ModelInput, label: int, lines: Sequence[int]) -> np.ndarray:
    """Gradient times input of the summed logits of some lines of a window, the mean over an ensemble's members.

    The input is that of the first linear layer, after each line was standardised. With respect to the raw line it would
    sum to 0, since the model does not depend on a line's scale and offset.

    Returns:
        (H, P) float32, signed, the channels summed: how much each point speaks for the label in these lines.
    """
    index = torch.tensor(list(lines))
    maps = []
    for model in predictor.models:
        assert isinstance(model, ScanLineEncoder)
        values, (gradient,) = _gradients(model, predictor, one, [lambda logits: logits[0, index, label].sum()])
        maps.append((values * gradient)[0].unflatten(1, (model.in_channels, model.points)).sum(dim=1))
    return torch.stack(maps).mean(dim=0).cpu().numpy()


def enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    """(..., h, w) -> (..., size, size) float32, bilinear."""
    flat = torch.from_numpy(maps.astype(np.float32)).reshape(-1, 1, *maps.shape[-2:])
    large = F.interpolate(flat, size=(size, size), mode="bilinear", align_corners=False)
    return large.reshape(*maps.shape[:-2], size, size).numpy()


def slice_weights(model: nn.Module) -> np.ndarray:
    """(T,) the share of each slice in a stack's features, which the model has learned once for all stacks."""
    assert isinstance(model, SliceStudent)
    return model.aggregator.weights.detach().cpu().numpy()


def _logit(label: int) -> Chosen:
    return lambda logits: logits[0, label]


def _gradients(
    model: nn.Module, predictor: Predictor, one: ModelInput, wanted: Sequence[Chosen]
) -> tuple[Tensor, list[Tensor]]:
    """(B, C, ...) of the layer that maps are of, and the gradient of each wanted logit with respect to it."""
    spec = predictor.preprocess.input_spec
    batch = predictor.device.inputs(spec, *batch_arrays(spec, [one]))
    with torch.enable_grad(), _recorded(model, spec.image_size) as recorded:
        logits = batch_logits(model, batch, device=predictor.device)
        (values,) = recorded
        gradients = [torch.autograd.grad(chosen(logits), values, retain_graph=True)[0] for chosen in wanted]
    both = [values.detach(), *gradients]
    if values.ndim == 4 and _is_channels_last(model, spec.image_size):
        both = [each.permute(0, 3, 1, 2) for each in both]
    return both[0].float(), [each.float() for each in both[1:]]


@contextmanager
def _recorded(model: nn.Module, image_size: int) -> Iterator[list[Tensor]]:
    """A list to which a forward pass within the context adds the input of the lines' embedding, or a feature map."""
    recorded: list[Tensor] = []

    def record_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        recorded.append(inputs[0].detach().requires_grad_())
        return (recorded[0],)

    def record_output(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        recorded.append(output.detach().requires_grad_())
        return recorded[0].view_as(recorded[0])  # a layer after it may work in place

    if isinstance(model, ScanLineEncoder):
        handle = model.embed.register_forward_pre_hook(record_input)
    else:
        handle = mapped_layer(model, image_size).register_forward_hook(record_output)
    try:
        yield recorded
    finally:
        handle.remove()


def mapped_layer(model: nn.Module, image_size: int) -> nn.Module:
    """The last stage of a `BackboneModel` whose feature map has LEAST_CELLS rows; the backbone itself if all have."""
    backbone = model.get_submodule("backbone")
    assert isinstance(backbone, Backbone)
    stages = [] if backbone.layout == "tokens" else list(backbone.body.feature_info)  # type: ignore[arg-type]
    enough = [stage["module"] for stage in stages if image_size // stage["reduction"] >= LEAST_CELLS]
    return backbone.body.get_submodule(enough[-1]) if 0 < len(enough) < len(stages) else backbone


def _is_channels_last(model: nn.Module, image_size: int) -> bool:
    """Whether the layer's output is (B, h, w, C): that of a stage within a backbone that computes so."""
    layer = mapped_layer(model, image_size)
    return not isinstance(layer, Backbone) and model.get_submodule("backbone").layout == "NHWC"

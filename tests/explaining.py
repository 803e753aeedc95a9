"""Models for tests of explanations: one whose logit k reads quadrant k, untrained ones of every architecture."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from xlite.config import ModelConfig
from xlite.data.decode import ImagePreprocess
from xlite.data.preprocess_registry import described
from xlite.device import choose_device
from xlite.models.artifact import save_artifact
from xlite.models.backbones import Backbone
from xlite.models.build import build_model
from xlite.predictor import Predictor
from xlite.tasks.target_spec import MULTILABEL

CPU = choose_device("fp32", kind="cpu")
QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
PLAIN = ImagePreprocess(image_size=64, clahe_clip=0)
SMALL = ImagePreprocess(image_size=32)


class Cells(nn.Module):
    """Means of 8 x 8 px, as a timm model's last feature map."""

    num_features, pretrained_cfg, feature_info = 1, {}, ()

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward_features(self, images):
        return F.avg_pool2d(images.float(), 8) * self.scale / 255


class QuadrantModel(nn.Module):
    """Logit k is 12 times the mean of the quadrant that `reads` names for it, times `sign`, less 2."""

    def __init__(self, reads=(0, 1, 2, 3), sign=1.0):
        super().__init__()
        self.backbone = Backbone(Cells(), in_channels=1, image_size=64)
        self.reads, self.sign = reads, sign

    def forward(self, images):
        quadrants = F.avg_pool2d(self.backbone(images[:, None].float()), 4).flatten(1)
        return 12 * self.sign * quadrants[:, list(self.reads)] - 2


def predictor_of(*models, labels=QUADRANTS, preprocess=PLAIN, target_spec=MULTILABEL, **more):
    """A predictor over models that are in memory."""
    return Predictor(
        tuple(CPU.move(model).eval() for model in models), labels, {}, preprocess, target_spec, CPU, **more
    )


def untrained(preprocess, *, seed=0, labels=3, **model):
    """A model of random weights for these inputs."""
    spec = preprocess.input_spec
    config = ModelConfig.parse({"architecture": spec.layout, "pretrained": False, **model}, source="test")
    sizes = {"in_channels": spec.channels, "image_size": spec.image_size}
    return build_model(config, num_labels=labels, **sizes, seed=seed).eval()


def save_untrained(folder: Path, *, labels=("Effusion", "Mass"), preprocess=SMALL, kind="multilabel", **model):
    """A folder that `xlite.load` reads, with a model of random weights."""
    made = untrained(preprocess, labels=len(labels), **model)
    spec = preprocess.input_spec
    description = {"labels": list(labels), "model": made.config.model_dump(mode="json"), "in_channels": spec.channels}
    description |= {"image_size": spec.image_size, "preprocess": described(preprocess), "target_kind": kind}
    save_artifact(folder, "model_0", made.state_dict(), description)
    return folder

"""Baselines without distillation, from published ImageNet weights: three backbones x two attentions, two without."""

_SHARED = {
    "model.pretrained": True,
    "distill.alpha": 0.0,
    "optim.weight_decay": 1e-5,
    "optim.schedule": "plateau",
}
_GRID = {**_SHARED, "optim.learning_rate": 1e-4, "optim.batch_size": 32}
_PLAIN = {**_SHARED, "optim.learning_rate": 1e-3, "optim.batch_size": 64}

_STUDENTS = [
    {**_GRID, "model.backbone": backbone, "model.attention": attention}
    for backbone in ("efficientnet_b0", "convnext_tiny", "mobilenetv3_large_100")
    for attention in ("mhsa", "performer")
] + [
    {**_PLAIN, "model.backbone": backbone, "model.attention": "none"}
    for backbone in ("efficientnet_b0", "mobilenetv3_small_100")
]

_CLASSES = {"loss.name": "cross_entropy", "loss.class_weights": "balanced"}
CONFIGURATIONS = {
    "multilabel": [{**student, "loss.name": "weighted_bce"} for student in _STUDENTS],
    "multiclass": [{**student, **_CLASSES} for student in _STUDENTS],
    "ordinal": [{**student, **_CLASSES} for student in _STUDENTS],
}

"""Baselines without distillation for a CPU: three small backbones x two attentions, and two without."""

_SHARED = {
    "model.pretrained": False,
    "distill.alpha": 0.0,
    "optim.learning_rate": 3e-3,
    "optim.weight_decay": 1e-5,
    "optim.batch_size": 32,
    "optim.schedule": "plateau",
}

_STUDENTS = [
    {**_SHARED, "model.backbone": backbone, "model.attention": attention}
    for backbone in ("mobilenetv3_small_050", "mobilenetv3_small_075", "lcnet_050")
    for attention in ("mhsa", "performer")
] + [
    {**_SHARED, "model.backbone": backbone, "model.attention": "none"}
    for backbone in ("mobilenetv3_small_050", "lcnet_050")
]

_CLASSES = {"loss.name": "cross_entropy", "loss.class_weights": "balanced"}
CONFIGURATIONS = {
    "multilabel": [{**student, "loss.name": "weighted_bce"} for student in _STUDENTS],
    "multiclass": [{**student, **_CLASSES} for student in _STUDENTS],
    "ordinal": [{**student, **_CLASSES} for student in _STUDENTS],
}

"""Baselines without distillation for a CPU, EfficientNet-Lite from published ImageNet weights."""

_SHARED = {
    "model.backbone": "tf_efficientnet_lite0",
    "model.pretrained": True,
    "distill.alpha": 0.0,
    "optim.learning_rate": 1e-3,
    "optim.weight_decay": 1e-5,
    "optim.batch_size": 32,
    "optim.schedule": "cosine",
}

_STUDENTS = [{**_SHARED, "model.attention": attention} for attention in ("none", "mhsa", "performer")]

_CLASSES = {"loss.name": "cross_entropy", "loss.class_weights": "balanced"}
CONFIGURATIONS = {
    "multilabel": [{**student, "loss.name": "weighted_bce"} for student in _STUDENTS],
    "multiclass": [{**student, **_CLASSES} for student in _STUDENTS],
}

"""EfficientNet-Lite students for any labelled images on a machine without a GPU, from published ImageNet weights."""

_SHARED = {
    "model.backbone": "tf_efficientnet_lite0",
    "model.attention": "none",
    "model.pretrained": True,
    "model.dropout": 0.1,
    "distill.alpha": 0.5,
    "distill.temperature": 4.0,
    "optim.learning_rate": 1e-3,
    "optim.weight_decay": 1e-4,
    "optim.batch_size": 32,
    "optim.schedule": "cosine",
    "data.sampler": "none",
}
_CLASSES = {**_SHARED, "loss.name": "cross_entropy", "loss.class_weights": "none"}
BASELINE = {
    "multilabel": {**_SHARED, "loss.name": "bce"},
    "multiclass": _CLASSES,
}


def space(trial, target_kind):
    """Dotted configuration keys; each parameter is named by the key it sets."""
    chosen = {
        "model.backbone": "tf_efficientnet_lite0",
        "model.attention": "none",  # mhsa on 1,280 features would add 6.6 M parameters to 4.2 M
        "model.pretrained": True,
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.4),
        "distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0, step=0.1),
        "optim.learning_rate": trial.suggest_float("optim.learning_rate", 3e-4, 3e-3, log=True),
        "optim.weight_decay": trial.suggest_float("optim.weight_decay", 1e-6, 1e-1, log=True),
        "optim.batch_size": trial.suggest_categorical("optim.batch_size", [16, 32]),
        "optim.schedule": "cosine",
        "data.sampler": trial.suggest_categorical("data.sampler", ["none", "mean"]),
    }
    if chosen["distill.alpha"] > 0:
        chosen["distill.temperature"] = trial.suggest_float("distill.temperature", 1.0, 16.0, log=True)
    if chosen["distill.alpha"] < 1:  # at 1 the supervised loss weighs nothing
        if target_kind == "multilabel":
            chosen["loss.name"] = trial.suggest_categorical("loss.name", ["bce", "weighted_bce", "bce_focal"])
        else:
            chosen["loss.name"] = "cross_entropy"
            chosen["loss.class_weights"] = trial.suggest_categorical("loss.class_weights", ["none", "balanced"])
    return chosen

"""Students for any labelled images, from published ImageNet weights; meant for a GPU."""

CONTINUES = ("3fd5638e8fbc5ef6", "1a85bbbce121cb96")  # this file when it asked for everything at alpha 1 too

_SHARED = {
    "model.backbone": "efficientnet_b0",
    "model.attention": "none",
    "model.pretrained": True,
    "model.dropout": 0.1,
    "distill.alpha": 0.5,
    "distill.temperature": 4.0,
    "optim.learning_rate": 3e-4,
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
        "model.backbone": trial.suggest_categorical(
            "model.backbone", ["efficientnet_b0", "convnext_tiny", "mobilenetv3_large_100", "mobilenetv3_small_100"]
        ),
        "model.attention": trial.suggest_categorical("model.attention", ["none", "mhsa", "performer"]),
        "model.pretrained": True,
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.4),
        "distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0, step=0.1),
        "optim.learning_rate": trial.suggest_float("optim.learning_rate", 2e-5, 2e-3, log=True),
        "optim.weight_decay": trial.suggest_float("optim.weight_decay", 1e-6, 1e-1, log=True),
        "optim.batch_size": trial.suggest_categorical("optim.batch_size", [16, 32, 64]),
        "optim.schedule": trial.suggest_categorical("optim.schedule", ["cosine", "plateau"]),
        "data.sampler": trial.suggest_categorical("data.sampler", ["none", "mean"]),
    }
    if chosen["distill.alpha"] > 0:
        chosen["distill.temperature"] = trial.suggest_float("distill.temperature", 1.0, 16.0, log=True)
    if target_kind != "multilabel":
        chosen["loss.name"] = "cross_entropy"
    if chosen["distill.alpha"] < 1 and target_kind == "multilabel":
        chosen["loss.name"] = trial.suggest_categorical("loss.name", ["bce", "weighted_bce", "bce_focal"])
    elif chosen["distill.alpha"] < 1:
        chosen["loss.class_weights"] = trial.suggest_categorical("loss.class_weights", ["none", "balanced"])
    return chosen

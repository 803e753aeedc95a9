"""Small students for any labelled images on a machine without a GPU, trained from random weights."""

CONTINUES = ("1ee166174e376b4c", "161c695d03e36d57")  # this file when it asked for everything at alpha 1 too

_SHARED = {
    "model.backbone": "mobilenetv3_small_050",
    "model.attention": "none",
    "model.pretrained": False,
    "model.dropout": 0.1,
    "distill.alpha": 0.5,
    "distill.temperature": 4.0,
    "optim.learning_rate": 3e-3,
    "optim.weight_decay": 1e-4,
    "optim.batch_size": 16,
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
            "model.backbone", ["mobilenetv3_small_050", "mobilenetv3_small_075", "lcnet_050"]
        ),
        "model.attention": trial.suggest_categorical("model.attention", ["none", "mhsa", "performer"]),
        "model.pretrained": False,
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.4),
        "distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0, step=0.1),
        "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-3, 1e-2, log=True),
        "optim.weight_decay": trial.suggest_float("optim.weight_decay", 1e-6, 1e-1, log=True),
        "optim.batch_size": trial.suggest_categorical("optim.batch_size", [16, 32]),
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

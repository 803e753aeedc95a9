"""EfficientNet-Lite students for a machine without a GPU, from published ImageNet weights; own data start with it."""

BASELINE = {
    "model.backbone": "tf_efficientnet_lite0",
    "model.attention": "none",
    "model.pretrained": True,
    "model.dropout": 0.1,
    "loss.name": "bce",
    "distill.alpha": 0.5,
    "distill.temperature": 4.0,
    "optim.learning_rate": 1e-3,
    "optim.weight_decay": 1e-4,
    "optim.batch_size": 32,
    "optim.schedule": "cosine",
    "data.sampler": "none",
}


def space(trial):
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
        chosen["loss.name"] = trial.suggest_categorical("loss.name", ["bce", "weighted_bce", "focal", "bce_focal"])
    if chosen.get("loss.name") == "weighted_bce":
        chosen["loss.weighting"] = trial.suggest_categorical(
            "loss.weighting", ["negatives_positives", "inverse_frequency", "effective_number"]
        )
    if chosen.get("loss.name") in ("focal", "bce_focal"):
        chosen["loss.focal_gamma"] = trial.suggest_float("loss.focal_gamma", 0.5, 3.0)
        chosen["loss.focal_alpha"] = trial.suggest_float("loss.focal_alpha", 0.25, 0.9)
    return chosen

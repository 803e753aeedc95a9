"""Students of four backbones, from published ImageNet weights; meant for a GPU."""

CONTINUES = ("cbe964691867f6d3", "3e64c0ee61dbb8bb")  # this file when it asked for everything at alpha 1 too

BASELINE = {
    "model.backbone": "efficientnet_b0",
    "model.attention": "mhsa",
    "model.pretrained": True,
    "model.dropout": 0.1,
    "loss.name": "bce",
    "distill.alpha": 0.7,
    "distill.temperature": 4.0,
    "distill.focal_weight": 0.0,
    "optim.learning_rate": 1e-4,
    "optim.weight_decay": 1e-5,
    "optim.batch_size": 32,
    "optim.schedule": "plateau",
    "data.sampler": "none",
}


def space(trial):
    """Dotted configuration keys; each parameter is named by the key it sets."""
    chosen = {
        "model.backbone": trial.suggest_categorical(
            "model.backbone", ["efficientnet_b0", "convnext_tiny", "mobilenetv3_large_100", "mobilenetv3_small_100"]
        ),
        "model.attention": trial.suggest_categorical("model.attention", ["none", "mhsa", "performer"]),
        "model.pretrained": True,
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.5),
        "distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0, step=0.1),
        "distill.focal_weight": trial.suggest_categorical("distill.focal_weight", [0.0, 0.5, 1.0]),
        "optim.learning_rate": trial.suggest_float("optim.learning_rate", 2e-5, 2e-3, log=True),
        "optim.weight_decay": trial.suggest_float("optim.weight_decay", 1e-6, 1e-1, log=True),
        "optim.batch_size": trial.suggest_categorical("optim.batch_size", [16, 32, 64]),
        "optim.schedule": trial.suggest_categorical("optim.schedule", ["plateau", "cosine"]),
        "data.sampler": trial.suggest_categorical("data.sampler", ["none", "mean", "max"]),
    }
    if chosen["distill.alpha"] > 0:
        chosen["distill.temperature"] = trial.suggest_float("distill.temperature", 1.0, 16.0, log=True)
    if chosen["distill.alpha"] < 1:
        chosen["loss.name"] = trial.suggest_categorical("loss.name", ["bce", "weighted_bce", "focal", "bce_focal"])
    if chosen.get("loss.name") == "weighted_bce":
        chosen["loss.weighting"] = trial.suggest_categorical(
            "loss.weighting", ["negatives_positives", "inverse_frequency", "effective_number"]
        )
    if chosen.get("loss.name") in ("focal", "bce_focal") or chosen["distill.focal_weight"] > 0:
        chosen["loss.focal_gamma"] = trial.suggest_float("loss.focal_gamma", 0.5, 3.0)
        chosen["loss.focal_alpha_per_label"] = trial.suggest_categorical("loss.focal_alpha_per_label", [False, True])
        if not chosen["loss.focal_alpha_per_label"]:
            chosen["loss.focal_alpha"] = trial.suggest_float("loss.focal_alpha", 0.25, 0.9)
    return chosen

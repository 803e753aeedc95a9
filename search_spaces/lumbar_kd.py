"""Slice students of four backbones, from published ImageNet weights; meant for a GPU."""

CONTINUES = ("8f7fd3ddd6028d8e", "c5dc74b82be5244f")  # this file when it asked for everything at alpha 1 too

BASELINE = {
    "model.backbone": "tf_efficientnetv2_s",
    "model.attention": "none",
    "model.pretrained": True,
    "model.dropout": 0.2,
    "model.head": "classes",
    "loss.name": "cross_entropy",
    "loss.class_weights": "1,2,4",
    "loss.class_gamma": 0.0,
    "distill.alpha": 0.5,
    "distill.temperature": 2.0,
    "optim.learning_rate": 1e-4,
    "optim.weight_decay": 1e-4,
    "optim.batch_size": 16,
    "optim.schedule": "cosine",
}


def space(trial):
    """Dotted configuration keys; each parameter is named by the key it sets."""
    loss = trial.suggest_categorical("loss.name", ["cross_entropy", "coral"])  # at any alpha: the head goes with it
    chosen = {
        "model.backbone": trial.suggest_categorical(
            "model.backbone", ["tf_efficientnetv2_s", "efficientnet_b0", "mobilenetv3_large_100", "convnext_tiny"]
        ),
        "model.attention": trial.suggest_categorical("model.attention", ["none", "mhsa"]),
        "model.pretrained": True,
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.5),
        "model.head": "coral" if loss == "coral" else "classes",
        "loss.name": loss,
        "distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0, step=0.1),
        "optim.learning_rate": trial.suggest_float("optim.learning_rate", 2e-5, 1e-3, log=True),
        "optim.weight_decay": trial.suggest_float("optim.weight_decay", 1e-6, 1e-1, log=True),
        "optim.batch_size": trial.suggest_categorical("optim.batch_size", [8, 16, 32]),
        "optim.schedule": trial.suggest_categorical("optim.schedule", ["cosine", "plateau"]),
    }
    if chosen["distill.alpha"] < 1:
        chosen["loss.class_weights"] = trial.suggest_categorical("loss.class_weights", ["1,2,4", "1,3,6", "balanced"])
    if chosen["distill.alpha"] < 1 and loss == "cross_entropy":
        chosen["loss.class_gamma"] = trial.suggest_categorical("loss.class_gamma", [0.0, 1.0, 1.5, 2.0])
    if chosen["distill.alpha"] > 0:
        chosen["distill.temperature"] = trial.suggest_float("distill.temperature", 1.0, 16.0, log=True)
    return chosen

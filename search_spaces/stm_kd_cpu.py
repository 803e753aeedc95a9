"""Shallow scan-line encoders for a machine without a GPU."""

CONTINUES = ("c0821c539bb4e934", "b2fed6e7042bdb4f")  # this file when it asked for everything at alpha 1 too

BASELINE = {
    "model.layers": 2,
    "model.width": 64,
    "model.causal": False,
    "model.normalise_lines": True,
    "model.dropout": 0.1,
    "loss.class_weights": "balanced",
    "distill.alpha": 0.5,
    "distill.temperature": 2.0,
    "optim.learning_rate": 2e-3,
    "optim.weight_decay": 1e-2,
    "optim.batch_size": 16,
    "optim.schedule": "cosine",
}


def space(trial):
    """Dotted configuration keys; each parameter is named by the key it sets."""
    chosen = {
        "model.layers": trial.suggest_int("model.layers", 1, 2),
        "model.width": trial.suggest_categorical("model.width", [32, 64]),
        "model.causal": trial.suggest_categorical("model.causal", [False, True]),
        "model.normalise_lines": trial.suggest_categorical("model.normalise_lines", [True, False]),
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.3),
        "distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0, step=0.1),
        "optim.learning_rate": trial.suggest_float("optim.learning_rate", 3e-4, 5e-3, log=True),
        "optim.weight_decay": trial.suggest_float("optim.weight_decay", 1e-5, 1e-1, log=True),
        "optim.batch_size": trial.suggest_categorical("optim.batch_size", [16, 32]),
        "optim.schedule": trial.suggest_categorical("optim.schedule", ["cosine", "plateau"]),
    }
    if chosen["distill.alpha"] < 1:
        chosen["loss.class_weights"] = trial.suggest_categorical("loss.class_weights", ["none", "balanced"])
    if chosen["distill.alpha"] > 0:
        chosen["distill.temperature"] = trial.suggest_float("distill.temperature", 1.0, 8.0, log=True)
    return chosen

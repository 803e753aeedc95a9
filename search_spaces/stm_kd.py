"""Scan-line encoders of 4 to 8 layers, taught by a deeper one; meant for a GPU."""

CONTINUES = ("2e2aaab853c787d8", "26bafefacbbd9f63")  # this file when it asked for everything at alpha 1 too

BASELINE = {
    "model.layers": 4,
    "model.width": 256,
    "model.causal": False,
    "model.dropout": 0.1,
    "model.normalise_lines": True,
    "loss.class_weights": "balanced",
    "distill.alpha": 0.5,
    "distill.temperature": 4.0,
    "optim.learning_rate": 1e-4,
    "optim.weight_decay": 1e-2,
    "optim.batch_size": 32,
    "optim.schedule": "plateau",
}


def space(trial):
    """Dotted configuration keys; each parameter is named by the key it sets."""
    chosen = {
        "model.layers": trial.suggest_categorical("model.layers", [4, 6, 8]),
        "model.width": trial.suggest_categorical("model.width", [128, 256, 512]),
        "model.causal": trial.suggest_categorical("model.causal", [False, True]),
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.3),
        "model.normalise_lines": trial.suggest_categorical("model.normalise_lines", [True, False]),
        "distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0, step=0.1),
        "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-5, 1e-3, log=True),
        "optim.weight_decay": trial.suggest_float("optim.weight_decay", 1e-5, 1e-1, log=True),
        "optim.batch_size": trial.suggest_categorical("optim.batch_size", [16, 32, 64]),
        "optim.schedule": trial.suggest_categorical("optim.schedule", ["plateau", "cosine"]),
    }
    if chosen["distill.alpha"] < 1:
        chosen["loss.class_weights"] = trial.suggest_categorical(
            "loss.class_weights", ["none", "balanced", "effective_number"]
        )
    if chosen["distill.alpha"] > 0:
        chosen["distill.temperature"] = trial.suggest_float("distill.temperature", 1.0, 16.0, log=True)
    return chosen

"""Ablations of a scan-line encoder without a teacher, one change at a time; all of them run to the end."""

REFERENCE = {
    "model.layers": 6,
    "model.width": 256,
    "model.normalise_lines": True,
    "model.causal": False,
    "model.dropout": 0.1,
    "loss.class_weights": "balanced",
    "distill.alpha": 0.0,
    "optim.learning_rate": 1e-4,
    "optim.weight_decay": 0.01,
    "optim.batch_size": 32,
}

CHANGES = (
    {},
    {"loss.class_weights": "none"},
    {"model.normalise_lines": False},
    {"optim.learning_rate": 1e-5},
    {"optim.learning_rate": 5e-4},
    {"optim.learning_rate": 1e-3},
    {"model.layers": 4},
    {"model.layers": 8},
    {"model.layers": 12},
    {"model.width": 128},
    {"model.width": 512},
    {"model.causal": True},
)

CONFIGURATIONS = [{**REFERENCE, **change} for change in CHANGES]

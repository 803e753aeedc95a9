"""A small search space with a made-up score, and a study driven as a function of its rows alone."""

import math
from typing import Any

import optuna

from xlite.errors import InputError
from xlite.ledger import Ledger, Proposal, TrialResult
from xlite.train.summary import RunSummary

RATE, LOSS, GAMMA, BATCH = "optim.learning_rate", "loss.name", "loss.focal_gamma", "optim.batch_size"
QUEUE = [{LOSS: "focal", RATE: 0.01, "model.attention": "mhsa"}, {RATE: 5.0}, {BATCH: 32}]
NOTES = ["baseline", "outside the space", None]
NUM_TRIALS = 6
TWO_EPOCHS = TrialResult(summary=RunSummary(epochs=2))


def space(trial: optuna.Trial) -> dict[str, Any]:
    """Floats, integers, a choice, a parameter that only one branch has, and a constant."""
    overrides: dict[str, Any] = {
        RATE: trial.suggest_float(RATE, 1e-4, 1e-1, log=True),
        BATCH: trial.suggest_int(BATCH, 16, 64, step=16),
        LOSS: trial.suggest_categorical(LOSS, ["bce", "focal"]),
        "data.sampler": "none",
    }
    if overrides[LOSS] == "focal":
        overrides[GAMMA] = trial.suggest_float(GAMMA, 0.5, 4.0)
    return overrides


def score(overrides: dict[str, Any]) -> float:
    """An invented score with one optimum."""
    return 0.9 - 0.05 * abs(math.log10(overrides[RATE]) + 2.5) - 0.01 * overrides.get(GAMMA, 3.0)


def run_one(ledger: Ledger) -> Proposal:
    """A trial of two epochs; every third is pruned."""
    proposal = ledger.ask(space)
    value = score(proposal.overrides)
    ledger.report(proposal.number, 1, value - 0.1)
    ledger.report(proposal.number, 2, value)
    outcome = "pruned" if proposal.number % 3 == 1 else "complete"
    ledger.finish(proposal.number, outcome, value=value, result=TWO_EPOCHS)  # type: ignore[arg-type]
    return proposal


def open_study(url: str, name: str = "s", **options: Any) -> Ledger:
    """A study for `drive`."""
    return Ledger.open(url, name, create=True, seed=3, num_startup=2, **options)


def drive(ledger: Ledger) -> None:
    """Run the study to its end, two trials at a time; the next step follows from the rows, so it can be interrupted."""
    ledger.queue(QUEUE, NOTES)
    ledger.unfinished()
    while True:
        rows = ledger.rows()
        running = [row for row in rows if row.state == "running"]
        if len(running) < 2 and sum(row.state != "waiting" for row in rows) < NUM_TRIALS:
            try:
                ledger.ask(space)
            except InputError as error:
                assert "search space, trial 1" in str(error)
            continue
        if not running:
            return
        row = min(running, key=lambda row: (len(row.curve), row.number))
        value = score(row.overrides)
        if len(row.curve) < 2:
            ledger.report(row.number, len(row.curve) + 1, value - 0.1 / (len(row.curve) + 1))
        elif row.number == 4:
            ledger.finish(row.number, "failed", value=None, result=TrialResult(reason="loss is nan"))
        else:
            outcome = "pruned" if row.number % 3 == 0 else "complete"
            ledger.finish(row.number, outcome, value=value, result=TWO_EPOCHS)  # type: ignore[arg-type]


def content(url: str, name: str = "s") -> list[tuple]:
    """Everything in a study's trials except their times."""
    storage = optuna.storages.RDBStorage(url)
    study = optuna.load_study(study_name=name, storage=storage)
    try:
        return [
            (
                *(trial.number, trial.state.name, trial.value, trial.params, sorted(trial.distributions)),
                *(trial.intermediate_values, trial.user_attrs),
                trial.system_attrs.get("xlite:queued"),
            )
            for trial in study.trials
        ]
    finally:
        storage.engine.dispose()

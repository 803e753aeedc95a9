"""The whole job on a task's built-in data, and its promoted student against itself without a teacher, on test.

    python benchmarks/kd_helps.py --task lumbar_spine --seeds 1 2 3
    python benchmarks/kd_helps.py --task stm_scanlines --seeds 1 2 3

Each seed is one fresh `tune_kd.py` (the seed draws split, sampler and training). Then the winner's configuration is
trained again with distill.alpha=0, as long, its epoch chosen on validation as well. Guessing the commonest class gives
a balanced accuracy of one over the number of classes, and a macro AUC of 0.5.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from xlite.commands.reopen import reopen
from xlite.console import SilentConsole
from xlite.device import choose_device
from xlite.promote import promotion_config
from xlite.storage.files import read_json
from xlite.study.teacher import num_views
from xlite.train.inference import predict_logits
from xlite.train.loop import fit
from xlite.train.run import TrainingRun
from xlite.train.step import new_model

RUNNER = Path(__file__).resolve().parents[1] / "runners" / "tune_kd.py"


def one_seed(task: str, seed: int, options: list[str], folder: Path) -> dict[str, float]:
    """One whole job, and the same student without distillation."""
    places = ["--results", str(folder / "results"), "--cache-dir", str(folder / "cache")]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, str(RUNNER), "--task", task, "--study", "s", "--seed", str(seed), *places, *options],
        check=True,
    )
    minutes = (time.perf_counter() - started) / 60
    study = folder / "results" / "s"
    metrics = read_json(study / "promoted" / "metrics.json")
    test = metrics["test"]["metrics"]
    opened = reopen(argparse.Namespace(study="s", results=folder / "results", storage=None), console=SilentConsole())
    winner = opened.ledger.best()
    assert winner is not None
    alone = without_teacher(opened, winner)
    num_classes = len(opened.prepared.full.labels)
    return {
        "seed": seed,
        "minutes": minutes,
        "alpha": winner.overrides.get("distill.alpha", 0.0),
        "teacher val": read_json(study / "study.json")["teacher"]["value"],
        "val": metrics["validation"]["metrics"][metrics["metric"]],
        "test": test[metrics["metric"]],
        "test, no KD": alone[metrics["metric"]],
        "majority": 0.5 if metrics["metric"] == "auc_macro" else 1 / num_classes,
        "test auc": test["auc_macro"],
        "auc, no KD": alone["auc_macro"],
    }


def without_teacher(opened, winner) -> dict[str, float]:
    """Test metrics of the winner's configuration with alpha = 0, at its best epoch on validation."""
    task, dataset = opened.study.task, opened.prepared.full
    epochs = opened.study.options.promote_epochs
    config = promotion_config(opened.study.base, winner, epochs=epochs)
    config = config.override({"distill.alpha": 0.0}, source="benchmark")
    device = choose_device(config.train.precision)
    state = None
    views = num_views(opened.study.options.max_epochs)  # what the distilled student saw
    run = TrainingRun(config, task, dataset, device, num_views=views)
    for report in fit(run):
        state = report.best_state or state
    model = new_model(run)
    model.load_state_dict(state)
    positions = dataset.parts["test"]
    probabilities = task.target_spec.probabilities(predict_logits(model, dataset, positions, device=device))
    return task.target_spec.evaluate(probabilities, dataset.targets[positions], dataset.labels).scalars


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments, options = parser.parse_known_args()
    rows = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(one_seed(arguments.task, seed, options, Path(folder)))
    print("  ".join(f"{name:>11}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{value:11.4g}" for value in row.values()))
    means = {name: statistics.mean(row[name] for row in rows) for name in rows[0]}
    print("  ".join(f"{'mean':>11}" if name == "seed" else f"{value:11.4g}" for name, value in means.items()))


if __name__ == "__main__":
    main()

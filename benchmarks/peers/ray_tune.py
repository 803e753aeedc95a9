"""Ray Tune as its tutorial has it: OptunaSearch and ASHA, a function that trains beside a live teacher and reports.

    python benchmarks/peers/ray_tune.py --data DIR --teacher FILE --space search_spaces/kd_cpu.py \
        --trials 12 --epochs 10 --seed 1 --reports reports.jsonl

`benchmarks/search.py` writes DIR and runs this. Student, losses and AUC are X-Lite's, so that only the machinery
differs. Two trials at once, a CPU each; ASHA's settings are those of PyTorch's tutorial on Ray Tune. Its checkpoints
are left out, which is to the peer's advantage.
"""

import argparse
import importlib
import sys
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from training import argument_parser, configuration, train, write_report

from xlite.models.artifact import load_model


def trainable(chosen: dict[str, Any], arguments: argparse.Namespace) -> None:
    """One trial, in a process of its own."""
    torch.set_num_threads(1)
    config = configuration(arguments.data, {**chosen, "train.epochs": arguments.epochs})
    teacher = load_model(arguments.teacher)[0]  # in evaluation mode
    for report in train(config, arguments.data, teacher, workers=arguments.workers):
        write_report(arguments.reports, tune.get_context().get_trial_id(), report)
        tune.report({"auc": report["value"]})


def main() -> None:
    arguments = argument_parser(__doc__, workers=0).parse_args()
    sys.path.insert(0, str(arguments.space.parent))
    space = importlib.import_module(arguments.space.stem)  # Tune pickles the function, so it needs a module
    ray.init(num_cpus=2, include_dashboard=False)
    search = OptunaSearch(
        space.space,
        metric="auc",
        mode="max",
        seed=arguments.seed,
        points_to_evaluate=[space.BASELINE],
    )
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, arguments=arguments), {"cpu": 1}),
        tune_config=tune.TuneConfig(
            metric="auc",
            mode="max",
            search_alg=search,
            scheduler=ASHAScheduler(max_t=arguments.epochs, grace_period=1, reduction_factor=2),
            num_samples=arguments.trials,
            max_concurrent_trials=2,
        ),
        run_config=tune.RunConfig(storage_path=str(arguments.reports.parent.resolve()), name="ray"),
    )
    tuner.fit()


if __name__ == "__main__":
    main()

"""Full runs one by one, the common script: random configurations, each trained to its end beside a live teacher.

    python benchmarks/peers/runs_one_by_one.py --data DIR --teacher FILE --space search_spaces/kd_cpu.py \
        --trials 12 --epochs 10 --seed 1 --reports reports.jsonl

`benchmarks/search.py` writes DIR and runs this. Student, losses and AUC are X-Lite's, so that only the machinery
differs: a DataLoader over small preprocessed PNG files, the teacher asked about every batch, a run at a time.
"""

import runpy

import optuna
import torch
from training import argument_parser, configuration, train, write_report

from xlite.models.artifact import load_model


def main() -> None:
    arguments = argument_parser(__doc__, workers=2).parse_args()
    torch.set_num_threads(2)
    space = runpy.run_path(str(arguments.space))
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=arguments.seed))
    study.enqueue_trial(space["BASELINE"])
    teacher = load_model(arguments.teacher)[0]  # in evaluation mode

    def objective(trial: optuna.Trial) -> float:
        config = configuration(arguments.data, {**space["space"](trial), "train.epochs": arguments.epochs})
        values = []
        for report in train(config, arguments.data, teacher, workers=arguments.workers):
            write_report(arguments.reports, trial.number, report)
            values.append(report["value"])
        return max(values)

    study.optimize(objective, n_trials=arguments.trials)


if __name__ == "__main__":
    main()

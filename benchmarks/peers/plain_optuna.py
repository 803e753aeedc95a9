"""Plain Optuna: TPE and the median pruner, both with their defaults, each trial trained beside a live teacher.

    python benchmarks/peers/plain_optuna.py --data DIR --teacher FILE --space search_spaces/kd_cpu.py \
        --trials 12 --epochs 10 --seed 1 --reports reports.jsonl

`benchmarks/search.py` writes DIR and runs this. Student, losses and AUC are X-Lite's, so that only the machinery
differs. Two processes of one thread share a study through a journal file, as Optuna's page on parallel search has it:
that is faster here than one process with two threads (`--processes 1`).
"""

import argparse
import multiprocessing
import runpy

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from training import argument_parser, configuration, train, write_report

from xlite.models.artifact import load_model


def storage_of(arguments: argparse.Namespace) -> JournalStorage:
    """The journal beside the reports."""
    return JournalStorage(JournalFileBackend(str(arguments.reports.with_suffix(".journal"))))


def work(arguments: argparse.Namespace, process: int) -> None:
    """Run trials of the shared study until there are enough."""
    torch.set_num_threads(2 // arguments.processes)
    space = runpy.run_path(str(arguments.space))["space"]
    teacher = load_model(arguments.teacher)[0]  # in evaluation mode
    sampler = optuna.samplers.TPESampler(seed=arguments.seed * arguments.processes + process)
    study = optuna.load_study(
        study_name="kd", storage=storage_of(arguments), sampler=sampler, pruner=optuna.pruners.MedianPruner()
    )

    def objective(trial: optuna.Trial) -> float:
        config = configuration(arguments.data, {**space(trial), "train.epochs": arguments.epochs})
        values = []
        for report in train(config, arguments.data, teacher, workers=arguments.workers):
            write_report(arguments.reports, trial.number, report)
            values.append(report["value"])
            trial.report(report["value"], report["epoch"])
            if trial.should_prune():
                raise optuna.TrialPruned
        return max(values)

    if sum(t.state != TrialState.WAITING for t in study.trials) >= arguments.trials:
        return  # the other process was that much quicker
    # None counts the running ones too, so that both stop in time
    study.optimize(objective, callbacks=[optuna.study.MaxTrialsCallback(arguments.trials, states=None)])


def main() -> None:
    parser = argument_parser(__doc__, workers=0)
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2, help="that share the study and two threads")
    arguments = parser.parse_args()
    study = optuna.create_study(study_name="kd", storage=storage_of(arguments), direction="maximize")
    study.enqueue_trial(runpy.run_path(str(arguments.space))["BASELINE"])
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=work, args=(arguments, i)) for i in range(1, arguments.processes)]
    for other in others:
        other.start()
    work(arguments, 0)
    for other in others:
        other.join()


if __name__ == "__main__":
    main()

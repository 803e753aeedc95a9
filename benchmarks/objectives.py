"""One search with three objectives against three searches for one each, replayed on a table of real learning curves.

    python benchmarks/objectives.py --curves FILE.npz --seeds 30 --out benchmarks/results/objectives.json

FILE.npz as in replay.py, of a network of three convolutions whose hyper-parameters are `log2_n_units_1` to `_3`, at
32 x 32 pixels; its first 15 epochs are a full run. Accuracies are recorded; what a configuration costs is computed from
its layers: parameters (`size_mb`, four bytes each) and multiplications for one image (`latency_ms`, 10^9 a second).

Both sides may train for `--epochs` epochs in all: the one search (accuracy, latency, size), or three of a third each,
the same code with one objective each, which are then put together. A pruned configuration counts with
the accuracy that it had reached, since it could be used like that. What is compared is the hypervolume of all that was
trained, as a share of the whole table's; objectives are scaled to the table's ranges (costs by their logarithm), the
reference is the worst of each. The interval is the middle 95% of 2,000 bootstrap samples of the seeds' differences.

Then what several objectives cost: epochs of as many trials as the search for accuracy has ended, and seconds of the
searcher itself for each trial.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
from replay_search import Ours, Table, read_table

from xlite.commands import cli
from xlite.errors import InputError
from xlite.ledger.objectives import Objective, Objectives
from xlite.models.limits import Cost
from xlite.samplers.pareto import hypervolume
from xlite.study.rungs import first_rung
from xlite.tune.asha import ResumableASHA

THREE: Objectives = (Objective("accuracy", "max"), Objective("latency_ms", "min"), Objective("size_mb", "min"))
MAX_EPOCHS = 15
UNITS = ("log2_n_units_1", "log2_n_units_2", "log2_n_units_3")
NUM_IMAGES, NUM_RESAMPLED = 40_000, 2_000


def costs_of_table(table: Table) -> list[Cost]:
    """What each configuration costs: three 3 x 3 convolutions at 32, 16 and 8 pixels, and ten classes."""
    columns = [table.names.index(name) for name in UNITS]
    units = np.round(2 ** table.points[:, columns])
    weights = np.stack([27 * units[:, 0], 9 * units[:, 0] * units[:, 1], 9 * units[:, 1] * units[:, 2]], axis=1)
    num_params = weights.sum(axis=1) + units.sum(axis=1) + 10 * (16 * units[:, 2] + 1)
    latency_ms = (weights * np.array([32, 16, 8]) ** 2).sum(axis=1) / 1e6
    return [Cost(int(num), 4e-6 * num, float(ms)) for num, ms in zip(num_params, latency_ms, strict=True)]


class Several(Ours):
    """The project's searcher, told what each trial costs: an objective beside accuracy, or the only one."""

    def __init__(self, table: Table, seed: int, costs: Sequence[Cost], objectives: Objectives) -> None:
        super().__init__(table, seed, num_images=NUM_IMAGES)
        self.costs, self.objectives = costs, objectives
        grace = first_rung(table.max_epochs, 0, NUM_IMAGES)
        self.asha = ResumableASHA(table.max_epochs, grace, objectives if len(objectives) > 1 else ())
        self.rows: dict[str, int] = {}

    def know(self, trial: str, row: int) -> None:
        """Hear which configuration a trial runs."""
        self.rows[trial] = row
        self.asha.know(trial, self.costs[row])

    def value(self, trial: str, accuracy: float) -> float:
        """The first objective: accuracy, or a cost, upward."""
        first = self.objectives[0]
        return first.upward(first.of_cost(self.costs[self.rows[trial]]) if first.is_cost else accuracy)

    def report(self, trial: str, epoch: int, value: float) -> bool:
        return super().report(trial, epoch, self.value(trial, value))

    def end(self, trial: str) -> None:
        self.asha.on_trial_remove(None, SimpleNamespace(trial_id=trial))
        state = optuna.trial.TrialState.COMPLETE
        if self.epoch[trial] < self.table.max_epochs:
            state = optuna.trial.TrialState.PRUNED
        cost = self.costs[self.rows[trial]]
        others = tuple(each.upward(each.of_cost(cost)) for each in self.objectives[1:])
        self.sampling.finish(int(trial), state, self.best.pop(trial), others)


@dataclass
class Searched:
    """What a search trained: (accuracy, row) of each trial, epochs up to its end; and the searcher's own seconds."""

    reached: list[tuple[float, int]]
    ends: list[int]
    seconds: float


def search(searcher: Several, num_epochs: int) -> Searched:
    """Run trials one by one until so many epochs are used up."""
    table, free = searcher.table, np.ones(len(searcher.table.points), dtype=bool)
    out, spent = Searched([], [], 0.0), 0
    while free.any() and spent < num_epochs:
        started = time.perf_counter()
        trial, point = searcher.start()
        row = table.nearest(point, free)
        free[row] = False
        searcher.know(trial, row)
        best = 0.0
        for epoch in range(1, table.max_epochs + 1):
            spent += 1
            best = max(best, float(table.curves[row, epoch - 1]))
            if searcher.report(trial, epoch, best) or spent == num_epochs:
                break
        searcher.end(trial)
        out.seconds += time.perf_counter() - started
        out.reached.append((best, row))
        out.ends.append(spent)
    return out


def volume(reached: Sequence[tuple[float, int]], costs: Sequence[Cost], table: Table) -> float:
    """The hypervolume of these trials, as a share of that of the whole table trained to the end."""
    every = [(float(curve.max()), row) for row, curve in enumerate(table.curves)]

    def points(trials: Sequence[tuple[float, int]]) -> np.ndarray:
        return np.array([[each, -np.log(costs[row].latency_ms), -np.log(costs[row].size_mb)] for each, row in trials])

    whole = points(every)
    low, span = whole.min(axis=0), np.ptp(whole, axis=0)
    found, best = ((points(trials) - low) / span for trials in (reached, every))
    return hypervolume(found, np.zeros(3)) / hypervolume(best, np.zeros(3))


def compare(table: Table, costs: Sequence[Cost], seed: int, num_epochs: int) -> dict[str, float]:
    """One seed's figures."""
    np.random.seed(seed)  # noqa: NPY002  Ray's scheduler draws its (only) bracket from the global generator
    together = search(Several(table, seed, costs, THREE), num_epochs)
    alone = [search(Several(table, seed, costs, (each,)), num_epochs // 3) for each in THREE]
    num = min(len(alone[0].ends) - 1, len(together.ends))  # the last one was cut off by the budget
    return {
        "three objectives": volume(together.reached, costs, table),
        "three searches": volume([trial for each in alone for trial in each.reached], costs, table),
        "trials": len(together.reached),
        "trials of three searches": sum(len(each.reached) for each in alone),
        "epochs of as many trials": together.ends[num - 1],
        "epochs of as many, accuracy alone": alone[0].ends[num - 1],
        "seconds a trial": together.seconds / len(together.reached),
        "seconds a trial, accuracy alone": alone[0].seconds / len(alone[0].reached),
        "best accuracy": max(each for each, _ in together.reached),
        "best accuracy of three searches": max(each for search in alone for each, _ in search.reached),
    }


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The middle 95% of the means of NUM_RESAMPLED bootstrap samples."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(NUM_RESAMPLED, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = cli.parser(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--curves", type=Path, required=True, metavar="FILE", help="the table, .npz")
    parser.add_argument("--seeds", type=cli.positive_int, default=30, metavar="N", help="seeds 0 to N-1 (30)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="S", help="S to S+N-1 instead")
    parser.add_argument("--epochs", type=cli.positive_int, default=180, metavar="N", help="in all (180)")
    parser.add_argument("--out", type=cli.output_file, metavar="FILE", help="keep the figures here")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Run all seeds and print the table."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = read_table(arguments.curves)
    if missing := set(UNITS) - set(table.names):
        raise InputError(f"{arguments.curves}: it has no {', '.join(sorted(missing))}")
    table = Table(table.names, table.points, table.curves[:, :MAX_EPOCHS])
    costs = costs_of_table(table)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = []
    for seed in seeds:
        runs.append(compare(table, costs, seed, arguments.epochs))
        if arguments.out:
            arguments.out.write_text(json.dumps({"epochs": arguments.epochs, "runs": runs}, indent=1) + "\n")
    figures = {name: np.array([run[name] for run in runs]) for name in runs[0]}
    for name, values in figures.items():
        low, high = interval(values)
        print(f"{name:<34}{values.mean():9.4f}  ({low:.4f} to {high:.4f})")
    gain = figures["three objectives"] - figures["three searches"]
    low, high = interval(gain)
    print(f"{'hypervolume beyond three searches':<34}{gain.mean():+9.4f}  ({low:+.4f} to {high:+.4f})")
    ratio = figures["epochs of as many trials"] / figures["epochs of as many, accuracy alone"]
    low, high = interval(ratio)
    print(f"{'epochs of as many trials, ratio':<34}{ratio.mean():9.4f}  ({low:.4f} to {high:.4f})")


if __name__ == "__main__":
    cli.run(main, make_parser())

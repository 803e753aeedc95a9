"""A search replayed on a table of real learning curves, with nothing trained: epochs until it is within 1% of the best.

    python benchmarks/replay.py --curves FILE.npz --seeds 50
    python benchmarks/replay.py --curves FILE.npz --seeds 50 --parallel 4

FILE.npz holds the curves of N configurations of P hyper-parameters over E epochs: `hp_names` (P,) strings, `hp` (N, P)
floats, each on the scale it is to be searched on (log10 of a learning rate, say), `val_error` (N, E) floats in 0..1.

Every searcher searches the ranges that the table spans. A proposal becomes the nearest configuration (each range scaled
to 1) that has not been run; every epoch of every trial counts, up to the first one that shows an accuracy of at least
0.99 x the table's best. Accuracy, not error, since what the project searches for is higher-is-better; `--measure error`
asks for an error of at most 1.01 x the table's smallest, which is nearer. A searcher that has run all configurations,
and stopped the good ones early, never gets there: inf.

An interval is the middle 95% of 2,000 bootstrap samples of the seeds. Random search, to which the others are compared,
costs nothing to replay and varies most, so it gets more seeds.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from replay_search import Ours, RandomFull, Searcher, Table, Tune, epochs_to_reach, read_table

from xlite.commands import cli

NUM_RESAMPLED = 2000
MakeSearcher = Callable[[Table, int, argparse.Namespace], Searcher]
SEARCHERS: dict[str, MakeSearcher] = {
    "random, full runs": lambda table, seed, study: RandomFull(table, seed),
    # ASHAScheduler and OptunaSearch with no settings of their own, as in Ray's optuna_example.py and "Getting started"
    "Tune, defaults": lambda table, seed, study: Tune(table, seed),
    # grace_period=1, reduction_factor=2, as in Ray's cifar10_pytorch.py
    "Tune, its CIFAR-10 example": lambda table, seed, study: Tune(table, seed, grace_period=1, reduction_factor=2),
    "the same, our first trial": lambda table, seed, study: Tune(
        table, seed, first=[table.middle], grace_period=1, reduction_factor=2
    ),
    "ours": lambda table, seed, study: Ours(table, seed, num_images=study.images),
}
"""By name: makes a searcher of a table from a seed and the options of the study."""


def median(values: np.ndarray) -> np.ndarray:
    """Over the last axis; the lower of the two in the middle of an even number, as one of them may be inf."""
    return np.quantile(values, 0.5, axis=-1, method="inverted_cdf")


def resampled_medians(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(R,) medians of R = NUM_RESAMPLED bootstrap samples of `values` (S,)."""
    return np.array([median(generator.choice(values, len(values))) for _ in range(NUM_RESAMPLED)])


def interval(medians: np.ndarray, form: str) -> str:
    """The middle 95%, in words."""
    low, high = np.quantile(medians, [0.025, 0.975], method="nearest")
    return f"{low:{form}} to {high:{form}}"


def epochs_of(make: MakeSearcher, table: Table, target: float, seeds: range, options: argparse.Namespace) -> np.ndarray:
    """(S,) epochs until the target, for each seed."""
    epochs = []
    for seed in seeds:
        np.random.seed(seed)  # noqa: NPY002  Ray's scheduler draws its (only) bracket from the global generator
        searcher = make(table, seed, options)
        epochs.append(epochs_to_reach(target, table, searcher, num_parallel=options.parallel))
    return np.array(epochs)


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = cli.parser(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--curves", type=Path, required=True, metavar="FILE", help="the table, .npz")
    parser.add_argument("--seeds", type=cli.positive_int, default=50, metavar="N", help="seeds 0 to N-1 (50)")
    parser.add_argument("--random-seeds", type=cli.positive_int, default=2000, metavar="N", help="of random (2000)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="S", help="S to S+N-1 instead")
    parser.add_argument("--parallel", type=cli.positive_int, default=1, metavar="N", help="trials at once (1)")
    parser.add_argument(
        "--images", type=cli.positive_int, default=40_000, metavar="N", help="in an epoch of it (40000)"
    )
    parser.add_argument("--measure", choices=["accuracy", "error"], default="accuracy")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Run every searcher and print its row."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = read_table(arguments.curves)
    best = float(table.curves.max())
    target = 0.99 * best if arguments.measure == "accuracy" else 1 - 1.01 * (1 - best)
    near = int((table.curves.max(axis=1) >= target).sum())
    print(
        f"{len(table.points)} configurations x {table.max_epochs} epochs, best accuracy {best:.4f}; "
        f"{near} reach {target:.4f} (within 1% by {arguments.measure})\n"
        f"epochs until one does, {arguments.parallel} at a time, seeds from {arguments.first_seed}"
    )
    print(f"{'':<28}{'seeds':>6}{'median':>8}  {'95% interval':<16}{'of random':>9}  {'95% interval':<16}{'s each':>8}")
    generator = np.random.default_rng(arguments.first_seed)
    random: tuple[np.ndarray, np.ndarray] | None = None
    for name, make in SEARCHERS.items():
        started = time.perf_counter()
        num_seeds = arguments.seeds if random else arguments.random_seeds
        seeds = range(arguments.first_seed, arguments.first_seed + num_seeds)
        epochs = epochs_of(make, table, target, seeds, arguments)
        seconds = (time.perf_counter() - started) / num_seeds
        middle, resampled = median(epochs), resampled_medians(epochs, generator)
        random = random or (middle, resampled)
        print(
            f"{name:<28}{num_seeds:6}{middle:8g}  {interval(resampled, 'g'):<16}{middle / random[0]:9.2f}  "
            f"{interval(resampled / random[1], '.2f'):<16}{seconds:8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    cli.run(main, make_parser())

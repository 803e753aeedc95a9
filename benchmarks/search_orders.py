"""Whole searches without their luck: the seconds search.py measured, laid on its random full runs in many orders.

    python benchmarks/search.py --seeds 1 2 3    # measures
    python benchmarks/search_orders.py --seeds 1 2 3
    python benchmarks/search_orders.py --seeds 1 2 3 --one-of 8    # an easier reference
    python benchmarks/search_orders.py --seeds 1 2 3 --sweep        # ASHA's first rung and factor

In one search of a seed the time to the reference hangs on which configurations come first. Here each of the four draws
its configurations from the seed's random full runs, at random and with replacement, the same ones in the same order
for all; stops them by its own rule; and is done when a trial shows the reference. inf: it never does in most orders,
since the same runs are stopped each time they come. Epochs become seconds as they did in search.py: the first ends when
it did there, the others follow at its rate.
Left out: what a sampler learns (all draw at random), the BASELINE, and that some students' epochs take longer.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import numpy as np
import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from search_curves import GOALS, ONE_OF, OURS, RANDOM, TITLES, Run, read_run, reference_auc  # noqa: E402

from xlite.study.rungs import first_rung  # noqa: E402
from xlite.tune.asha import EPOCH_KEY, VALUE_KEY, ResumableASHA  # noqa: E402

MAX_TRIALS = 300
SWEPT_RUNGS, SWEPT_FACTORS = (1, 2, 3, 4, 5, 6, 8, 10), (2, 3, 4)
NUM_TRAIN = 2518
"""Training images of the phantom searches, a few more or less with the seed."""


class Rule(Protocol):
    """Which trials are stopped."""

    def report(self, trial: int, epoch: int, value: float) -> bool:
        """One more epoch (from 1) of a trial and its AUC; True: stop it here."""

    def end(self, trial: int) -> None:
        """A trial has run to its end, or was stopped."""


class FullRuns:
    """(a): none is."""

    def report(self, trial: int, epoch: int, value: float) -> bool:
        return False

    def end(self, trial: int) -> None:
        pass


class Median:
    """(b): Optuna's median pruner with its defaults."""

    def __init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner())
        self.running: dict[int, tuple[optuna.Trial, list[float]]] = {}

    def report(self, trial: int, epoch: int, value: float) -> bool:
        if epoch == 1:
            self.running[trial] = self.study.ask(), []
        asked, values = self.running[trial]
        values.append(value)
        asked.report(value, epoch)
        return asked.should_prune()

    def end(self, trial: int) -> None:
        asked, values = self.running.pop(trial)
        if asked.should_prune():
            self.study.tell(asked, state=TrialState.PRUNED)
        else:
            self.study.tell(asked, max(values))


class Asha:
    """Ray's scheduler: (c)'s told every value, ours the best so far."""

    def __init__(self, scheduler: ASHAScheduler, *, epoch_key: str, value_key: str, best_so_far: bool) -> None:
        self.scheduler, self.keys, self.best_so_far = scheduler, (epoch_key, value_key), best_so_far
        self.best: dict[int, float] = {}

    def report(self, trial: int, epoch: int, value: float) -> bool:
        stand_in = SimpleNamespace(trial_id=str(trial))
        if epoch == 1:
            self.scheduler.on_trial_add(None, stand_in)
        self.best[trial] = max(value, self.best.get(trial, value))
        told = (epoch, self.best[trial] if self.best_so_far else value)
        return self.scheduler.on_trial_result(None, stand_in, dict(zip(self.keys, told, strict=True))) == (
            TrialScheduler.STOP
        )

    def end(self, trial: int) -> None:
        self.scheduler.on_trial_remove(None, SimpleNamespace(trial_id=str(trial)))


def ours(max_epochs: int, num_train: int) -> Asha:
    """As `run_study` makes it for so many images of training."""
    scheduler = ResumableASHA(max_epochs, first_rung(max_epochs, 0, num_train))
    return Asha(scheduler, epoch_key=EPOCH_KEY, value_key=VALUE_KEY, best_so_far=True)


def with_rungs(first: int, factor: int) -> Callable[[int], Asha]:
    """Ours, but for the first rung and the factor."""

    def make(max_epochs: int) -> Asha:
        how = {"max_t": max_epochs, "grace_period": first, "reduction_factor": factor}
        scheduler = ASHAScheduler(time_attr=EPOCH_KEY, metric=VALUE_KEY, mode="max", **how)
        return Asha(scheduler, epoch_key=EPOCH_KEY, value_key=VALUE_KEY, best_so_far=True)

    return make


def tunes(max_epochs: int) -> Asha:
    """As peers/ray_tune.py has it."""
    scheduler = ASHAScheduler(metric="auc", mode="max", max_t=max_epochs, grace_period=1, reduction_factor=2)
    return Asha(scheduler, epoch_key="training_iteration", value_key="auc", best_so_far=False)


RULES: dict[str, tuple[int, Callable[[int, int], Rule]]] = {
    OURS: (2, ours),
    "a": (1, lambda max_epochs, num_train: FullRuns()),
    "b": (2, lambda max_epochs, num_train: Median()),
    "c": (2, lambda max_epochs, num_train: tunes(max_epochs)),
}
"""Trials at once, and what stops them, given a run's epochs and the training images."""


def curves_of(run: Run) -> np.ndarray:
    """(N, E) AUC of every full run after every epoch; one that ended early stays where it was."""
    curves: dict[str, list[float]] = {}
    for _, trial, _, value in sorted(run.points, key=lambda point: point[2]):
        curves.setdefault(trial, []).append(value)
    longest = max(map(len, curves.values()))
    return np.array([values + values[-1:] * (longest - len(values)) for values in curves.values()])


def epochs_until(target: float, curves: np.ndarray, rows: np.ndarray, rule: Rule, num_parallel: int) -> float:
    """Epochs of all trials together until one shows `target`; inf where none of `rows` does."""
    waiting, running, spent = list(enumerate(rows)), dict[int, tuple[int, int]](), 0
    while waiting or running:
        while waiting and len(running) < num_parallel:
            number, row = waiting.pop(0)
            running[number] = (row, 0)
        for number, (row, done) in list(running.items()):
            spent += 1
            value = float(curves[row, done])
            if value >= target:
                return spent
            if rule.report(number, done + 1, value) or done + 1 == curves.shape[1]:
                rule.end(number)
                del running[number]
            else:
                running[number] = (row, done + 1)
    return np.inf


def seconds_of(epochs: np.ndarray, run: Run) -> np.ndarray:
    """When so many epochs have ended, at the pace of a run that was measured."""
    return run.points[0][0] + (epochs - 1) / run.rate


def measured(folder: Path, seed: int) -> dict[str, Run]:
    """What search.py kept of a seed.

    Raises:
        SystemExit: a run is missing.
    """
    named = {name: read_run(folder, name, seed) for name in (RANDOM, *TITLES)}
    missing = [name for name, run in named.items() if run is None]
    if missing:
        sys.exit(f"seed {seed}: {', '.join(missing)} not measured; run search.py --seeds {seed}")
    return {name: run for name, run in named.items() if run is not None}


def replay(
    named: dict[str, Run], orders: int, one_of: int, seed: int, num_train: int = NUM_TRAIN
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(orders,) epochs and seconds of each search until it shows the reference."""
    curves = curves_of(named[RANDOM])
    target = reference_auc(named, one_of)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(curves), size=(orders, MAX_TRIALS))
    epochs, seconds = {}, {}
    for name, (num_parallel, make_rule) in RULES.items():
        rules = (make_rule(curves.shape[1], num_train) for _ in drawn)
        found = [
            epochs_until(target, curves, rows, rule, num_parallel) for rows, rule in zip(drawn, rules, strict=True)
        ]
        epochs[name] = np.array(found)
        seconds[name] = seconds_of(epochs[name], named[name])
    return epochs, seconds


def tell_sweep(run: Run, orders: int, one_of: int, seed: int) -> None:
    """Median epochs until the reference by first rung and factor, two trials at once."""
    curves = curves_of(run)
    drawn = np.random.default_rng(seed).integers(len(curves), size=(orders, MAX_TRIALS))
    print(f"seed {seed}, median epochs  factor" + "".join(f"{factor:>8}" for factor in SWEPT_FACTORS))
    for first in SWEPT_RUNGS:
        print(f"  first rung {first:<17}", end="")
        for factor in SWEPT_FACTORS:
            make, target = with_rungs(first, factor), reference_auc({RANDOM: run}, one_of)
            epochs = [epochs_until(target, curves, rows, make(curves.shape[1]), 2) for rows in drawn]
            print(f"{np.quantile(epochs, 0.5, method='inverted_cdf'):>8.0f}", end="", flush=True)
        print()


def tell(seed: str, epochs: dict[str, np.ndarray], seconds: dict[str, np.ndarray]) -> None:
    """Medians and quartiles, and the ratio of the medians to ours."""
    for name, title in TITLES.items():
        quarter, middle, three = np.quantile(seconds[name], [0.25, 0.5, 0.75], method="inverted_cdf")
        ratio = middle / np.quantile(seconds[OURS], 0.5, method="inverted_cdf")
        goal = f"{ratio:>8.2f}{GOALS[name]:>6g}" if name in GOALS else ""
        of_epochs = np.quantile(epochs[name], 0.5, method="inverted_cdf")
        print(f"{title:<34}{seed:>6}{of_epochs:>9.0f}{middle:>10.0f}{f'{quarter:.0f} to {three:.0f}':>16}{goal}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--orders", type=int, default=300, metavar="N", help="of each seed")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "search", help="the searches")
    parser.add_argument(
        "--one-of", type=int, default=ONE_OF, metavar="N", help="the reference: what one random full run of N reaches"
    )
    parser.add_argument("--train-images", type=int, default=NUM_TRAIN, metavar="N", help="of the searches")
    parser.add_argument("--sweep", action="store_true", help="ASHA's first rung and factor instead, in epochs")
    arguments = parser.parse_args()
    if arguments.sweep:
        for seed in arguments.seeds:
            run = read_run(arguments.results, RANDOM, seed)
            if run is None:
                sys.exit(f"seed {seed}: no random full runs in {arguments.results}")
            tell_sweep(run, arguments.orders, arguments.one_of, seed)
        return
    all_epochs: dict[str, list[np.ndarray]] = {name: [] for name in TITLES}
    all_seconds: dict[str, list[np.ndarray]] = {name: [] for name in TITLES}
    print(f"{'until the reference, median':<34}  seed   epochs   seconds       quartiles  x ours  goal")
    for seed in arguments.seeds:
        named = measured(arguments.results, seed)
        epochs, seconds = replay(named, arguments.orders, arguments.one_of, seed, arguments.train_images)
        tell(str(seed), epochs, seconds)
        for name in TITLES:
            all_epochs[name].append(epochs[name])
            all_seconds[name].append(seconds[name])
    joined = [{name: np.concatenate(parts) for name, parts in each.items()} for each in (all_epochs, all_seconds)]
    tell("all", *joined)


if __name__ == "__main__":
    main()

"""Does an early epoch say what a trial will become, and which first rung finds the best student soonest?

    python benchmarks/early_epochs.py --trials 32                            # phantom images, the default budget
    python benchmarks/early_epochs.py --data DIR --trials 32 --max-epochs 15

Configurations drawn at random from the task's own space are all trained to their end, by `runners/tune_kd.py` (the
study stays in --work, and is continued). Then nothing more is trained. First: the rank correlation (Spearman) of a
trial's best so far after an early epoch with its best of all, and whether the best configuration is in that epoch's top
third. Second: searches of these trials in --orders random orders, two at a time, stopped by the project's ASHA with
different first rungs: the best of the trials that ran to their end, once so many epochs were spent; and the same for
short searches, each of --short trials drawn from them. Third: the epochs until one is near the best of all.
"""

import argparse
import pprint
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
from ray.tune.schedulers import TrialScheduler
from scipy.stats import spearmanr

from xlite.commands import cli
from xlite.config import RunConfig, flatten
from xlite.ledger import Ledger, study_storage
from xlite.samplers.sampling import suggestions
from xlite.study.space import load_space
from xlite.tune.asha import EPOCH_KEY, VALUE_KEY, ResumableASHA

ROOT = Path(__file__).resolve().parents[1]
STUDY = "whole_curves"
NUM_PARALLEL = 2
NEAR = 0.98
"""Share of the best, as the reference of search.py."""


def draw_configurations(file: Path, num: int, seed: int) -> list[dict[str, object]]:
    """The space's first configurations, then random ones; a grid's all have the same keys, so defaults fill gaps."""
    space = load_space(file, "multilabel")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn = [suggestions(space.propose, study.ask()) for _ in range(num - len(space.first))]
    all_drawn = [dict(configuration) for configuration in (*space.first, *drawn)]
    keys = dict.fromkeys(key for configuration in all_drawn for key in configuration)
    default = flatten(RunConfig())
    return [{key: configuration.get(key, default[key]) for key in keys} for configuration in all_drawn]


def write_configurations(file: Path, drawn: list[dict[str, object]]) -> None:
    """A space of just these, which a study trains to their end."""
    file.write_text(f'"""Drawn at random."""\n\nCONFIGURATIONS = {pprint.pformat(drawn)}\n')


def train(arguments: argparse.Namespace) -> np.ndarray:
    """(N, E) best so far of every trial after every epoch; one that ended early keeps its best."""
    place = arguments.work / (arguments.data.name if arguments.data else "phantom")
    place.mkdir(parents=True, exist_ok=True)
    space = place / "configurations.py"
    write_configurations(space, draw_configurations(arguments.space, arguments.trials, arguments.seed))
    command = [sys.executable, str(ROOT / "runners" / "tune_kd.py"), "--study", STUDY, "--results", str(place)]
    command += ["--space", str(space), "--max-epochs", str(arguments.max_epochs), "--no-promote"]
    command += ["--seed", str(arguments.seed), *(["--data", str(arguments.data)] if arguments.data else [])]
    subprocess.run(command, check=True, stdout=sys.stderr)
    with Ledger.open(study_storage(place / STUDY), STUDY, create=False) as ledger:
        curves = [row.curve for row in ledger.rows() if row.state == "complete"]
    epochs = range(1, arguments.max_epochs + 1)
    return np.array([[curve.get(epoch, max(curve.values())) for epoch in epochs] for curve in curves])


def replayed(curves: np.ndarray, first_rung: int, order: np.ndarray) -> Iterator[tuple[int, int]]:
    """(row, epoch) of every epoch that a search of these rows trains, as time goes by."""
    max_epochs = curves.shape[1]
    asha = ResumableASHA(max_epochs, first_rung)
    waiting, running = list(order), dict[int, int]()
    while waiting or running:
        while waiting and len(running) < NUM_PARALLEL:
            running[row := waiting.pop(0)] = 0
            asha.on_trial_add(None, SimpleNamespace(trial_id=str(row)))
        for row in list(running):
            running[row] += 1
            yield row, running[row]
            result = {EPOCH_KEY: running[row], VALUE_KEY: curves[row, running[row] - 1]}
            stopped = asha.on_trial_result(None, SimpleNamespace(trial_id=str(row)), result) == TrialScheduler.STOP
            if stopped or running[row] == max_epochs:
                del running[row]


def search(curves: np.ndarray, first_rung: int, order: np.ndarray) -> tuple[np.ndarray, int]:
    """(len(order) * E,) value of the best trial that has ended, by epochs spent, NaN before one has; epochs in all."""
    best, spent, out = np.nan, 0, np.full(len(order) * curves.shape[1], np.nan)
    for row, epoch in replayed(curves, first_rung, order):
        if epoch == curves.shape[1]:
            best = np.fmax(best, curves[row, -1])
        out[spent] = best
        spent += 1
    out[spent:] = best
    return out, spent


def epochs_until(target: float, curves: np.ndarray, first_rung: int, order: np.ndarray) -> float:
    """Epochs spent when a trial first shows `target`; inf where none does."""
    reached = (curves[row, epoch - 1] >= target for row, epoch in replayed(curves, first_rung, order))
    return next((spent for spent, there in enumerate(reached, start=1) if there), np.inf)


def tell_correlations(curves: np.ndarray) -> None:
    """How early epochs order the trials."""
    final = curves[:, -1]
    third = max(1, len(final) // 3)
    columns = ("Spearman with the end", "the best in its best third", "its own best ends as")
    print(f"{'after epoch':<14}" + "".join(f"{name:>30}" for name in columns))
    for epoch in sorted({1, 2, 3, 4, 5, curves.shape[1] // 2}):
        early = curves[:, epoch - 1]
        kept = np.argsort(-early)[:third]
        rank = 1 + int((final > final[early.argmax()]).sum())
        inside = "yes" if final.argmax() in kept else "no"
        print(f"{epoch:<14}{spearmanr(early, final).statistic:>30.2f}{inside:>30}{f'{rank} of {len(final)}':>30}")


def tell_searches(curves: np.ndarray, num_searched: int, arguments: argparse.Namespace) -> None:
    """The best found by epochs spent, for each first rung; the last row stops none."""
    max_epochs = curves.shape[1]
    generator = np.random.default_rng(arguments.seed)
    orders = [generator.permutation(len(curves))[:num_searched] for _ in range(arguments.orders)]
    budgets = [share * num_searched * max_epochs // 100 for share in (25, 40, 60, 100)]
    print(
        f"\n{num_searched} trials, {arguments.orders} orders: mean (± 95%) of the best run to its end, by epochs spent"
    )
    print(f"{'first rung':<14}" + "".join(f"{f'{budget} epochs':>16}" for budget in budgets) + f"{'epochs in all':>16}")
    for rung in [*(r for r in (1, 2, 3, 5) if r < max_epochs), max_epochs]:
        found, spent = zip(*(search(curves, rung, order) for order in orders), strict=True)
        values = [np.array(found)[:, budget - 1] for budget in budgets]
        shown = "".join(f"{np.nanmean(v):>10.4f} ±{1.96 * np.nanstd(v) / len(v) ** 0.5:.3f}" for v in values)
        print(f"{rung if rung < max_epochs else 'none stopped':<14}{shown}{np.mean(spent):>16.0f}")
    best = np.mean([curves[order, -1].max() for order in orders])
    print(f"the best there is, on average: {best:.4f}")


def tell_epochs(curves: np.ndarray, arguments: argparse.Namespace) -> None:
    """How long a search of all of them takes to be near the best, for each first rung."""
    max_epochs, target = curves.shape[1], NEAR * curves.max()
    generator = np.random.default_rng(arguments.seed)
    orders = [generator.permutation(len(curves)) for _ in range(arguments.orders)]
    num_near = int((curves[:, -1] >= target).sum())
    print(f"\nepochs until a trial shows {NEAR:g} x the best; {num_near} of {len(curves)} do, {len(orders)} orders")
    print(f"{'first rung':<14}{'first quarter':>16}{'median':>16}{'last quarter':>16}")
    for rung in [*(r for r in (1, 2, 3, 5) if r < max_epochs), max_epochs]:
        epochs = [epochs_until(target, curves, rung, order) for order in orders]
        cells = np.quantile(epochs, [0.25, 0.5, 0.75], method="inverted_cdf")
        print(f"{rung if rung < max_epochs else 'none stopped':<14}" + "".join(f"{cell:>16.0f}" for cell in cells))


def main(arguments: argparse.Namespace) -> None:
    """Train, then tell."""
    curves = train(arguments)
    print(f"{len(curves)} configurations of {arguments.space.name}, {curves.shape[1]} epochs, seed {arguments.seed}")
    tell_correlations(curves)
    for num_searched in (len(curves), min(arguments.short, len(curves))):
        tell_searches(curves, num_searched, arguments)
    tell_epochs(curves, arguments)


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = cli.parser(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder in NIH's layout (default: phantom images)")
    parser.add_argument("--space", type=Path, default=ROOT / "search_spaces" / "kd_cpu.py")
    parser.add_argument("--trials", type=cli.positive_int, default=32, metavar="N")
    parser.add_argument("--max-epochs", type=cli.positive_int, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", type=cli.positive_int, default=12, metavar="N", help="trials of a short search")
    parser.add_argument("--orders", type=cli.positive_int, default=300, metavar="N")
    parser.add_argument("--work", type=Path, default=ROOT / "data" / "early_epochs", help="studies; kept")
    return parser


if __name__ == "__main__":
    cli.run(main, make_parser())

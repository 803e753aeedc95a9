"""What do samplers find: TPE shown all trials or the best and the latest, and a Gaussian process first?

python benchmarks/sampler_history.py --trials 1000 --seeds 5
python benchmarks/sampler_history.py --trials 30 --seeds 20

Made-up noisy functions of ten parameters, as many as a search space has; regret is the distance of the best trial's
value without noise from the optimum, which is 0.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from xlite.samplers import history, proposals
from xlite.samplers.sampling import Sampling

KINDS = ("a", "b", "c", "d")


def space(trial: optuna.Trial) -> dict[str, Any]:
    """Seven floats, three choices."""
    chosen: dict[str, Any] = {f"x{i}": trial.suggest_float(f"x{i}", -1, 1) for i in range(7)}
    return chosen | {f"c{i}": trial.suggest_categorical(f"c{i}", KINDS) for i in range(3)}


def bowl(chosen: Mapping[str, Any]) -> float:
    """One optimum, parameters of different weight."""
    far = sum((chosen[f"x{i}"] - 0.3) ** 2 / (i + 1) for i in range(7))
    return -far - 0.1 * sum(KINDS.index(chosen[f"c{i}"]) != i for i in range(3))


def valley(chosen: Mapping[str, Any]) -> float:
    """Parameters that must fit each other; many local optima."""
    far = sum(abs(chosen[f"x{i}"] - chosen[f"x{i + 1}"] ** 2 * 0.5) for i in range(6)) + abs(chosen["x6"])
    waves = sum(1 - np.cos(6 * chosen[f"x{i}"]) for i in range(7)) / 20
    return -float(far / 6 + waves) - 0.1 * (chosen["c0"] != chosen["c1"])


def regret(score: Callable[[Mapping[str, Any]], float], num_trials: int, seed: int) -> float:
    """Of a search told `score` with noise."""
    noise = np.random.default_rng(seed)
    sampling = Sampling([], seed=seed)
    told: list[tuple[float, float]] = []
    for _ in range(num_trials):
        trial, _ = sampling.start()
        value = score(space(trial))
        told.append((value + float(noise.normal(0, 0.005)), value))
        sampling.finish(trial.number, TrialState.COMPLETE, told[-1][0])
    return -max(told)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    some, modelled = history.NUM_LATEST, proposals.MAX_GP_TRIALS
    shown = {
        "TPE, all": (0, arguments.trials),
        f"TPE, {history.NUM_BEST} best, {some} latest": (0, some),
        f"Gaussian process to {modelled}": (modelled, some),
    }
    print(f"regret after {arguments.trials} trials, mean of {arguments.seeds} seeds (standard error), CPU s a search")
    for score in (bowl, valley):
        found: dict[str, list[float]] = {name: [] for name in shown}
        for name, (proposals.MAX_GP_TRIALS, history.NUM_LATEST) in shown.items():
            started = time.process_time()
            for seed in range(arguments.seeds):
                found[name].append(regret(score, arguments.trials, seed))
            seconds = (time.process_time() - started) / arguments.seeds
            error = statistics.stdev(found[name]) / len(found[name]) ** 0.5 if arguments.seeds > 1 else float("nan")
            print(
                f"{score.__name__:<8} {name:<26} {statistics.mean(found[name]):.4f} ({error:.4f}) {seconds:6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()

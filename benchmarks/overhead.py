"""What the driver itself costs a trial when nothing is trained, at several lengths of a study.

python benchmarks/overhead.py --trials 100 1000 5000 [--parts ledger driver continue] [--storage URL]

ledger: ask, report each epoch, finish, without Ray; and the leaderboard, which a search writes in at most a fiftieth of
its time (xlite/tune/view.py). driver: the whole search with Ray, ASHA and the leaderboard, on trials that return at
once. continue: opening a study that has so many trials, filling ASHA's rungs, and the first ask.
"""

import argparse
import io
import random
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xlite.ledger import Ledger, TrialResult, sqlite_url
from xlite.report.leaderboard import leaderboard_of, write_leaderboard
from xlite.study.rungs import first_rung
from xlite.study.space import load_space
from xlite.train.summary import RunSummary
from xlite.tune.asha import ResumableASHA

SPACE = Path(__file__).resolve().parents[1] / "search_spaces" / "kd_cpu.py"
GOAL_S, GOAL_GROWTH, GOAL_CONTINUE_S = 0.25, 1.3, 10.0
"""Seconds of a trial; of a trial at 1,000 against 100; of continuing 1,000 trials beyond a fresh start."""
RESULT = TrialResult(summary=RunSummary(metrics={"auc_macro": 0.7}, epochs=15, seconds=12.5))


def value_of(number: int) -> float:
    """A trial's made-up score."""
    return 0.5 + 0.3 * random.Random(number).random()


def ledger_part(url: str, num_trials: int, epochs: int) -> float:
    """Run `num_trials` without Ray, print milliseconds a trial; returns seconds a trial, the leaderboard aside."""
    propose = load_space(SPACE, "multilabel").propose
    spent: dict[str, list[float]] = {"ask": [], "report": [], "finish": []}
    cpu_s = -time.process_time()
    with Ledger.open(url, "overhead", create=True) as ledger:
        for number in range(num_trials):
            times = [time.perf_counter()]
            ledger.ask(propose)
            times.append(time.perf_counter())
            for epoch in range(1, epochs + 1):
                ledger.report(number, epoch, value_of(number))
            times.append(time.perf_counter())
            ledger.finish(number, "complete", value=value_of(number), result=RESULT)
            times.append(time.perf_counter())
            for name, began, ended in zip(spent, times, times[1:], strict=False):
                spent[name].append(ended - began)
        cpu_s += time.process_time()
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            write_leaderboard(Path(folder) / "leaderboard.csv", leaderboard_of(ledger))
        leaderboard_s = time.perf_counter() - began
    tail = max(1, num_trials // 10)
    for name, values in spent.items():
        mean, last = statistics.mean(values), statistics.mean(values[-tail:])
        print(f"  {name:<8} {1e3 * mean:8.1f} ms, last tenth {1e3 * last:.1f}")
    total = sum(map(sum, spent.values())) / num_trials
    last = sum(sum(values[-tail:]) for values in spent.values()) / tail
    print(f"  in all   {1e3 * total:8.1f} ms, last tenth {1e3 * last:.1f}; one leaderboard {1e3 * leaderboard_s:.0f}")
    print(f"  of which {1e3 * cpu_s / num_trials:8.1f} ms CPU (the rest waits for the disk, or for a busy machine)")
    return total


def driver_part(url: str, num_trials: int, epochs: int) -> float:
    """Run a search of trials that train nothing, Ray's start left out; returns seconds a trial."""
    from ray import tune
    from rich.console import Console as RichConsole

    from xlite.config import RunConfig
    from xlite.console import Console
    from xlite.models.limits import Cost
    from xlite.study.candidates import Candidate
    from xlite.study.job import TrialFolders
    from xlite.study.options import StudyOptions
    from xlite.study.shares import Shares
    from xlite.study.view import Pace, SearchView
    from xlite.tune import execute
    from xlite.tune.cluster import ray_running
    from xlite.tune.messages import EpochDone, as_result
    from xlite.tune.search import LedgerSearch

    class NoTraining(tune.Trainable):
        """The results of a trial, without one."""

        def setup(self, config: dict[str, Any], job: object = None) -> None:
            self.number, self.epoch = config["assignment"].number, 0

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.number, self.epoch = new_config["assignment"].number, 0
            return True

        def step(self) -> dict[str, Any]:
            self.epoch += 1
            value = 0.5 + 0.3 * random.Random(self.number).random()
            summary = RunSummary(epochs=self.epoch, curve=(value,) * self.epoch, best_epoch=1)
            return as_result(EpochDone(summary, finished=self.epoch == epochs))

    cost, config = Cost(1_000_000, 4.0, 2.0), RunConfig()
    candidates = SimpleNamespace(
        space=load_space(SPACE, "multilabel"),
        identity=repr,
        resolve=lambda overrides: Candidate(overrides, config, cost, 0.0),
    )
    shares = Shares(num_cpus=2, num_gpus=0, cpus_per_trial=1, gpus_per_trial=0.0, max_concurrent=2)
    with tempfile.TemporaryDirectory() as folder, Ledger.open(url, "overhead", create=True) as ledger:
        options = StudyOptions(
            name="overhead", folder=Path(folder), storage=url, task="chestxray14", space=SPACE, num_trials=num_trials,
            max_epochs=epochs, promote_epochs=epochs, teacher_epochs=1, seed=0, cache_dir=Path(folder), settings={},
        )  # fmt: skip
        view = SearchView(
            Console(RichConsole(file=io.StringIO(), soft_wrap=True)), Pace(num_trials, 0, epochs, 5),
            metric="auc_macro",
            write_leaderboard=lambda: write_leaderboard(Path(folder) / "leaderboard.csv", leaderboard_of(ledger)),
        )  # fmt: skip
        asha = ResumableASHA(epochs, first_rung(epochs, 0, 10_000))
        folders = TrialFolders(Path(folder))
        search = LedgerSearch(ledger, candidates, folders, asha, view, num_trials=num_trials)  # type: ignore[arg-type]
        trained, execute.DistillationTrial = execute.DistillationTrial, NoTraining  # type: ignore[misc, assignment]
        try:
            with ray_running(shares, None, Path(folder)):
                began = time.perf_counter()
                job = SimpleNamespace(sharing=None)
                execute.run_trials(job, search, asha, shares=shares, options=options)  # type: ignore[arg-type]
                return (time.perf_counter() - began) / num_trials
        finally:
            execute.DistillationTrial = trained  # type: ignore[misc]


def continue_part(url: str, num_trials: int, epochs: int) -> float:
    """Seconds until the first ask of a study that has trials is answered."""
    propose = load_space(SPACE, "multilabel").propose
    began = time.perf_counter()
    with Ledger.open(url, "overhead", create=True) as ledger:
        ledger.queue([])
        ledger.unfinished()
        ended = [row for row in ledger.rows() if row.state in ("complete", "pruned")]
        ResumableASHA(epochs, first_rung(epochs, 0, 10_000)).replay({row.number: row.curve for row in ended})
        ledger.ask(propose)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--parts", nargs="+", default=["ledger", "driver", "continue"])
    parser.add_argument("--storage", help="an empty database's URL, for one number of trials (default: SQLite files)")
    arguments = parser.parse_args()
    seconds: dict[str, dict[int, float]] = {"ledger": {}, "driver": {}}
    with tempfile.TemporaryDirectory() as folder:
        for num_trials in arguments.trials:
            url = arguments.storage or sqlite_url(Path(folder) / f"ledger{num_trials}.db")
            if "ledger" in arguments.parts:
                print(f"ledger, {num_trials} trials of {arguments.epochs} epochs:")
                seconds["ledger"][num_trials] = ledger_part(url, num_trials, arguments.epochs)
            if {"ledger", "continue"} <= set(arguments.parts):
                fresh = continue_part(sqlite_url(Path(folder) / f"fresh{num_trials}.db"), num_trials, arguments.epochs)
                spent = continue_part(url, num_trials, arguments.epochs)
                goal = f" (goal <= {GOAL_CONTINUE_S:g} s beyond at 1000)"
                print(
                    f"continue {num_trials} trials: {spent:.2f} s to the first ask, a fresh start {fresh:.2f} s{goal}"
                )
            if "driver" in arguments.parts:
                url = sqlite_url(Path(folder) / f"driver{num_trials}.db")
                seconds["driver"][num_trials] = driver_part(url, num_trials, arguments.epochs)
                print(
                    f"driver, {num_trials} trials: {seconds['driver'][num_trials]:.3f} s a trial (goal <= {GOAL_S:g})"
                )
    for part, of in seconds.items():
        if 100 in of and 1000 in of:
            print(f"{part}: a trial of 1000 costs {of[1000] / of[100]:.2f} x one of 100 (goal <= {GOAL_GROWTH:g})")


if __name__ == "__main__":
    main()

"""What the driver itself costs a trial: ask, report each epoch, finish, leaderboard, with nothing trained.

python benchmarks/overhead.py --trials 100
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from xlite.leaderboard import leaderboard_of, write_leaderboard
from xlite.ledger import Ledger, sqlite_url
from xlite.tune.space import load_space

SPACE = Path(__file__).resolve().parents[1] / "search_spaces" / "kd_cpu.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=15)
    arguments = parser.parse_args()
    space = load_space(SPACE, "multilabel")
    seconds: dict[str, list[float]] = {"ask": [], "report": [], "finish": [], "leaderboard": []}
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(sqlite_url(Path(folder) / "study.db"), "overhead", create=True, num_startup=10)
        for number in range(arguments.trials):
            started = time.perf_counter()
            ledger.ask(space.propose)
            asked = time.perf_counter()
            for epoch in range(1, arguments.epochs + 1):
                ledger.report(number, epoch, 0.5 + 0.01 * epoch)
            reported = time.perf_counter()
            ledger.finish(number, "complete", value=0.7, record={"metrics": {"auc_macro": 0.7}})
            finished = time.perf_counter()
            write_leaderboard(Path(folder) / "leaderboard.csv", leaderboard_of(ledger))
            written = time.perf_counter()
            for name, spent in zip(
                seconds, (asked - started, reported - asked, finished - reported, written - finished), strict=True
            ):
                seconds[name].append(spent)
        ledger.close()
    print(f"{arguments.trials} trials of {arguments.epochs} epochs, median and last tenth, ms a trial")
    for name, values in seconds.items():
        tail = values[-max(1, len(values) // 10) :]
        print(f"{name:<12} {1e3 * statistics.median(values):8.1f} {1e3 * statistics.median(tail):8.1f}")
    print(f"{'in all':<12} {1e3 * sum(map(sum, seconds.values())) / arguments.trials:8.1f} (mean)")


if __name__ == "__main__":
    main()

"""The main job from raw images to the promoted student: minutes, and what the winners reach, over several seeds.

    python benchmarks/main_job.py --data DIR --seeds 1 2 3 --trials 16 --max-epochs 15
    python benchmarks/main_job.py --seeds 42            # the built-in phantom images, default budget

Each seed is a fresh run in a process of its own, with an empty cache; the seed draws split, sampler and training.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNNER = Path(__file__).resolve().parents[1] / "runners" / "tune_kd.py"


def one_run(seed: int, options: list[str], folder: Path) -> dict[str, float]:
    """Run tune_kd once; minutes and validation and test macro AUC."""
    places = ["--results", str(folder / "results"), "--cache-dir", str(folder / "cache")]
    started = time.perf_counter()
    subprocess.run([sys.executable, str(RUNNER), "--study", "s", "--seed", str(seed), *places, *options], check=True)
    minutes = (time.perf_counter() - started) / 60
    with (folder / "results" / "s" / "leaderboard.csv").open() as file:
        winner = next(row for row in csv.DictReader(file) if row["rank"] == "1")
    metrics = json.loads((folder / "results" / "s" / "promoted" / "metrics.json").read_text())
    return {
        "seed": seed,
        "minutes": minutes,
        "winner val": float(winner["value"]),
        "promoted val": metrics["validation"]["metrics"]["auc_macro"],
        "promoted test": metrics["test"]["metrics"]["auc_macro"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments, options = parser.parse_known_args()
    rows = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(one_run(seed, options, Path(folder)))
    print("  ".join(f"{name:>13}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{value:13.4g}" for value in row.values()))
    print(
        "  ".join(f"{'mean':>13}" if n == "seed" else f"{statistics.mean(r[n] for r in rows):13.4g}" for n in rows[0])
    )


if __name__ == "__main__":
    main()

"""Whole searches side by side: seconds until each has found a student of the reference AUC, all curves kept.

    python benchmarks/search.py --seeds 1 2 3          # everything, an hour or two a seed; keep the two cores quiet
    python benchmarks/search.py --only b --seeds 2     # one search again
    python benchmarks/search.py --tell --profile       # tables and picture of what was measured before
    python benchmarks/search.py --check --seeds 1 2 3  # one configuration in all four: do they learn alike?

Ours is `runners/tune_kd.py --no-promote`; (a), (b) and (c) are the scripts in `benchmarks/peers/`. All get the same
images (3,600 phantoms, of which about 2,500 to train on), split, teacher file, space (its BASELINE is everybody's first
trial), seed and epochs, two CPU cores without a GPU, and more trials to run than they come to. The reference AUC of a
seed is fixed before any search: what one in 16 of 32 configurations reaches that were drawn at random from the space
and trained to their end (--random-runs, --one-of), so about what (a) needs as many trials for. A search is ended once
it is there; a peer also when ours was faster by a tenth more than the goal, and it counts with that time then, as a
bound. Outside the clock, for everybody: preprocessing the images (the peers' PNG files are written from our pixel
cache), the random runs, and training the teacher, a ResNet-18 as in kd_cost.py. Inside ours: all else, its survey of
the space and the teacher bank too. The runs of a seed follow each other, ours first, the peers in an order that changes
from seed to seed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from search_curves import (  # noqa: E402
    GOALS,
    ONE_OF,
    OURS,
    RANDOM,
    TITLES,
    Point,
    Run,
    draw,
    points_of_reports,
    points_of_study,
    read_run,
    reference_auc,
    tell,
    tell_profile,
    time_to_reach,
)

SCRIPTS = {"a": "runs_one_by_one.py", "b": "plain_optuna.py", "c": "ray_tune.py"}
OURS_S = 600.0
"""Seconds ours is watched for at most."""
MARGIN = 1.1
"""A peer is watched for its goal times as long as ours took, and a tenth."""
NUM_CORES = 2
POLL_S = 10.0
"""How often a run is looked at; ours by reading all its events, 0.25 s for 80 trials on the cores it runs on."""
RANDOM_SEED = 1000
"""Added to a seed for its random runs: no search draws the same ones."""
NUM_IMAGES, IMAGE_PX = 3600, 256
"""Phantoms; enough to judge by: of 1,000, 150 are validation, and an AUC moves by 0.01 to 0.03 by luck."""
QUICK_IMAGES, QUICK_PX = 200, 64
TIMEOUT_S = 20.0  # for a process that was asked to end
CHECK_SPACE = '''"""One configuration: the BASELINE of {file}."""

BASELINE = {baseline!r}


def space(trial):
    return {{key: trial.suggest_categorical(key, [value]) for key, value in BASELINE.items()}}
'''


def prepare(arguments: argparse.Namespace, seed: int) -> Path:
    """A seed's folder: pixel cache, split, teacher, and the same pixels as PNG files; kept for the next time."""
    import cv2
    import numpy as np

    from xlite.config import flatten
    from xlite.console import SilentConsole
    from xlite.tasks import find_task
    from xlite.tasks.defaults import base_config
    from xlite.tasks.prepare import DataRequest
    from xlite.tasks.prepare import prepare as prepare_data

    folder = arguments.work / f"{arguments.data.name}-{arguments.teacher}-{arguments.epochs}-seed{seed}"
    if (folder / "base.json").exists():
        return folder
    task = find_task("chestxray14")
    base = base_config(task, "cpu", max_epochs=arguments.epochs, seed=seed, threads=1, settings={})
    request = DataRequest(arguments.data, base.data, split=None, seed=seed, subset="1.0", cache_dir=folder / "cache")
    dataset = prepare_data(task, request, SilentConsole()).search
    images = folder / "images"
    images.mkdir(exist_ok=True)
    pixels = dataset.open_pixels()
    part = np.full(len(dataset.ids), "test", dtype="<U5")
    for name in ("train", "val"):
        part[dataset.part(name)] = name
    names = np.array([f"{row:06d}.png" for row in range(len(part))])
    for at in np.flatnonzero(part != "test"):
        cv2.imwrite(str(images / names[at]), pixels[dataset.rows[at]])
    np.savez(folder / "table.npz", name=names, part=part, targets=dataset.targets, labels=np.array(dataset.labels))
    teacher = [sys.executable, str(ROOT / "runners" / "train_teacher.py"), "--seed", str(seed)]
    teacher += ["--data", str(arguments.data), "--backbone", arguments.teacher]
    teacher += ["--cache-dir", str(folder / "cache"), "--out", str(folder / "teacher")]
    teacher += ["--epochs", "2"] if arguments.quick else []
    subprocess.run(teacher, check=True, env=environment())
    (folder / "base.json").write_text(json.dumps(flatten(base)))
    return folder


def environment() -> dict[str, str]:
    """Everybody's: no GPU, threads as each program sets them."""
    left_out = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {k: v for k, v in os.environ.items() if k not in left_out} | {"CUDA_VISIBLE_DEVICES": ""}


def our_command(arguments: argparse.Namespace, folder: Path, seed: int, cache: Path) -> list[str]:
    """What our search and the random runs have in common."""
    command = [str(ROOT / "runners" / "tune_kd.py"), "--no-promote", "--seed", str(seed)]
    command += ["--data", str(arguments.data), "--cache-dir", str(cache)]
    command += ["--max-epochs", str(arguments.epochs), "--subset", "1.0"]
    return [*command, "--teacher", str(folder / "teacher" / "teacher.safetensors")]


def run_random(arguments: argparse.Namespace, folder: Path, seed: int) -> Run:
    """Configurations drawn at random, all trained to their end; in a cache of their own, our search starts afresh."""
    from early_epochs import draw_configurations, write_configurations

    space, results = folder / "random_configurations.py", folder / "random"
    shutil.rmtree(results, ignore_errors=True)
    write_configurations(space, draw_configurations(arguments.space, 1 + arguments.random_runs, RANDOM_SEED + seed)[1:])
    command = [*our_command(arguments, folder, seed, results / "cache"), "--study", RANDOM, "--results", str(results)]
    load, study = os.getloadavg()[0], results / RANDOM
    started, seconds, ended = run_process([*command, "--space", str(space)], folder / "random.log")
    return Run(RANDOM, seed, seconds, ended, *points_of_study(study, started), [], load)


def run_ours(arguments: argparse.Namespace, folder: Path, seed: int, aim: float) -> Run:
    """The whole command, with nothing there but what everybody has."""
    results, log = folder / "results", folder / "ours.log"
    for stale in (results, folder / "cache" / "banks"):
        shutil.rmtree(stale, ignore_errors=True)
    command = [*our_command(arguments, folder, seed, folder / "cache"), "--study", OURS, "--results", str(results)]
    command += ["--space", str(arguments.space), "--trials", str(arguments.trials)]
    watch = Watch(lambda started: points_of_study(results / OURS, started)[0], aim, arguments.budget.get(OURS, OURS_S))
    load, (started, seconds, ended) = os.getloadavg()[0], run_process(command, log, watch)
    points, kinds = points_of_study(results / OURS, started)
    notes = [line for line in log.read_text().splitlines() if line.startswith(("Asking", "Timing"))]
    return Run(OURS, seed, seconds, ended, within(points, seconds), kinds, notes, load)


def run_peer(arguments: argparse.Namespace, folder: Path, seed: int, name: str, aim: float) -> Run:
    """One of `peers/`."""
    place = folder / f"peer-{name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    reports = place / "reports.jsonl"
    command = [str(ROOT / "benchmarks" / "peers" / SCRIPTS[name]), "--data", str(folder), "--seed", str(seed)]
    command += ["--teacher", str(folder / "teacher" / "teacher.safetensors"), "--space", str(arguments.space)]
    command += ["--trials", str(arguments.trials), "--epochs", str(arguments.epochs), "--reports", str(reports)]
    limit_s = peer_limit_s(arguments, seed, name, aim)
    watch = Watch(lambda started: points_of_reports(reports, started)[0], aim, limit_s)
    load, (started, seconds, ended) = os.getloadavg()[0], run_process(command, place / "log.txt", watch)
    points, kinds = points_of_reports(reports, started)
    return Run(name, seed, seconds, ended, within(points, seconds), kinds, [], load)


def peer_limit_s(arguments: argparse.Namespace, seed: int, name: str, aim: float) -> float | None:
    """How long a peer is watched at most: ours' time where that did not get there; None to its end.

    Raises:
        SystemExit: that depends on ours, which was not run.
    """
    if name in arguments.budget:
        return arguments.budget[name]
    ours = read_run(arguments.results, OURS, seed)
    if ours is None:
        sys.exit(
            f"seed {seed}: how long ({name}) is watched depends on ours; run that first, or give --budget {name}=S"
        )
    took = time_to_reach(ours, aim)
    return took.value if took.is_bound else MARGIN * GOALS[name] * took.value


def within(points: list[Point], limit_s: float) -> list[Point]:
    """What was told in time."""
    return [point for point in points if point[0] <= limit_s]


@dataclass(frozen=True)
class Watch:
    """When a run is ended: at `aim`, or after `limit_s` seconds.

    Attributes:
        points: those of the run so far, given the time of day of its start.
    """

    points: Callable[[float], list[Point]]
    aim: float
    limit_s: float | None

    def is_over(self, started: float) -> bool:
        """Whether that is now."""
        late = self.limit_s is not None and time.time() - started >= self.limit_s
        return late or any(value >= self.aim for *_, value in self.points(started))


def run_process(command: list[str], log: Path, watch: Watch | None = None) -> tuple[float, float, bool]:
    """Run a script, its output in `log`; (time of day of the start, seconds, whether it ended by itself).

    Raises:
        SystemExit: it failed.
    """
    with log.open("w") as output:
        started, clock = time.time(), time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command],
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if watch is not None and watch.is_over(started):
                    seconds = time.perf_counter() - clock
                    end(process)
                    return started, seconds, False
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
        except BaseException:
            end(process)
            raise
    seconds = time.perf_counter() - clock
    if process.returncode:
        sys.exit(f"{command[0]} ended with {process.returncode}; see {log}")
    return started, seconds, True


def end(process: subprocess.Popen) -> None:
    """Ask a process to end, then end what is left of its group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def measure(arguments: argparse.Namespace, seed: int, turn: int) -> None:
    """All runs of one seed, kept as they end; random runs kept before are not made again."""
    folder = prepare(arguments, seed)
    if arguments.random_runs and read_run(arguments.results, RANDOM, seed) is None:
        run_random(arguments, folder, seed).write(arguments.results)
    random = read_run(arguments.results, RANDOM, seed)
    aim = reference_auc({} if random is None else {RANDOM: random}, arguments.one_of)
    print(f"seed {seed}: reference {aim:.4f}", flush=True)
    peers = [name for name in GOALS if name in arguments.only]
    peers = peers[turn % max(1, len(peers)) :] + peers[: turn % max(1, len(peers))]
    for name in [OURS] * (OURS in arguments.only) + peers:
        how = (arguments, folder, seed)
        run = run_ours(*how, aim) if name == OURS else run_peer(*how, name, aim)
        run.write(arguments.results)
        whole = f"{run.seconds:.0f} s" if run.ended else f"ended after {run.seconds:.0f} s"
        print(f"seed {seed}: {TITLES[name]}: {whole}, best {run.best:.4f}", flush=True)


def tell_check(arguments: argparse.Namespace, runs: dict[int, dict[str, Run]]) -> str:
    """Last and best AUC of the one configuration, by search, mean over the seeds."""
    lines = [f"{'one configuration':<34}{'last':>8}{'best':>8}   best, seed by seed"]
    for name, title in TITLES.items():
        mine = [named[name] for named in runs.values() if name in named]
        if mine:
            last = sum(run.points[-1][3] for run in mine) / len(mine)
            best = sum(run.best for run in mine) / len(mine)
            lines.append(f"{title:<34}{last:>8.4f}{best:>8.4f}   " + " ".join(f"{run.best:.4f}" for run in mine))
    return "\n".join(lines)


def budget(text: str) -> tuple[str, float]:
    """NAME=SECONDS."""
    name, _, seconds = text.partition("=")
    if name not in TITLES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(TITLES)}")
    return name, float(seconds)


def parse_arguments() -> argparse.Namespace:
    """Options, with what --quick and --check change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="*", choices=TITLES, default=list(TITLES), help="run these (default: all; none: random runs)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder in NIH's layout (default: phantoms)")
    parser.add_argument("--space", type=Path, default=ROOT / "search_spaces" / "kd_cpu.py")
    parser.add_argument("--teacher", default="resnet18", metavar="BACKBONE")
    parser.add_argument("--random-runs", type=int, default=32, metavar="N", help="full runs that give the reference")
    parser.add_argument("--one-of", type=int, default=ONE_OF, metavar="N", help="so many of them have one that has it")
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--budget", type=budget, nargs="+", default=[], metavar="NAME=S", help="seconds of a search")
    parser.add_argument("--work", type=Path, default=ROOT / "data" / "search_benchmark", help="data and logs; kept")
    parser.add_argument("--results", type=Path, help="curves (default: benchmarks/results/search)")
    parser.add_argument(
        "--quick", action="store_true", help="200 images, 3 trials of 2 epochs; the curves stay in --work"
    )
    parser.add_argument("--check", action="store_true", help="the BASELINE alone, in all")
    parser.add_argument("--tell", action="store_true", help="run nothing")
    parser.add_argument("--profile", action="store_true", help="say where the time went")
    arguments = parser.parse_args()
    arguments.budget = dict(arguments.budget)
    arguments.work, arguments.space = arguments.work.resolve(), arguments.space.resolve()
    if arguments.quick:
        arguments.trials, arguments.epochs, arguments.random_runs = 3, 2, 3
    kept = "check" if arguments.check else "quick" if arguments.quick else None
    default = arguments.work / kept if kept else ROOT / "benchmarks" / "results" / "search"
    arguments.results = (arguments.results or default).resolve()
    return arguments


def data_of(arguments: argparse.Namespace) -> Path:
    """The folder given, or phantoms, written unless they are there."""
    if arguments.data is not None and not arguments.quick:
        return arguments.data.resolve()
    from xlite.data.phantom.chest_dataset import phantom_folder, write_phantom

    root = arguments.work if arguments.quick else ROOT / "data" / "phantom"
    num_images, image_px = (QUICK_IMAGES, QUICK_PX) if arguments.quick else (NUM_IMAGES, IMAGE_PX)
    place = phantom_folder(root, num_images=num_images, image_px=image_px)
    write_phantom(place, num_images=num_images, image_px=image_px)
    return place


def main() -> None:
    arguments = parse_arguments()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:NUM_CORES])
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.check:
        arguments.budget, arguments.random_runs = dict.fromkeys(TITLES), 0
        import runpy

        baseline = runpy.run_path(str(arguments.space))["BASELINE"]
        text = CHECK_SPACE.format(file=arguments.space.name, baseline=baseline)
        arguments.space, arguments.trials = arguments.work / "one_configuration.py", 1
        arguments.space.write_text(text)
    if not arguments.tell:
        arguments.data = data_of(arguments)
        for turn, seed in enumerate(arguments.seeds):
            measure(arguments, seed, turn)
    runs = {}
    for seed in arguments.seeds:
        named = {name: read_run(arguments.results, name, seed) for name in (RANDOM, *TITLES)}
        runs[seed] = {name: run for name, run in named.items() if run is not None}
    runs = {seed: named for seed, named in runs.items() if named}
    if not runs:
        sys.exit(f"{arguments.results}: nothing measured for these seeds")
    tables = [tell_check(arguments, runs)] if arguments.check else [tell(runs, arguments.one_of)]
    print("\n\n".join([*tables, *([tell_profile(runs)] if arguments.profile else [])]))
    draw(runs, arguments.results / "curves.png", arguments.one_of)
    print(f"\nCurves: {arguments.results / 'curves.png'}")


if __name__ == "__main__":
    main()

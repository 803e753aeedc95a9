"""What a SIGKILL of the driver leaves of a plain Ray Tune + Optuna study, restored as Ray's documentation shows.

    python benchmarks/plain_tune_faults.py --rounds 3

A toy trainable that checkpoints every epoch: 12 trials of 10 epochs, 0.1 s each, two at a time; OptunaSearch on SQLite
or in memory; ASHA. The driver is killed once half of the trials have begun, then restored with `Tuner.restore`
(https://docs.ray.io/en/latest/tune/tutorials/tune-fault-tolerance.html). The same fault for this project's own studies:
`python tests/faults/rounds.py`.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
NUM_TRIALS, NUM_EPOCHS, EPOCH_S = 12, 10, 0.1
LIMIT_S = 600


def train(config: dict[str, float]) -> None:
    """A toy trial: goes on from its checkpoint, leaves a line for each epoch it trains."""
    from ray import tune

    start = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            start = int((Path(folder) / "epoch").read_text())
    for epoch in range(start + 1, NUM_EPOCHS + 1):
        time.sleep(EPOCH_S)
        with (Path(os.environ["TOY_EPOCHS"]) / tune.get_context().get_trial_id()).open("a") as file:
            file.write(f"{epoch}\n")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "epoch").write_text(str(epoch))
            value = -((config["x"] - 0.3) ** 2) + 0.01 * epoch
            tune.report({"value": value, "epoch": epoch}, checkpoint=tune.Checkpoint.from_directory(folder))


def _space(trial: Any) -> None:
    """Optuna's define-by-run form, as OptunaSearch takes it."""
    trial.suggest_float("x", 0.0, 1.0)


def search(folder: Path, storage: str, *, restore: bool) -> None:
    """One driver: begins the experiment, or restores it."""
    import optuna
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    if restore:
        tuner = tune.Tuner.restore(
            str(folder / "experiment"), trainable=train, resume_unfinished=True, restart_errored=True
        )
    else:
        database = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}") if storage == "sqlite" else None
        sampler = OptunaSearch(
            _space,
            metric="value",
            mode="max",
            storage=database,
            study_name="toy" if database else None,
        )
        scheduler = ASHAScheduler(time_attr="epoch", metric="value", mode="max", max_t=NUM_EPOCHS, grace_period=3)
        tuner = tune.Tuner(
            train,
            tune_config=tune.TuneConfig(
                search_alg=sampler, scheduler=scheduler, num_samples=NUM_TRIALS, max_concurrent_trials=2
            ),
            run_config=tune.RunConfig(name="experiment", storage_path=str(folder), verbose=0),
        )
    results = tuner.fit()
    ended = sum(result.error is None and result.metrics is not None and "value" in result.metrics for result in results)
    print(f"ENDED {ended} OF {len(results)}", flush=True)


def driver(folder: Path, storage: str, *, restore: bool) -> subprocess.Popen[str]:
    """`search` as a process of its own."""
    words = [
        sys.executable,
        __file__,
        "--driver",
        str(folder),
        "--storage",
        storage,
        *(["--restore"] if restore else []),
    ]
    environment = {**os.environ, "TOY_EPOCHS": str(folder / "epochs")}
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def kill_round(storage: str) -> str:
    """Begin, kill the driver when half of the trials have begun, restore; what is left, in one line."""
    folder = Path(tempfile.mkdtemp(prefix="plain-tune-"))
    epochs = folder / "epochs"
    epochs.mkdir()
    first = driver(folder, storage, restore=False)
    try:
        until = time.monotonic() + LIMIT_S
        while len(list(epochs.iterdir())) < NUM_TRIALS // 2 and first.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        time.sleep(10)  # its workers end
        begun = {file.name for file in epochs.iterdir()}
        second = driver(folder, storage, restore=True)
        try:
            code = second.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(second.pid, signal.SIGKILL)
            return f"{storage}: the restored driver did not end in {LIMIT_S} s"
        log = (folder / "log.txt").read_text()
        lines = [line for line in log.splitlines() if line.startswith("ENDED")]
        traces = [line.strip() for line in log.splitlines() if "Error" in line]
        redone = sum(len(lines) - len(set(lines)) for lines in (f.read_text().split() for f in epochs.iterdir()))
        known = _known(folder)
        return (
            f"{storage}: {len(begun)} trials begun before the kill, {len(begun - known)} of them unknown after; "
            f"exit {code}; {lines[-1].lower() if lines else 'nothing ended'}; {redone} epochs trained twice"
            + (f"; last error: {traces[-1][:120]}" if code and traces else "")
        )
    finally:
        if first.poll() is None:
            first.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _known(folder: Path) -> set[str]:
    """Trial ids the restored experiment has."""
    text = "".join(file.read_text() for file in (folder / "experiment").glob("experiment_state-*.json"))
    return {file.name for file in (folder / "epochs").iterdir() if file.name in text}


def main() -> None:
    """Rounds with SQLite and with a study in memory."""
    parser = argparse.ArgumentParser(description="Kill the driver of a plain Ray Tune + Optuna study, and restore it.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--driver", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--storage", default="", help=argparse.SUPPRESS)
    parser.add_argument("--restore", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.driver:
        search(arguments.driver, arguments.storage, restore=arguments.restore)
        return
    for number in range(arguments.rounds):
        for storage in ("sqlite", "memory"):
            print(f"round {number}: {kill_round(storage)}", flush=True)


if __name__ == "__main__":
    main()

"""What a trial's process takes at its peak, and how fast it trains, against the same step in plain PyTorch.

    python benchmarks/trial_memory.py --save

Each run is a process of its own: two epochs on noise, each evaluated and saved. Plain PyTorch trains the same model,
channels last, with AdamW (fused) on resident batches, evaluates in batches of the same size and saves model and
optimiser. Peaks are of the resident set, by what the process did; its imports are in them. "CPU s" is processor time
of the second epoch, evaluation and saving included, which other processes disturb less than images/s. Linux only.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

NUM_EPOCHS = 2
"""The first warms up; speeds are of the second, peaks of both."""
WAYS = {"x-lite": "train_trial", "plain": "train_plainly"}
PROGRAM = """
import argparse, json, sys, trial_memory
print(json.dumps(getattr(trial_memory, sys.argv[1])(argparse.Namespace(**json.loads(sys.argv[2])))))
"""


def main() -> None:
    """Run both ways in turn."""
    from common import Report, interleaved, paired_ratio, parser  # not in the processes that are measured

    options = parser(__doc__, repeats=5)
    options.add_argument("--backbone", default="tf_efficientnet_lite0")
    options.add_argument("--px", type=int, default=160)
    options.add_argument("--batch-size", type=int, default=32)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--images", type=int, default=128, help="to train on, and to evaluate")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.backbone, arguments.px, arguments.batch_size = "mobilenetv3_small_050", 32, 8
        arguments.images = 16
    measured: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    runs = {way: partial(run_once, way, arguments, measured[way]) for way in WAYS}
    interleaved(runs, arguments.repeats, warm_up=False)
    report = Report("trial_memory", arguments)
    for way, all_runs in measured.items():
        report.rows.append(
            {"way": way, **{key: statistics.median(run[key] for run in all_runs) for key in all_runs[0]}}
        )
    for key, goal in (("peak MiB", {"at_most": 1.3}), ("images/s", {"at_least": 1.0}), ("CPU s", {})):
        each = ([run[key] for run in measured[way]] for way in WAYS)
        report.ratio(f"{key}, X-Lite / plain", paired_ratio(*each), **goal)
    report.finish()


def run_once(way: str, arguments: argparse.Namespace, measured: list[dict[str, float]]) -> float:
    """Images/s of a fresh process; all that it measured joins `measured`."""
    command = [sys.executable, "-c", PROGRAM, WAYS[way], json.dumps(vars(arguments))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parent)
    measured.append(json.loads(done.stdout.splitlines()[-1]))
    print(way, ", ".join(f"{key} {value:.1f}" for key, value in measured[-1].items()), flush=True)
    return measured[-1]["images/s"]


class Peaks:
    """The process's peak resident set in MiB, apart for each thing that it does."""

    def __init__(self) -> None:
        self.mib = {"start": 0.0, "steps": 0.0, "evaluation": 0.0, "saving": 0.0}
        self.note("start")

    def note(self, doing: str) -> None:
        """What the process has done since the last call."""
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        self.mib[doing] = max(self.mib[doing], peak / 1024)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on what is resident now

    def during(self, doing: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, noted as `doing`; what came before it, as steps."""

        def noted(*args: Any, **kwargs: Any) -> Any:
            self.note("steps")
            out = function(*args, **kwargs)
            self.note(doing)
            return out

        return noted

    def row(self, images_per_s: float, cpu_s: float) -> dict[str, float]:
        """The columns of the table."""
        peaks = {f"{doing} MiB": mib for doing, mib in self.mib.items()}
        return {"peak MiB": max(self.mib.values()), **peaks, "images/s": images_per_s, "CPU s": cpu_s}


def train_trial(arguments: argparse.Namespace) -> dict[str, float]:
    """As `tune.trainable` trains."""
    from memory import make_dataset

    from xlite.config import RunConfig
    from xlite.device import choose_device
    from xlite.tasks.chestxray14 import CHESTXRAY14
    from xlite.train import loop, resumable
    from xlite.train.run import TrainingRun

    values = {
        "model.backbone": arguments.backbone, "model.pretrained": False, "data.image_size": arguments.px,
        "optim.batch_size": arguments.batch_size, "train.threads": arguments.threads, "train.epochs": NUM_EPOCHS,
    }  # fmt: skip
    config = RunConfig().override(values, source="benchmark")
    peaks, speeds, ends = Peaks(), [], [time.process_time()]
    loop.predict_logits = peaks.during("evaluation", loop.predict_logits)
    resumable.Checkpoints.save = peaks.during("saving", resumable.Checkpoints.save)
    with tempfile.TemporaryDirectory() as name:
        dataset = make_dataset(Path(name), 2 * arguments.images, arguments.px)
        train, val = np.split(np.arange(2 * arguments.images), 2)
        dataset = replace(dataset, parts={**dataset.parts, "train": train, "val": val})
        run = TrainingRun(config, CHESTXRAY14, dataset, choose_device("fp32", kind="cpu"))
        epochs = resumable.train_resumable(run, folder=Path(name), stem="s", hyper_parameters={"a": 1})
        for result in resumable.epochs_of(epochs):
            ends.append(time.process_time())
            assert result.report is not None
            speeds.append(result.report.images_per_s)
    return peaks.row(speeds[-1], ends[-1] - ends[-2])


def train_plainly(arguments: argparse.Namespace) -> dict[str, float]:
    """As a script of one's own would."""
    import torch

    from xlite.config import ModelConfig
    from xlite.models.build import build_model

    torch.set_num_threads(arguments.threads)
    size, num_images = arguments.batch_size, arguments.images
    images = torch.randint(0, 256, (2 * num_images, arguments.px, arguments.px), dtype=torch.uint8)
    targets = (torch.rand(num_images, 3) < 0.5).float()
    peaks = Peaks()
    config = ModelConfig(backbone=arguments.backbone, pretrained=False)
    model = build_model(config, num_labels=3, in_channels=1, image_size=arguments.px, seed=0)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(batch: torch.Tensor, wanted: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.binary_cross_entropy_with_logits(model(batch), wanted).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    @torch.inference_mode()
    def evaluate() -> torch.Tensor:
        return torch.cat([model.eval()(batch) for batch in images[num_images:].split(size)])

    evaluate, save = peaks.during("evaluation", evaluate), peaks.during("saving", torch.save)
    with tempfile.TemporaryDirectory() as name:
        for _ in range(NUM_EPOCHS):
            started, cpu_s = time.perf_counter(), time.process_time()
            model.train()
            for start in range(0, num_images - size + 1, size):
                step(images[start : start + size], targets[start : start + size])
            stepped = time.perf_counter() - started
            evaluate()
            save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, Path(name) / "s.pt")
            cpu_s = time.process_time() - cpu_s
    return peaks.row((num_images - num_images % size) / stepped, cpu_s)


if __name__ == "__main__":
    main()

"""What distillation costs a trial: seconds of an epoch with the teacher bank over those of one without.

    python benchmarks/kd_cost.py                 # small student, 64 px, one thread; on a GPU kd.py's student at 224 px
    python benchmarks/kd_cost.py --teachers resnet18 densenet121

Phantoms of the chest task, teachers of random weights. The same student on the same views, an epoch of each way in
turn. Held against the goal is a distilled trial of a study over a plain trial of the same study: both read the bank's
pixels (the plain one's best feeding). The same pair with pixels augmented live stands beside it, and so does what
distillation costs with a live teacher: the teacher's forward pass inside the step.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from common import (
    Report,
    bank_of,
    chest_config,
    chest_data,
    counter,
    device_of,
    enlarged,
    interleaved,
    paired_ratio,
    parser,
    synchronise,
    untrained_teacher,
)

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.device import Device
from xlite.distill.bank import Bank
from xlite.distill.teacher import Teacher
from xlite.distill.teachers.own import OwnModel
from xlite.distill.teachers.resize import resize
from xlite.models.build import call
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.batch_loader import BatchLoader
from xlite.train.loop import EpochReport, fit
from xlite.train.run import TrainingRun
from xlite.train.step import Learner

NUM_VIEWS = 2
PLAIN, KD = "plain", "KD, bank"


@dataclass
class Epochs:
    """Epochs of `fit`: seconds of data and step; those of evaluation are kept beside."""

    reports: Iterator[EpochReport]
    evaluation: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        seconds = next(self.reports).seconds
        self.evaluation.append(seconds["evaluation"])
        return seconds["data"] + seconds["step"]


def live_teacher(config: RunConfig, dataset: Dataset, device: Device, teacher: Teacher) -> Callable[[], float]:
    """Seconds of an epoch whose every step asks the teacher about its batch first."""
    live = TrainingRun(config, TASK, dataset, device, num_views=NUM_VIEWS)
    feed, learner = BatchLoader(live), Learner(live)
    (member,) = teacher.members
    assert isinstance(member, OwnModel)
    model, size = member.model, member.image_size
    epoch = counter()

    def run() -> float:
        plan = feed.plan(epoch())
        learner.prepare(frozen=False, rate=config.optim.learning_rate)
        started = time.perf_counter()
        for batch in feed.batches(plan):
            with torch.no_grad(), device.autocast():
                logits = call(model, resize(batch.images, size, dataset.input_spec), batch.auxiliary).float()
            learner.step(replace(batch, teacher_logits=logits))
        synchronise(device)
        return time.perf_counter() - started

    return run


def ways_of(
    config: RunConfig, dataset: Dataset, device: Device, folder: Path, arguments: argparse.Namespace
) -> dict[str, Callable[[], float]]:
    """The ways to compare, by name."""
    teachers = [untrained_teacher(name, dataset, device) for name in arguments.teachers]
    shared = {"num_views": NUM_VIEWS}
    whole = bank_of(teachers[0], dataset, config, device, folder, pixels=True, **shared)
    logits_only = bank_of(teachers[0], dataset, config, device, folder, pixels=False, **shared)
    alone = config.override({"distill.alpha": 0.0}, source="benchmark")

    def epochs(chosen: RunConfig, bank: Bank | None) -> Epochs:
        return Epochs(fit(TrainingRun(chosen, TASK, dataset, device, bank, NUM_VIEWS)))

    return {
        f"{PLAIN} | bank's pixels": epochs(alone, whole),
        f"{KD} | bank's pixels": epochs(config, whole),
        f"{PLAIN} | augmented live": epochs(alone, None),
        f"{KD} | augmented live": epochs(config, logits_only),
        **{
            f"KD, live {name} | augmented live": live_teacher(config, dataset, device, teacher)
            for name, teacher in zip(arguments.teachers, teachers, strict=True)
        },
    }


def main() -> None:
    options = parser(__doc__, repeats=11)
    options.add_argument("--teachers", nargs="+", default=["resnet18"], metavar="NAME", help="live ones to show")
    arguments = options.parse_args()
    device = device_of(arguments)
    num_images, num_train = (80, None) if arguments.quick else (1000, 4096 if device.on_gpu else None)
    rounds = 2 if arguments.quick else arguments.repeats
    size = 32 if arguments.quick else 224 if device.on_gpu else 64
    budget = {"train__epochs": rounds + 1, "train__patience": rounds + 1, "data__image_size": size}
    config = chest_config("kd.py" if device.on_gpu else "kd_cpu.py", **budget)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        dataset = chest_data(folder, config, num_images=num_images)
        if num_train:
            dataset = enlarged(dataset, num_train, folder / "large")
        ways = ways_of(config, dataset, device, folder, arguments)
        seconds = interleaved(ways, rounds)
    report = Report("kd_cost", arguments)
    student = f"{config.model.backbone} + {config.model.attention}, batch {config.optim.batch_size}"
    report.notes.append(
        f"{student}, {len(dataset.part('train')):,} phantoms at {size} px, on {device.name}, one thread"
    )
    for name, taken in seconds.items():
        step, _, pixels = name.partition(" | ")
        against = seconds[f"{PLAIN} | {pixels}"]
        way = ways[name]
        evaluated = way.evaluation if isinstance(way, Epochs) else []
        report.rows.append(
            {
                "step": step,
                "pixels": pixels,
                "epoch s": statistics.median(taken),
                "evaluation s": statistics.median(evaluated) if evaluated else "",
                "over plain, same pixels": paired_ratio(taken, against),
                "fastest": min(taken),
            }
        )
    for pixels, what in (("bank's pixels", "as in a study: "), ("augmented live", "")):
        ratio = paired_ratio(seconds[f"{KD} | {pixels}"], seconds[f"{PLAIN} | {pixels}"])
        report.ratio(f"KD with the bank / plain, {what}{pixels}", ratio, at_most=1.05)
    for name in arguments.teachers:
        ratio = paired_ratio(seconds[f"KD, live {name} | augmented live"], seconds[f"{PLAIN} | augmented live"])
        report.ratio(f"KD with a live {name} / plain", ratio)
    report.finish()


if __name__ == "__main__":
    main()

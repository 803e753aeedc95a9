"""TensorBoard events of one run; `tensorboard --logdir` shows them within seconds."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from xlite.train.hparams import begin_run, curve_files
from xlite.train.loop import EpochReport

NAME_WAIT_S = 2.0
"""Time limit for a file name that sorts after those of earlier processes."""


class EventWriter:
    """Loss terms, validation metrics, also by label, speed and the best value so far, by epoch.

    Args:
        folder: the run's own folder.
        hyper_parameters: dotted keys, shown in the HParams tab.
        metric: the task's metric; the best value is `best/<metric>`.
        label_metric: `MetricColumns.per_label`, written for each label.
        purge_from: hide events of this epoch and later, left by an interrupted process.
    """

    def __init__(
        self,
        folder: Path,
        hyper_parameters: Mapping[str, Any],
        *,
        metric: str,
        label_metric: str,
        purge_from: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        begin_run(folder, hyper_parameters)
        self.writer = _newest_writer(folder, purge_from)
        self.best_tag, self.label_metric = f"best/{metric}", label_metric

    def add(self, report: EpochReport) -> None:
        """Write one epoch; on disk when this returns."""
        shown = self.label_metric
        scalars = {
            **{f"train/{name}": value for name, value in report.train.items()},
            "train/learning_rate": report.learning_rate,
            "val/loss": report.val_loss,
            **{f"val/{name}": value for name, value in report.val.scalars.items()},
            **{f"val_{shown}/{label}": row[shown] for label, row in report.val.per_label.items() if shown in row},
            **{f"seconds/{name}": value for name, value in report.seconds.items()},
            "speed/images_per_s": report.images_per_s,
            self.best_tag: report.best_value,
        }
        # one event for all: `add_scalar` makes one for each, which takes five times as long
        values = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in scalars.items()]
        self.writer.file_writer.add_summary(Summary(value=values), report.epoch)
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()


def _newest_writer(folder: Path, purge_from: int | None) -> SummaryWriter:
    """A writer whose file TensorBoard reads last.

    TensorBoard reads a run's files in the order of their names: second, host, process, number. Within one second an
    earlier file can sort last (9 after 10), and its epochs would supersede the later ones.
    """
    deadline = time.monotonic() + NAME_WAIT_S
    while True:
        earlier = set(curve_files(folder))
        writer = SummaryWriter(str(folder), purge_step=purge_from)
        (created,) = set(curve_files(folder)) - earlier
        if all(file.name < created.name for file in earlier) or time.monotonic() > deadline:
            return writer
        writer.close()
        created.unlink()
        time.sleep(0.2)

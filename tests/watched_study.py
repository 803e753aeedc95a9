"""A study of trials without training, with TensorBoard runs, columns and a picture; and `xlite watch` of it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
from studies import BATCH, LOSS, RATE, drive, open_study
from torch.utils.tensorboard import SummaryWriter

from xlite.data.example_sheet import png_of
from xlite.ledger import TrialRecord, sqlite_url
from xlite.study.board import update_leaderboard
from xlite.study.job import RUNS, TrialFolders
from xlite.train.hparams import begin_run, write_columns
from xlite.train.pictures import write_pictures

LIMIT_S = 90


def make_study(results: Path, url: str | None = None) -> list[TrialRecord]:
    """The study "s" in `results`, its ledger at `url`; returns its trials.

    Its columns were made from draws in which no trial had loss.focal_gamma, data.sampler or model.attention.
    """
    root = results / "s"
    root.mkdir(parents=True)
    (root / "study.json").write_text('{"name": "s"}')
    drawn = {RATE: [1e-4, 1e-1], BATCH: [16, 64], LOSS: ["bce"]}
    write_columns(root / RUNS, drawn, metric="auc_macro")
    sheet = np.full((80, 120, 3), 40, np.uint8)
    sheet[20:60, 30:90] = (200, 120, 20)
    write_pictures(root / RUNS, {"views/training examples": png_of(sheet)}, "What students see")
    options: Any = SimpleNamespace(folder=root, root=root, phase="search")
    folders = TrialFolders(root)
    with open_study(url or sqlite_url(root / "study.db"), metadata={"metric": "auc_macro"}) as ledger:
        drive(ledger)
        rows = ledger.rows()
        for row in rows:
            run = folders.run(row.number, row.overrides)
            run.mkdir(parents=True)
            begin_run(run, row.overrides)
            with SummaryWriter(str(run)) as writer:
                for epoch, value in row.curve.items():
                    writer.add_scalar("best/auc_macro", value, epoch)
            folders.record_end(row.number, row.overrides, state=row.state, epoch=len(row.curve), scalars={})
        update_leaderboard(ledger, SimpleNamespace(options=options))  # type: ignore[arg-type]
    return rows


@dataclass
class Watched:
    """A running `xlite watch`, its two addresses, and what it printed before."""

    process: subprocess.Popen[str]
    addresses: dict[str, str]
    lines: list[str]

    def below(self) -> list[psutil.Process]:
        """All processes that it started."""
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def watched(results: Path, *options: str, **how: Any) -> Iterator[Watched]:
    """`xlite watch` of the study "s" once it has said both addresses; killed on leaving if it is still there."""
    words = [sys.executable, "-m", "xlite", "watch", "--study", "s", "--results", str(results), *options]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **how}
    how |= {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # a shell's background job ignores it
    with subprocess.Popen(words, text=True, **how) as process:
        try:
            lines, addresses = [], {}
            for line in process.stdout or ():
                lines.append(line)
                if found := re.fullmatch(r"(\S+): (http://127\.0\.0\.1:\d+/\S*)\n", line):
                    addresses[found[1]] = found[2]
                if "Ctrl-C" in line:
                    break
            yield Watched(process, addresses, lines)
        finally:
            process.kill()


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all of them end in time."""
    return not psutil.wait_procs(processes, timeout=20)[1]

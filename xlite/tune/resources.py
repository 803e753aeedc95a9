"""How many trials run at once and what each may use."""

import os
from dataclasses import dataclass

import torch

from xlite.errors import InputError
from xlite.tune.options import StudyOptions

TRIALS_PER_GPU = 4
"""Trials that share a GPU when nothing is said: small students at small batches leave most of it idle."""


@dataclass(frozen=True)
class Shares:
    """What the study uses of the machine.

    Attributes:
        num_cpus, num_gpus: what Ray is started with.
        cpus_per_trial: threads of a trial.
        gpus_per_trial: share of one GPU, or whole GPUs; 0 without one.
        max_concurrent: trials at once.
    """

    num_cpus: int
    num_gpus: int
    cpus_per_trial: int
    gpus_per_trial: float
    max_concurrent: int

    def describe(self) -> str:
        """One line for the person."""
        gpu = f", {self.gpus_per_trial:g} of a GPU" if self.gpus_per_trial else ""
        threads = f"{self.cpus_per_trial} CPU thread{'s' if self.cpus_per_trial > 1 else ''}"
        return f"{self.max_concurrent} trial{'s' if self.max_concurrent > 1 else ''} at once, {threads}{gpu} each"


def available_cpus() -> int:
    """Cores this process may use (containers and batch systems often give fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plan_shares(options: StudyOptions, *, num_cpus: int | None = None, num_gpus: int | None = None) -> Shares:
    """Divide the machine among trials.

    Raises:
        InputError: a trial asks for more than there is.
    """
    cpus = available_cpus() if num_cpus is None else num_cpus
    gpus = torch.cuda.device_count() if num_gpus is None else num_gpus
    if options.cpus_per_trial > cpus:
        raise InputError(f"--cpus-per-trial {options.cpus_per_trial}: this machine has {cpus}")
    by_cpu = cpus // options.cpus_per_trial
    share = options.gpus_per_trial
    if share is None:
        wanted = min(options.max_concurrent or by_cpu, by_cpu)
        share = 1 / min(TRIALS_PER_GPU, -(-wanted // gpus)) if gpus else 0.0
    elif share > gpus:
        raise InputError(f"--gpus-per-trial {share:g}: this machine has {gpus} GPU(s)")
    by_gpu = int(gpus / share + 1e-9) if share else by_cpu
    return Shares(
        cpus, gpus, options.cpus_per_trial, share, max(1, min(options.max_concurrent or by_cpu, by_cpu, by_gpu))
    )

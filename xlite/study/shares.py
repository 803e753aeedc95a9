"""How many trials run at once and what each may use."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from xlite.cores import available_cpus
from xlite.errors import InputError
from xlite.gpu.memory import DeviceMemory
from xlite.gpu.probe import Footprint
from xlite.gpu.share_classes import share_class, shown_share, smallest_class, trials_on_one
from xlite.study.options import StudyOptions


@dataclass(frozen=True)
class Shares:
    """What the study uses of the machine.

    Attributes:
        num_cpus, num_gpus: what Ray is started with.
        cpus_per_trial: threads of a trial.
        gpus_per_trial: share of one GPU, 0 without one; the largest where configurations differ.
        max_concurrent: trials at once, at the smallest share.
        by_footprint: share by `probe.footprint_key`; empty where all trials have the same.
    """

    num_cpus: int
    num_gpus: int
    cpus_per_trial: int
    gpus_per_trial: float
    max_concurrent: int
    by_footprint: Mapping[str, float] = field(default_factory=dict)

    def share_of(self, key: str) -> float:
        """The share of a trial with this footprint key; the largest for one that no probe met."""
        return self.by_footprint.get(key, self.gpus_per_trial)

    def describe(self) -> str:
        """One line for a person."""
        threads = f"{self.cpus_per_trial} CPU thread{'s' if self.cpus_per_trial > 1 else ''}"
        trials = f"{self.max_concurrent} trial{'s' if self.max_concurrent > 1 else ''} at once, {threads}"
        classes = Counter(self.by_footprint.values())
        if len(classes) > 1:
            each = ", ".join(f"{shown_share(share)} for {count}" for share, count in sorted(classes.items()))
            return f"up to {trials} each; shares of a GPU by model and batch size: {each}"
        return f"{trials}{f', {self.gpus_per_trial:g} of a GPU' if self.gpus_per_trial else ''} each"

    def why_no_more(self) -> str:
        """One line on what bounds the trials at once."""
        by_cpu = self.num_cpus // self.cpus_per_trial
        if self.max_concurrent < by_cpu:
            return f"{self.max_concurrent} at once, as many as {self.num_gpus} GPU(s) hold"
        return f"{self.max_concurrent} at once, since there are {self.num_cpus} CPUs and {self.cpus_per_trial} for each"


def plan_shares(
    options: StudyOptions,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    footprints: Mapping[str, Footprint | str] | None = None,
    memory: DeviceMemory | None = None,
    overlaps: bool = False,
) -> Shares:
    """Divide the machine among trials.

    Args:
        footprints: what `probe.probe_all` found, or why it could not; with none, `auto` shares a GPU equally.
        memory: of a GPU; needed with footprints.
        overlaps: whether processes on one GPU compute at the same time (MPS) instead of taking turns.

    Raises:
        InputError: a trial asks for more than there is, or no configuration fits on a GPU.
    """
    cpus = available_cpus() if num_cpus is None else num_cpus
    gpus = torch.cuda.device_count() if num_gpus is None else num_gpus
    if options.cpus_per_trial > cpus:
        raise InputError(f"--cpus-per-trial {options.cpus_per_trial}: this machine has {cpus}")
    by_cpu = cpus // options.cpus_per_trial
    wanted = min(options.max_concurrent or by_cpu, by_cpu)
    share, by_footprint = options.gpus_per_trial, {}
    if share is None:
        share = smallest_class(-(-wanted // gpus), overlaps=overlaps) if gpus else 0.0
        if gpus and footprints:
            assert memory is not None
            by_footprint = _shares(footprints, memory, share)
            share = max(by_footprint.values())
    elif share > gpus:
        raise InputError(f"--gpus-per-trial {share:g}: this machine has {gpus} GPU(s)")
    smallest = min(by_footprint.values(), default=share)
    by_gpu = gpus * trials_on_one(smallest) if smallest else by_cpu
    return Shares(cpus, gpus, options.cpus_per_trial, share, max(1, min(wanted, by_gpu)), by_footprint)


def _shares(footprints: Mapping[str, Footprint | str], memory: DeviceMemory, least: float) -> dict[str, float]:
    """A class for each; the whole GPU where nothing was measured or a batch will have to be computed in parts."""
    shares: dict[str, float] = {}
    refusals: list[InputError] = []
    for key, found in footprints.items():
        shares[key] = 1.0
        if isinstance(found, Footprint):
            try:
                shares[key] = share_class(found, memory, minimum=least)
            except InputError as error:
                refusals.append(error)
    if len(refusals) == len(footprints):
        raise refusals[0]
    return shares

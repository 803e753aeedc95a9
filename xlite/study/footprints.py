"""A study's shares of a GPU: probed where nothing was said, and looked up for each trial."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from xlite.config import RunConfig
from xlite.console import Console
from xlite.device import Device
from xlite.gpu.limits import Sharing
from xlite.gpu.memory import device_memory
from xlite.gpu.mps import can_start, mps_daemon
from xlite.gpu.probe import TYPICAL_CONTEXT_BYTES, Footprint, Shapes, probe_all
from xlite.study.options import Study, StudyOptions
from xlite.study.shares import Shares, plan_shares

Footprints = Mapping[str, Footprint | str]
"""By `probe.footprint_key`: what a configuration takes of a GPU, or why that is not known."""


def obtain_footprints(
    configs: Sequence[RunConfig], study: Study, shapes: Shapes, device: Device, console: Console
) -> dict[str, Footprint | str]:
    """What each model and batch size takes of a GPU; empty on CPU and where a share was given.

    Args:
        configs: one for each pair of them.
    """
    if not device.on_gpu or study.options.gpus_per_trial is not None:
        return {}
    with console.progress("Probing memory and step time", "configurations") as progress:
        return probe_all(configs, shapes, device, folder=study.options.cache_dir / "probes", progress=progress)


def divide(options: StudyOptions, footprints: Footprints, *, overlaps: bool = False) -> Shares:
    """The machine divided among trials, by what they take where that was measured."""
    if not footprints:
        return plan_shares(options, overlaps=overlaps)
    return plan_shares(options, footprints=footprints, memory=device_memory(), overlaps=overlaps)


def why_no_mps(options: StudyOptions, num_gpus: int) -> str:
    """Why the study cannot use MPS on this machine; empty if it may try."""
    return "the trials run on a cluster's machines" if options.address else can_start(num_gpus)


@contextmanager
def gpu_sharing(
    options: StudyOptions, planned: Shares, footprints: Footprints, console: Console
) -> Iterator[tuple[Shares, Sharing | None]]:
    """How trials share a GPU while the context lasts; None on a CPU.

    Studies are planned for processes that take turns. Where `--mps` was given a daemon is tried now, since it is to run
    no longer than the trials; if a process computes through it, the machine is divided anew.
    """
    if not planned.num_gpus:
        yield planned, None
        return
    shares, environment = planned, dict[str, str]()
    with ExitStack() as held:
        if options.mps and not why_no_mps(options, planned.num_gpus):
            mps = held.enter_context(mps_daemon(options.folder / "mps", num_gpus=planned.num_gpus))
            environment = dict(mps.environment)
            if mps.runs:
                shares = divide(options, footprints, overlaps=True)
                console.say(f"MPS runs, so trials on one GPU compute at the same time: {shares.describe()}")
            else:
                console.say(f"--mps: trials on one GPU take turns, as planned: {mps.reason}")
        contexts = [found.context_bytes for found in footprints.values() if isinstance(found, Footprint)]
        context_bytes = max(contexts, default=TYPICAL_CONTEXT_BYTES)
        yield shares, Sharing(device_memory(), context_bytes, environment)

"""A study's shares of a GPU: probed where nothing was said, and looked up for each trial."""

from collections.abc import Mapping, Sequence

import torch

from xlite.config import RunConfig
from xlite.console import Console
from xlite.device import Device
from xlite.gpu.limits import Sharing
from xlite.gpu.memory import device_memory
from xlite.gpu.mps import can_start
from xlite.gpu.probe import TYPICAL_CONTEXT_BYTES, Footprint, Shapes, probe_all
from xlite.study.options import Study, StudyOptions
from xlite.study.shares import Shares, plan_shares


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


def divide(options: StudyOptions, footprints: Mapping[str, Footprint | str]) -> Shares:
    """The machine divided among trials, by what they take where that was measured."""
    if not footprints:
        return plan_shares(options)
    overlaps = not can_start(torch.cuda.device_count())
    return plan_shares(options, footprints=footprints, memory=device_memory(), overlaps=overlaps)


def sharing_of(shares: Shares, footprints: Mapping[str, Footprint | str]) -> Sharing | None:
    """How trials share a GPU; None on CPU."""
    if not shares.gpus_per_trial:
        return None
    contexts = [found.context_bytes for found in footprints.values() if isinstance(found, Footprint)]
    return Sharing(device_memory(), max(contexts, default=TYPICAL_CONTEXT_BYTES))

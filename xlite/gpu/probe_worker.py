"""The probing process: trains a few steps for each line of input and prints a line; see `xlite.gpu.probe`."""

import gc
import json
import os
import resource
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import torch

from xlite.config import RunConfig
from xlite.device import Device, choose_device, is_gpu_fault, is_out_of_memory
from xlite.gpu.nvidia_smi import ask
from xlite.gpu.probe import TYPICAL_CONTEXT_BYTES, Footprint, Shapes
from xlite.train.loop import fit
from xlite.train.run import TrainingRun

NUM_STEPS = 4
"""Per epoch, of two: the first allocates the optimiser's state and warms up, the second is timed."""
_MAX_CONTEXT_BYTES = 3 * 2**30  # more is not one context, but another process that started meanwhile


def main() -> None:
    """Serve requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    serve(sys.stdin, answers, used_before=used_by_uuid())


def serve(requests: IO[str], answers: IO[str], *, used_before: Mapping[str, int]) -> None:
    """Answer each line with a footprint, or {"error": reason, "lost": whether this process can measure no more}.

    Args:
        used_before: bytes in use on each GPU, by UUID, before this process had a CUDA context.
    """
    for line in requests:
        try:
            answer = asdict(measure(json.loads(line), used_before))
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            answer = {"error": reason, "lost": is_gpu_fault(error)}
        print(json.dumps(answer), file=answers, flush=True)


def measure(request: Mapping[str, Any], used_before: Mapping[str, int]) -> Footprint:
    """The footprint of two short epochs on synthetic examples, with validation, as a trial trains."""
    config = RunConfig.parse(request["config"], source="probe")
    device = choose_device(config.train.precision, kind=request["device"])
    shapes = Shapes.from_json(request["shapes"])
    if device.on_gpu:
        torch.cuda.reset_peak_memory_stats(device.torch_device)
    step_s, fits = 0.0, True
    try:
        step_s = trained_step_s(config, shapes, device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    gc.collect()
    if not device.on_gpu:
        return Footprint(peak_resident_bytes(), 0, step_s, fits)
    peak = torch.cuda.max_memory_reserved(device.torch_device)
    torch.cuda.empty_cache()
    return Footprint(peak, context_now(device, used_before), step_s, fits)


def trained_step_s(config: RunConfig, shapes: Shapes, device: Device) -> float:
    """Seconds per step in the second epoch; the model is freed when this returns."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = shapes.make(Path(folder), NUM_STEPS * config.optim.batch_size)
        run = TrainingRun(config, shapes.resolved_task(), dataset, device)
        seconds = [report.seconds["step"] for report in fit(run)]
    return seconds[-1] / NUM_STEPS


def context_now(device: Device, used_before: Mapping[str, int]) -> int:
    """Bytes of this process's CUDA context, after the allocator has released its cache.

    With nvidia-smi: memory in use on the GPU now, less that in use before this process used it, less what the allocator
    still holds. Without: all memory in use, if that is plausible for one context.
    """
    torch.cuda.synchronize(device.torch_device)
    uuid = f"GPU-{torch.cuda.get_device_properties(device.torch_device).uuid}"
    free, total = torch.cuda.mem_get_info(device.torch_device)
    return context_bytes(
        before=used_before.get(uuid),
        after=used_by_uuid().get(uuid),
        reserved=torch.cuda.memory_reserved(device.torch_device),
        in_use=total - free,
    )


def context_bytes(*, before: int | None, after: int | None, reserved: int, in_use: int) -> int:
    """The arithmetic of `context_now`; TYPICAL_CONTEXT_BYTES if the result is not plausible."""
    measured = in_use - reserved if before is None or after is None else after - before - reserved
    return measured if 0 < measured <= _MAX_CONTEXT_BYTES else TYPICAL_CONTEXT_BYTES


def used_by_uuid() -> dict[str, int]:
    """Bytes in use on every GPU by UUID, from nvidia-smi; empty if it fails."""
    try:
        return {uuid: int(mib) * 2**20 for uuid, mib in ask("uuid", "memory.used") or []}
    except ValueError:  # "[N/A]"
        return {}


def peak_resident_bytes() -> int:
    """The peak resident set of this process."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024  # Linux counts in KiB


if __name__ == "__main__":
    main()

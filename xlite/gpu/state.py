"""Whether this machine's GPU can be used, asked before anything else: one line says why not."""

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from xlite.device import device_kind
from xlite.errors import InputError
from xlite.gpu.nvidia_smi import ask

ON_THE_CPU = "or run on the CPU with CUDA_VISIBLE_DEVICES=-1"
_VARIABLE = "CUDA_VISIBLE_DEVICES"
_KNOWN_TO_DRIVER = Path("/proc/driver/nvidia/gpus")
_PCI = Path("/sys/bus/pci/devices")
_WAYS_ON = {
    "driver on your system is too old": f"update the driver, or install a PyTorch for it (this one has CUDA "
    f"{torch.version.cuda}; https://pytorch.org/get-started/locally)",
    "driver / cuda driver combination": "restart this machine, whose driver was updated while it ran",
    "Found no NVIDIA driver": "install NVIDIA's driver, or start a container with --gpus all",
    "CUDA-capable device(s) is/are busy": "end the process that uses it, or `nvidia-smi -c 0` lets several use it",
    "no kernel image is available": "install a PyTorch that was built for it (https://pytorch.org/get-started/locally)",
    "out of memory": "end the processes that fill it (nvidia-smi lists them)",
}
"""By words of PyTorch's or CUDA's message, what to do."""


@dataclass(frozen=True)
class ListedGpu:
    """A GPU as nvidia-smi lists it; `compute_mode` is "Default", "Exclusive_Process" or "Prohibited"."""

    uuid: str
    name: str
    compute_mode: str


def check_gpu(*, num_processes: int = 1, through_mps: bool = False) -> None:
    """Refuse a GPU that is there but cannot be used, so that nothing runs on the CPU by mistake.

    Without an NVIDIA GPU, and with `CUDA_VISIBLE_DEVICES` empty or negative, this costs some milliseconds.

    Args:
        num_processes: that use the GPU at once; only one may in compute mode Exclusive_Process.
        through_mps: they all do so as clients of one MPS daemon, which counts as one.

    Raises:
        InputError: PyTorch cannot use it, or not for so many processes.
    """
    if _cpu_is_wanted():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PyTorch warns of, in several lines, is raised below
        if device_kind() == "cpu":
            _check_absent()
            return
        try:
            if num_processes > 1:
                used = {f"GPU-{torch.cuda.get_device_properties(i).uuid}" for i in range(torch.cuda.device_count())}
                _check_modes([gpu for gpu in listed_gpus() or [] if gpu.uuid in used], through_mps=through_mps)
            torch.ones(1, device="cuda").add_(1).item()
        except (RuntimeError, torch.cuda.DeferredCudaCallError) as error:
            raise InputError(f"the GPU cannot be used: {_with_way_on(str(error))}, {ON_THE_CPU}") from None


def listed_gpus() -> list[ListedGpu] | None:
    """The GPUs that this process may use, by nvidia-smi; None where that is not there or fails."""
    rows = ask("uuid", "name", "compute_mode")
    return None if rows is None else [ListedGpu(*row) for row in rows]


def _cpu_is_wanted() -> bool:
    """By a person, or by Slurm for a job without a GPU ("NoDevFiles")."""
    chosen = os.environ.get(_VARIABLE)
    return chosen is not None and (chosen.strip()[:1] in ("", ",", "-") or chosen == "NoDevFiles")


def _check_absent() -> None:
    """PyTorch sees no GPU: raise InputError if there is one."""
    gpus = listed_gpus()
    if not gpus and (gpus is not None or not (_is_known_to_driver() or _is_on_the_bus())):
        return
    names = ", ".join(f"{number}: {gpu.name}" for number, gpu in enumerate(gpus or []))
    what = f"this machine has a GPU ({names or 'NVIDIA'})"
    if torch.version.cuda is None:
        install = "install one that has: https://pytorch.org/get-started/locally"
        raise InputError(f"{what}, but PyTorch {torch.__version__} has no CUDA; {install}, {ON_THE_CPU}")
    reason = "PyTorch does not find it"
    try:
        torch.cuda.init()
    except RuntimeError as error:
        reason = str(error)
    chosen = os.environ.get(_VARIABLE)
    if chosen is not None and ("No CUDA GPUs" in reason or "invalid device" in reason):
        raise InputError(f"{_VARIABLE}={chosen} names no GPU of this machine ({names or 'NVIDIA'}); unset it")
    _check_modes(gpus or [], through_mps=True)
    raise InputError(f"{what}, but PyTorch cannot use it: {_with_way_on(reason)}, {ON_THE_CPU}")


def _is_known_to_driver() -> bool:
    return _KNOWN_TO_DRIVER.is_dir() and any(_KNOWN_TO_DRIVER.iterdir())


def _is_on_the_bus() -> bool:
    """Whether there is a graphics card of NVIDIA's that is not handed on to a virtual machine."""
    for device in _PCI.glob("*"):
        try:
            is_nvidia = (device / "vendor").read_text().strip() == "0x10de"
            if is_nvidia and (device / "class").read_text().startswith("0x03"):
                return (device / "driver").resolve().name != "vfio-pci"
        except OSError:
            continue
    return False


def _check_modes(gpus: list[ListedGpu], *, through_mps: bool) -> None:
    """Raise InputError if one is in a compute mode that does not let several processes use it."""
    for gpu in gpus:
        if gpu.compute_mode == "Prohibited" or (gpu.compute_mode.startswith("Exclusive") and not through_mps):
            use = "no process may use it" if gpu.compute_mode == "Prohibited" else "one process alone may use it"
            change = f"`nvidia-smi -i {gpu.uuid} -c 0` (as root) lets several"
            raise InputError(f"{gpu.name} is in compute mode {gpu.compute_mode}: {use}; {change}, {ON_THE_CPU}")


def _with_way_on(message: str) -> str:
    """The part of PyTorch's message that says what is wrong, and what to do."""
    number = re.search(r"Error \d+: [^\n]*", message)  # at the end of a message for PyTorch's developers
    reason = number[0] if number else message.splitlines()[0].split(". ")[0]
    way_on = next((way for words, way in _WAYS_ON.items() if words in message), "nvidia-smi must list it without error")
    return f"{reason}; {way_on}"

"""What the check runs on."""

import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from xlite.cores import available_cpus
from xlite.gpu.mps import CONTROL, PIPE_VARIABLE
from xlite.gpu.nvidia_smi import ask
from xlite.gpu_check.place import PassedOver, Place

PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "ray", "optuna", "albumentations")


def card(place: Place) -> str:
    """Everything that the other steps' numbers depend on."""
    for what, value in machine().items():
        place.number(what, "not installed" if value is None else value)
    if not place.on_gpu:
        return f"{platform.machine()}, {available_cpus()} CPUs: toy sizes, not a check of a GPU"
    if not torch.cuda.is_available():
        raise PassedOver("PyTorch finds no GPU here")
    properties = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info(0)
    listed = ask("uuid", "driver_version", "compute_mode") or []
    driver, mode = listed[0][1:] if listed else ("unknown", "unknown")
    about = {
        "card": properties.name,
        "compute capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory, GiB": total / 2**30,
        "free, GiB": free / 2**30,
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
        "CUDA of PyTorch": str(torch.version.cuda),
        "driver": driver,
        "compute mode": mode,
        "MPS control program": shutil.which(CONTROL) is not None,
        **{name: os.environ.get(name, "not set") for name in (PIPE_VARIABLE, "CUDA_VISIBLE_DEVICES")},
    }
    for what, value in about.items():
        place.number(what, value)
    if listed and " MIG " not in properties.name:  # a part of a GPU has a UUID of its own
        known = f"GPU-{properties.uuid}" in [row[0] for row in listed]
        place.must("nvidia-smi knows PyTorch's GPU by the same UUID", known)
    mps = "MPS can be tried" if about["MPS control program"] else f"no {CONTROL}"
    return f"{properties.name}, {total / 2**30:.0f} GiB, driver {driver}, torch {torch.__version__}; {mps}"


def machine() -> dict[str, Any]:
    """Versions (None: not installed), cores, date."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "python": platform.python_version(),
        "cores": available_cpus(),
        **{name: installed(name) for name in PACKAGES},
    }


def installed(package: str) -> str | None:
    """Its version; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

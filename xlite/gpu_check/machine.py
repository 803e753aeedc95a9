"""What the check runs on."""

import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from xlite.cores import available_cpus
from xlite.gpu_check.place import PassedOver, Place

CONTROL = "nvidia-cuda-mps-control"
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
    driver = _driver()
    about = {
        "card": properties.name,
        "compute capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory, GiB": total / 2**30,
        "free, GiB": free / 2**30,
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
        "CUDA of PyTorch": str(torch.version.cuda),
        "driver": driver["driver"],
        "compute mode": driver["mode"],
        "MPS control program": shutil.which(CONTROL) is not None,
        "CUDA_MPS_PIPE_DIRECTORY": os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "not set"),
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "not set"),
    }
    for what, value in about.items():
        place.number(what, value)
    if driver["uuids"]:
        place.must("nvidia-smi knows PyTorch's GPU by the same UUID", f"GPU-{properties.uuid}" in driver["uuids"])
    mps = "MPS can be tried" if about["MPS control program"] else f"no {CONTROL}"
    return f"{properties.name}, {total / 2**30:.0f} GiB, driver {driver['driver']}, torch {torch.__version__}; {mps}"


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


def _driver() -> dict[str, Any]:
    """What nvidia-smi says."""
    query = ["nvidia-smi", "--query-gpu=uuid,driver_version,compute_mode", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
        rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
        return {"uuids": [row[0] for row in rows], "driver": rows[0][1], "mode": rows[0][2]}
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        return {"uuids": [], "driver": f"nvidia-smi failed ({type(error).__name__})", "mode": "unknown"}

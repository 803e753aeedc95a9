"""Tensors and JSON in one safetensors file."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, TensorSpec, serialize, serialize_file
from torch import Tensor

_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a new file at `path`, whole or not at all.

    `safetensors.torch.save_file` compares all tensors with each other first, and takes four times as long for a
    thousand small ones: here it is known that none share memory.

    Raises:
        OSError: the disk is full, or the place cannot be written; nothing is left there.
    """
    held = _held(tensors)
    try:
        serialize_file(_specs(held), path, metadata=dict(metadata or {}))
    except SafetensorError as error:
        found = _OS_ERROR.search(str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """What `write_tensors` would write."""
    held = _held(tensors)
    return serialize(_specs(held), metadata=dict(metadata or {}))


def _held(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values, each in one piece of host memory; to be kept while their specs are used."""
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _specs(held: Mapping[str, Tensor]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(
            dtype=str(value.dtype).removeprefix("torch."),
            shape=value.shape,
            data_ptr=value.data_ptr(),
            data_len=value.nbytes,
        )
        for name, value in held.items()
    }

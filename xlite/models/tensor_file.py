"""Tensors and JSON in one safetensors file, written whole or not at all."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, TensorSpec, serialize_file
from torch import Tensor

_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a new file at `path`.

    `safetensors.torch.save_file` compares all tensors with each other first, and takes four times as long for a
    thousand small ones: here it is known that none share memory.

    Raises:
        OSError: the disk is full, or the place cannot be written; nothing is left there.
    """
    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    specs = {
        name: TensorSpec(
            dtype=str(value.dtype).removeprefix("torch."),
            shape=value.shape,
            data_ptr=value.data_ptr(),
            data_len=value.nbytes,
        )
        for name, value in held.items()
    }
    try:
        serialize_file(specs, path, metadata=dict(metadata or {}))
    except SafetensorError as error:
        found = _OS_ERROR.search(str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error

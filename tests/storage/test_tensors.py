"""The same bytes as the safetensors library, tensors read back the same, and write errors that name the file."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from xlite.storage.tensors import tensor_bytes, write_tensors

TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


@pytest.mark.parametrize("metadata", [None, {"about": '{"é": "\\n"}'}])
def test_the_bytes_are_those_of_the_library(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    tensors = {f"{name} é": torch.arange(n + 1).to(getattr(torch, name)) for n, name in enumerate(TYPES)}
    tensors |= {"b.a": torch.zeros(2, 0, 3), "b.b": torch.tensor(2.5), "a": torch.ones(1, 2, 3)}
    write_tensors(tmp_path / "ours", tensor_bytes(tensors), metadata)
    safetensors.torch.save_file(tensors, tmp_path / "theirs", metadata)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_longer_file_is_overwritten_completely(tmp_path: Path) -> None:
    for count in (1000, 3, 500):
        write_tensors(tmp_path / "a", tensor_bytes({"a": torch.full((count,), float(count))}))
        assert torch.equal(safetensors.torch.load_file(tmp_path / "a")["a"], torch.full((count,), float(count)))


def test_every_layout_and_type_is_read_back_the_same(tmp_path: Path) -> None:
    tensors = {
        "number": torch.tensor(3, dtype=torch.int64),
        "empty": torch.zeros(0, 4),
        "channels last": torch.randn(2, 3, 5, 5).to(memory_format=torch.channels_last),
        "every second": torch.arange(10.0)[::2],
        "half": torch.randn(7).bfloat16(),
        "flags": torch.tensor([True, False]),
        "trained": torch.ones(3, requires_grad=True),
    }
    write_tensors(tmp_path / "a.safetensors", tensor_bytes(tensors), {"about": "{}"})
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == {"about": "{}"}
        read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype and torch.equal(read[name], value.detach()), name


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        write_tensors(tmp_path / "none" / "a.safetensors", tensor_bytes({"a": torch.ones(1)}))
    assert caught.value.errno == errno.ENOENT and caught.value.filename == str(tmp_path / "none" / "a.safetensors")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk of 1 MB")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True).returncode
    ):
        pytest.skip("a disk of 1 MB cannot be mounted here")
    try:
        with pytest.raises(OSError, match="No space left") as caught:
            write_tensors(tmp_path / "a.safetensors", tensor_bytes({"a": torch.ones(2**20)}))
        assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "a.safetensors")
    finally:
        subprocess.run(["umount", tmp_path], check=True)

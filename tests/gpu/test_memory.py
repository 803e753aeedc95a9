"""A process's share of a GPU: the arithmetic, and that PyTorch's allocator gets the result."""

import os

import pytest

from xlite.errors import InputError
from xlite.gpu import memory as gpu_memory
from xlite.gpu.limits import Sharing
from xlite.gpu.memory import DeviceMemory, memory_fraction
from xlite.gpu.share_classes import shown_share

GIB = 2**30
MEMORY = DeviceMemory(total_bytes=16 * GIB, usable_bytes=12 * GIB)


def test_allocator_and_context_together_are_the_share_of_what_is_usable():
    fraction = memory_fraction(1 / 4, GIB // 2, MEMORY)
    assert fraction * 16 * GIB + GIB // 2 == 3 * GIB


def test_all_shares_of_a_gpu_together_stay_within_what_is_usable():
    for share, number in ((1 / 8, 8), (1 / 6, 6), (1 / 4, 4), (1.0, 1)):
        filled = number * (memory_fraction(share, GIB // 4, MEMORY) * MEMORY.total_bytes + GIB // 4)
        assert filled <= MEMORY.usable_bytes + 1


def test_a_share_that_the_context_fills_is_refused():
    with pytest.raises(InputError, match=r"--gpus-per-trial 0\.125: .*context takes 1\.5 GiB .* is 1\.5 GiB"):
        memory_fraction(1 / 8, 3 * GIB // 2, MEMORY)


@pytest.mark.parametrize("share", [1 / 2, 1.0])
@pytest.mark.parametrize("pipes", [{}, {"CUDA_MPS_PIPE_DIRECTORY": "/pipes"}], ids=["taking turns", "MPS"])
def test_the_allocator_s_fraction_is_the_only_limit(monkeypatch, share, pipes):
    fractions, before = [], dict(os.environ)
    monkeypatch.setattr(os, "environ", dict(before))
    monkeypatch.setattr(gpu_memory.torch.cuda, "init", lambda: None)
    monkeypatch.setattr(gpu_memory.torch.cuda, "set_per_process_memory_fraction", fractions.append)
    Sharing(MEMORY, GIB, pipes).enter(share)
    assert fractions == ([5 / 16] if share < 1 else [])
    assert os.environ == {**before, **pipes}  # none of MPS's limits


def test_the_gpu_with_the_least_free_memory_decides_and_a_reserve_is_kept(monkeypatch):
    cuda = gpu_memory.torch.cuda
    monkeypatch.setattr(cuda, "device_count", lambda: 2)
    monkeypatch.setattr(cuda, "mem_get_info", [(15 * GIB, 16 * GIB), (9 * GIB, 16 * GIB)].__getitem__)
    memory = gpu_memory.device_memory()
    assert memory == DeviceMemory(16 * GIB, 9 * GIB - gpu_memory.RESERVE_BYTES)


@pytest.mark.parametrize(("share", "text"), [(1 / 3, "1/3"), (0.3333, "1/3"), (1.0, "1"), (0.3, "0.3"), (0.4, "0.4")])
def test_shares_are_shown_as_fractions_where_they_are_simple(share, text):
    assert shown_share(share) == text

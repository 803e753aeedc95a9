"""The C library's heap is kept during a run and released after it."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, psutil, torch
from xlite.device import keep_freed_memory, release_memory
torch.set_num_threads(1)
blocks = lambda: [torch.ones(2**20).add_(1) for _ in range(8)]  # 4 MiB each
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
resident = lambda: psutil.Process().memory_info().rss / 2**20
blocks()
plain = faults()
keep_freed_memory()
for _ in range(10):  # until the heap has room for eight blocks wherever smaller ones lie between: two or three times
    faults()
kept, held = faults(), resident()
release_memory()
print(json.dumps([plain, kept, held - resident()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_freed_memory_is_kept_for_the_next_step_and_released_between_trials():
    fixed = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}  # glibc's default, which it otherwise raises by itself
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=fixed
    ).stdout
    plain, kept, released_mib = json.loads(output)
    assert kept <= plain / 100  # at most one new block instead of 160
    assert released_mib > 24

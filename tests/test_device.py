"""The C library's heap: kept while a run lasts, given back when it ends."""

import json
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
faults()
kept, held = faults(), resident()
release_memory()
print(json.dumps([plain, kept, held - resident()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_freed_memory_is_kept_for_the_next_step_and_released_between_trials():
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    plain, kept, released_mib = json.loads(told)
    assert kept <= 1100 < plain  # at most one new block (1,024 pages): where the others lay may not fit together
    assert released_mib > 24

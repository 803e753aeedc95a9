"""Nothing of Ray outlives the driver for long, whichever of them is killed; and the driver says what was."""

import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
DRIVER = """
import os, sys, time
from pathlib import Path
import psutil
from xlite.tune.cluster import ray_running
from xlite.study.shares import Shares

shares = Shares(num_cpus=1, num_gpus=0, cpus_per_trial=1, gpus_per_trial=0.0, max_concurrent=1)
with ray_running(shares, None, Path(sys.argv[-1])):
    time.sleep(3)
    below = psutil.Process().children(recursive=True)
    print(*(process.pid for process in below), flush=True)
    victim = sys.argv[1]
    next((process for process in below if process.name() == victim), psutil.Process()).kill()
    time.sleep(60)
"""


@pytest.mark.parametrize("victim", [pytest.param("gcs_server", marks=pytest.mark.slow), "raylet", "driver"])
def test_a_killed_process_takes_all_of_ray_with_it(victim, tmp_path):
    started = time.monotonic()
    words = [sys.executable, "-c", DRIVER, victim, str(tmp_path)]
    driver = subprocess.run(words, capture_output=True, text=True, timeout=120)
    told = [int(pid) for pid in driver.stdout.splitlines()[0].split()]  # what follows are Ray's own lines
    others = [psutil.Process(pid) for pid in told if psutil.pid_exists(pid)]
    if victim == "driver":
        assert driver.returncode == -9
    else:
        line = f"error: Ray's {victim} has died (killed, or out of memory); run the same command again"
        assert driver.returncode == 2 and driver.stderr.splitlines()[-1] == line
    assert len(told) > 4
    _, left = psutil.wait_procs(others, timeout=12)
    assert left == [], f"after {time.monotonic() - started:.0f} s"


LISTENER_KILLED = """
import sys, time
from pathlib import Path
import psutil
import ray
from xlite.tune.cluster import ray_running
from xlite.study.shares import Shares

shares = Shares(num_cpus=1, num_gpus=0, cpus_per_trial=1, gpus_per_trial=0.0, max_concurrent=1)
with ray_running(shares, None, Path(sys.argv[-1])):
    below = psutil.Process().children()
    next(process for process in below if process.cmdline()[-2].endswith("reaper.py")).kill()
    print(ray.get(ray.remote(lambda: 7).remote()))
    time.sleep(2)
"""


def test_a_study_does_not_mind_when_the_process_that_would_outlive_it_is_killed(tmp_path):
    words = [sys.executable, "-c", LISTENER_KILLED, str(tmp_path)]
    driver = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert driver.returncode == 0 and driver.stdout == "7\n" and "Traceback" not in driver.stderr

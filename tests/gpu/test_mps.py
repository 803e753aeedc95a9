"""A study's own MPS daemon: started, answering, always ended. The control program is a fake."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import fake_mps_control
import pytest

from xlite.errors import InputError
from xlite.gpu import mps
from xlite.gpu.memory import DeviceMemory
from xlite.gpu.mps import Mps, client_environment, mps_daemon

REPO = Path(__file__).resolve().parents[2]
MEMORY = DeviceMemory(total_bytes=17 * 2**30, usable_bytes=16 * 2**30)


def alive(pid):
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def control(tmp_path, monkeypatch):
    """control(mode) puts the fake on the PATH and returns a function that gives its processes' pids."""
    pid_file = tmp_path / "bin" / "pids"

    def put(mode):
        fake_mps_control.make(tmp_path / "bin", mode)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        return lambda: [int(pid) for pid in pid_file.read_text().split()] if pid_file.exists() else []

    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.setattr(mps, "SIGNAL_S", 1.0)
    yield put
    for pid in pid_file.read_text().split() if pid_file.exists() else []:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def test_a_daemon_runs_for_the_study_and_no_longer(control, tmp_path, monkeypatch):
    pids = control("good")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with mps_daemon(tmp_path / "mps", num_gpus=1) as found:
        assert found.runs and found.reason == ""
        pipes = Path(found.environment["CUDA_MPS_PIPE_DIRECTORY"])
        seen = json.loads((tmp_path / "mps" / "control.log").read_text())
        assert seen["CUDA_MPS_PIPE_DIRECTORY"] == str(pipes)
        assert found.environment["CUDA_MPS_LOG_DIRECTORY"] == str(tmp_path / "mps")
        assert "CUDA_VISIBLE_DEVICES" not in seen  # with it the daemon would renumber its devices, unlike the workers
        assert len(pids()) == 2 and all(map(alive, pids()))
    assert not any(map(alive, pids()))
    assert not pipes.exists()
    assert not (tmp_path / "mps" / mps.RECORD).exists()


def test_the_daemon_is_ended_when_the_study_fails(control, tmp_path):
    pids = control("good")
    with pytest.raises(KeyboardInterrupt), mps_daemon(tmp_path / "mps", num_gpus=1):
        raise KeyboardInterrupt
    assert len(pids()) == 2 and not any(map(alive, pids()))


def test_a_daemon_that_does_not_quit_is_killed_with_its_server(control, tmp_path, monkeypatch):
    pids = control("stubborn")
    monkeypatch.setattr(mps, "QUIT_S", 0.5)
    monkeypatch.setattr(mps, "SIGNAL_S", 0.3)
    with mps_daemon(tmp_path / "mps", num_gpus=1) as found:
        assert found.runs
    assert len(pids()) == 2 and not any(map(alive, pids()))


def test_a_failed_start_gives_the_daemon_s_last_line_as_the_reason(control, tmp_path):
    control("fails")
    with mps_daemon(tmp_path / "mps", num_gpus=1) as found:
        assert not found.runs
        assert found.reason == "nvidia-cuda-mps-control did not start (An instance of this daemon is already running)"


def test_a_daemon_that_does_not_answer_is_not_used_and_ended(control, tmp_path, monkeypatch):
    pids = control("silent")
    monkeypatch.setattr(mps, "ANSWER_S", 0.5)
    monkeypatch.setattr(mps, "ANSWERING_S", 2.0)  # on a busy machine its two processes take a second to start
    with mps_daemon(tmp_path / "mps", num_gpus=1) as found:
        assert found == Mps({}, "nvidia-cuda-mps-control started but does not answer")
    assert len(pids()) == 2 and not any(map(alive, pids()))


def test_the_reason_names_a_missing_gpu_or_program(control, tmp_path, monkeypatch):
    control("good")
    with mps_daemon(tmp_path / "mps", num_gpus=0) as found:
        assert found == Mps({}, "there is no GPU")
    monkeypatch.setenv("PATH", str(tmp_path))
    with mps_daemon(tmp_path / "mps", num_gpus=1) as found:
        assert found == Mps({}, "nvidia-cuda-mps-control is not installed")


def test_a_daemon_left_by_a_killed_driver_is_ended_by_the_next(control, tmp_path):
    pids = control("good")
    code = (
        "import os, signal; from pathlib import Path; from xlite.gpu.mps import mps_daemon\n"
        f"with mps_daemon(Path({str(tmp_path / 'mps')!r}), num_gpus=1): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, timeout=60).returncode == -signal.SIGKILL
    old = pids()
    assert len(old) == 2 and all(map(alive, old))
    with mps_daemon(tmp_path / "mps", num_gpus=1) as found:
        assert found.runs
        assert not any(map(alive, old))
        assert all(map(alive, pids()[2:]))
    assert len(pids()) == 4 and not any(map(alive, pids()))


def test_a_daemon_of_the_batch_system_is_used_and_left_alone(control, tmp_path, monkeypatch):
    pids = control("good")
    with mps_daemon(tmp_path / "theirs", num_gpus=1) as theirs:
        pipes = theirs.environment["CUDA_MPS_PIPE_DIRECTORY"]
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", pipes)
        with mps_daemon(tmp_path / "ours", num_gpus=1) as found:
            assert found == Mps({"CUDA_MPS_PIPE_DIRECTORY": pipes})
        assert len(pids()) == 2 and all(map(alive, pids()))


def test_the_socket_path_is_short_even_if_the_temporary_folder_s_is_not(control, tmp_path, monkeypatch):
    control("good")
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with mps_daemon(tmp_path / "mps", num_gpus=1) as found:  # the fake binds a real socket there
        assert found.runs
        assert len(found.environment["CUDA_MPS_PIPE_DIRECTORY"]) < 64


def test_a_reused_pid_is_not_killed(control, tmp_path):
    control("good")
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        with mps_daemon(tmp_path / "mps", num_gpus=1) as found:
            pid_file = Path(found.environment["CUDA_MPS_PIPE_DIRECTORY"]) / "nvidia-cuda-mps-control.pid"
            pid_file.write_text(str(bystander.pid))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize(
    ("share", "limit", "percentage"), [(1 / 8, "0=2048M", "25"), (1 / 3, "0=5461M", "67"), (1.0, "0=16384M", "100")]
)
def test_a_client_is_limited_to_its_share_of_memory_and_twice_that_share_of_threads(share, limit, percentage):
    assert client_environment(share, MEMORY) == {
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": limit,
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": percentage,
    }


def test_a_share_of_nothing_is_refused():
    with pytest.raises(InputError, match=r"--gpus-per-trial 0\.125: less than a MiB"):
        client_environment(1 / 8, DeviceMemory(2**30, 2**20))

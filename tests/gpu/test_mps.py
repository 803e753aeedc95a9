"""A study's own MPS daemon: started, computed through, always ended. Control program and client are stand-ins."""

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

from xlite.gpu import mps
from xlite.gpu.mps import CLIENT, Mps, mps_daemon

REPO = Path(__file__).resolve().parents[2]
COMPUTES = "import os; assert 'CUDA_MPS_PIPE_DIRECTORY' in os.environ"
NOT_MET = "Error 805: MPS client failed to connect to the MPS control daemon or the MPS server"


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
    monkeypatch.setattr(mps, "CLIENT", COMPUTES)
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


@pytest.mark.parametrize(
    ("mode", "client", "reason"),
    [
        ("good", f"import sys; sys.exit({NOT_MET!r})", f"a process cannot compute through MPS ({NOT_MET})"),
        ("good", "import os; os.abort()", "a process cannot compute through MPS (code -6)"),
        ("good", "import time; time.sleep(60)", "a process computed nothing through MPS within 1 s"),
        ("unmet", COMPUTES, "a process computed, but not through MPS: the daemon has no server for it"),
    ],
    ids=["refused with CUDA error 805", "dies", "hangs", "computes without a server"],
)
def test_a_daemon_through_which_no_process_computes_is_not_used_and_ended_at_once(
    control, tmp_path, monkeypatch, mode, client, reason
):
    pids = control(mode)
    monkeypatch.setattr(mps, "CLIENT", client)
    monkeypatch.setattr(mps, "CLIENT_S", 1.0 if "sleep" in client else 30.0)
    with mps_daemon(tmp_path / "mps", num_gpus=1) as found:
        assert found == Mps({}, reason)
        assert len(pids()) == 2 and not any(map(alive, pids()))  # else the trials would meet it


def test_the_client_gives_pytorch_s_own_reason(control, tmp_path, monkeypatch):
    control("good")
    monkeypatch.setattr(mps, "CLIENT", CLIENT)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with mps_daemon(tmp_path / "mps", num_gpus=1) as found:
        assert found.reason.startswith("a process cannot compute through MPS (")
        assert any(words in found.reason for words in ("No CUDA GPUs", "no NVIDIA driver", "not compiled with CUDA"))
    monkeypatch.setattr(mps, "CLIENT", CLIENT.replace("cuda:{index}", "cpu"))  # the rest of it, on this machine
    with mps_daemon(tmp_path / "mps", num_gpus=1) as found:
        assert found.runs


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
        "import os, signal; from pathlib import Path; from xlite.gpu import mps; mps.CLIENT = ''\n"
        f"with mps.mps_daemon(Path({str(tmp_path / 'mps')!r}), num_gpus=1): os.kill(os.getpid(), signal.SIGKILL)"
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

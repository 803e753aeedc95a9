"""A GPU that is there and cannot be used: one line, exit 2, nothing written. What PyTorch says is its own."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import run_runner

from xlite.commands.cli import run as run_command
from xlite.errors import InputError
from xlite.gpu import nvidia_smi, state
from xlite.gpu.state import check_gpu, listed_gpus

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU of this machine can be used")
CARD = "GPU-12ab, NVIDIA GeForce RTX 3060, Default"
TRAINING = ("tune_kd", "train_baselines", "train_one", "train_teacher", "promote", "teacher_bank")


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """nvidia-smi of this machine: a function of what it prints and of its exit code. Without a call there is none."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("_KNOWN_TO_DRIVER", "_PCI"):
        monkeypatch.setattr(state, name, tmp_path / name)

    def install(says: str, code: int = 0) -> None:
        program = programs / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nprintf '%s\\n' '{says}'\nexit {code}\n")
        program.chmod(0o755)

    return install


@pytest.mark.parametrize("command", TRAINING)
def test_no_command_that_trains_runs_on_the_cpu_where_there_is_a_gpu_without_a_driver(command, smi, tmp_path, capfd):
    smi(CARD)
    folder = {"train_one": ["--out"], "train_teacher": ["--out"]}.get(command, ["--study", "s", "--results"])
    module, results = import_module(f"xlite.commands.{command}"), tmp_path / "results"
    if command in ("promote", "teacher_bank"):
        (results / "s").mkdir(parents=True)
        (results / "s" / "study.json").touch()
    before = list(results.rglob("*"))
    with pytest.raises(SystemExit) as left:
        run_command(module.run, module.parser(), [*folder, str(results)])
    said = capfd.readouterr()
    assert left.value.code == 2 and said.err.count("\n") == 1, said
    assert "this machine has a GPU (0: NVIDIA GeForce RTX 3060), but PyTorch" in said.err
    assert said.err.endswith("or run on the CPU with CUDA_VISIBLE_DEVICES=-1\n")
    assert list(results.rglob("*")) == before


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Path:
    """The folder of a libcuda.so.1 that does as it is told."""
    compiler = shutil.which("cc")
    if compiler is None or torch.version.cuda is None:
        pytest.skip("needs a C compiler and a PyTorch with CUDA")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).with_name("fake_driver.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source], check=True)
    return folder


def test_a_shell_sees_that_the_driver_is_too_old(driver, smi, tmp_path):
    smi(CARD)
    told = {"XLITE_HOME": str(tmp_path / "home"), "LD_LIBRARY_PATH": str(driver), "FAKE_DRIVER": "11040"}
    done = run_runner("tune_kd", "--dry-run", **told)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    assert "driver on your system is too old (found version 11040); update the driver, or install" in done.stderr
    assert not list((tmp_path / "home").rglob("*"))


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (
            {"FAKE_INIT": "100", "CUDA_VISIBLE_DEVICES": "7"},
            "CUDA_VISIBLE_DEVICES=7 names no GPU of this machine (0: NVIDIA GeForce RTX 3060); unset it",
        ),
        (
            {"FAKE_INIT": "803"},
            "this machine has a GPU (0: NVIDIA GeForce RTX 3060), but PyTorch cannot use it: Error 803: system has "
            "unsupported display driver / cuda driver combination; restart this machine, whose driver was updated "
            "while it ran, or run on the CPU with CUDA_VISIBLE_DEVICES=-1",
        ),
    ],
)
def test_what_the_driver_tells_pytorch_becomes_one_line(told, line, driver, smi):
    smi(CARD)
    program = "from xlite.gpu.state import check_gpu\ntry: check_gpu()\nexcept ValueError as error: print(error)"
    known = {"LD_LIBRARY_PATH": str(driver), "FAKE_DRIVER": "990000", **told}  # newer than any PyTorch asks for
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **known}, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (f"{line}\n", "")


@pytest.mark.parametrize("chosen", ["", "-1", "NoDevFiles"])
def test_who_wants_the_cpu_gets_it_and_nothing_is_asked(chosen, smi, monkeypatch, tmp_path):
    smi(CARD)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    check_gpu()
    assert not (tmp_path / "asked").exists()


def test_a_machine_without_a_gpu_has_nothing_to_say(smi, tmp_path):
    check_gpu()
    (tmp_path / "_KNOWN_TO_DRIVER" / "0000:01:00.0").mkdir(parents=True)
    smi("No devices were found", code=6)  # a batch job without a GPU, on a machine that has some
    check_gpu()


def card(tmp_path, driver, vendor="0x10de"):
    """A graphics card on the bus, with the module that runs it."""
    device = tmp_path / "_PCI" / "0000:01:00.0"
    (tmp_path / driver).mkdir()
    device.mkdir(parents=True)
    for name, value in {"vendor": vendor, "class": "0x030000"}.items():
        (device / name).write_text(f"{value}\n")
    (device / "driver").symlink_to(tmp_path / driver)


def test_a_gpu_is_seen_without_nvidia_smi_or_where_that_fails(smi, tmp_path):
    card(tmp_path, "nouveau")
    with pytest.raises(InputError, match=r"this machine has a GPU \(NVIDIA\), but"):
        check_gpu()
    shutil.rmtree(tmp_path / "_PCI")
    check_gpu()
    smi("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", code=9)
    check_gpu()  # a machine without a GPU, with its tools: a cluster's login node
    (tmp_path / "_KNOWN_TO_DRIVER" / "0000:01:00.0").mkdir(parents=True)
    with pytest.raises(InputError, match=r"this machine has a GPU \(NVIDIA\), but"):
        check_gpu()


@pytest.mark.parametrize("held_by", [{"driver": "vfio-pci"}, {"driver": "amdgpu", "vendor": "0x1002"}])
def test_a_card_of_a_virtual_machine_or_of_another_maker_is_none(held_by, smi, tmp_path):
    card(tmp_path, **held_by)
    check_gpu()


@pytest.fixture
def usable(monkeypatch):
    """A PyTorch that can use the first of the cards, which computes; there is no such card here."""
    monkeypatch.setattr(state, "device_kind", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="12ab"))
    monkeypatch.setattr(torch, "ones", lambda *_, device: torch.zeros(1))


@pytest.mark.parametrize(
    ("mode", "how", "refused"),
    [
        ("Default", {"num_processes": 2}, None),
        ("Exclusive_Process", {"num_processes": 1}, None),
        ("Exclusive_Process", {"num_processes": 2}, "Exclusive_Process: one process alone may use it; "),
        ("Exclusive_Process", {"num_processes": 2, "through_mps": True}, None),
        ("Prohibited", {"num_processes": 2, "through_mps": True}, "Prohibited: no process may use it; "),
    ],
)
def test_an_exclusive_gpu_is_for_one_process_or_for_mps(mode, how, refused, smi, usable):
    smi(CARD.replace("Default", mode) + "\nGPU-77ff, another that PyTorch does not see, Prohibited")
    if refused is None:
        check_gpu(**how)
        return
    with pytest.raises(InputError) as caught:
        check_gpu(**how)
    assert f"RTX 3060 is in compute mode {refused}`nvidia-smi -i GPU-12ab -c 0` (as root)" in str(caught.value)


def test_a_gpu_that_does_not_compute_is_refused_with_its_first_words(usable, smi, monkeypatch):
    def fails(*_, device):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors")

    monkeypatch.setattr(torch, "ones", fails)
    with pytest.raises(InputError) as caught:
        check_gpu()
    assert str(caught.value) == (
        "the GPU cannot be used: CUDA error: no kernel image is available for execution on the device; install a "
        "PyTorch that was built for it (https://pytorch.org/get-started/locally), or run on the CPU with "
        "CUDA_VISIBLE_DEVICES=-1"
    )


def test_nvidia_smi_that_hangs_or_fails_or_prints_nonsense_is_as_if_it_were_not_there(smi, monkeypatch, tmp_path):
    smi("what is this")
    assert listed_gpus() is None
    smi(CARD, code=9)
    assert listed_gpus() is None
    smi(CARD)
    assert [gpu.name for gpu in listed_gpus()] == ["NVIDIA GeForce RTX 3060"]
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(nvidia_smi, "LIMIT_S", 0.2)
    assert listed_gpus() is None

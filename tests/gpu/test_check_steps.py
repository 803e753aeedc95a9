"""The check's steps at toy sizes on a CPU, and what they import."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from conftest import run_runner

from xlite.gpu_check import arithmetic, failures
from xlite.gpu_check.place import Place, Wrong
from xlite.gpu_check.steps import STEPS
from xlite.train.step import GraphStep, Learner

HERE = [step for step in STEPS if not step.gpu_only and step.name not in ("probe", "mps", "search", "job")]
BLOCKED = ("ray", "optuna", "albumentations", "onnxruntime", "pyarrow")


def toy(function: str, folder: Path) -> tuple[str, list[dict]]:
    """A step's line and numbers."""
    module, _, name = function.partition(":")
    told: list[dict] = []
    summary = getattr(import_module(module), name)(Place("cpu", folder, told.append))  # type: ignore[arg-type]
    return summary, told


def wrong(told: list[dict]) -> list[str]:
    return [row["what"] for row in told if row["must"] and not row["reached"]]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_is_there(step) -> None:
    module, _, function = step.function.partition(":")
    assert getattr(import_module(module), function).__doc__


@pytest.mark.parametrize("step", HERE, ids=lambda step: step.name)
def test_a_step_ends_well_at_toy_sizes_and_says_what_it_found(step, tmp_path: Path) -> None:
    summary, told = toy(step.function, tmp_path)
    assert summary and told and wrong(told) == []


def test_a_recording_that_changes_the_state_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = GraphStep.__init__

    def changes(self: GraphStep, learner: Learner, example: object) -> None:
        honest(self, learner, example)  # type: ignore[arg-type]
        next(iter(learner.tensors().values())).add_(0.01)

    monkeypatch.setattr(GraphStep, "__init__", changes)
    monkeypatch.setattr(arithmetic, "_cases", lambda *given: list(_first(given)))
    _, told = toy("xlite.gpu_check.arithmetic:recorded", tmp_path)
    assert any("state bit-equal" in what for what in wrong(told))
    assert any("recorded against plain" in what for what in wrong(told))


_cases = arithmetic._cases


def _first(given):
    yield next(_cases(*given))


def test_a_replay_that_does_not_train_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stands_still(self: GraphStep, batch: object) -> object:
        self.learner.set_rate(0.0)
        return self.learner.step(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(GraphStep, "step", stands_still)
    monkeypatch.setattr(arithmetic, "_cases", lambda *given: list(_first(given)))
    _, told = toy("xlite.gpu_check.arithmetic:recorded", tmp_path)
    assert any("recorded against plain" in what for what in wrong(told))


def test_infinite_weights_that_go_unnoticed_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "check_finite", lambda *given, **more: None)
    with pytest.raises(Wrong, match="infinite weights went unnoticed"):
        toy("xlite.gpu_check.failures:failures", tmp_path)


def test_a_resumed_trial_that_starts_anew_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = failures._epochs
    monkeypatch.setattr(
        failures, "_epochs", lambda run, folder, num: honest(run, folder / str(torch.rand(1).item()), num)
    )
    _, told = toy("xlite.gpu_check.failures:resumed", tmp_path)
    assert wrong(told)


def test_all_but_the_searches_work_without_ray_optuna_and_albumentations() -> None:
    modules = sorted({step.function.partition(":")[0] for step in STEPS if not step.needs})
    code = (
        f"import sys\nfor name in {BLOCKED}: sys.modules[name] = None\n"
        "import tempfile\nfrom importlib import import_module\nfrom pathlib import Path\n"
        f"for name in {modules}: import_module(name)\n"
        "import xlite.gpu_check.client, xlite.gpu.probe_worker\n"
        "from xlite.gpu_check.place import Place\nfrom xlite.gpu_check.run import why_not\n"
        "from xlite.gpu_check.speed import feed\nfrom xlite.gpu_check.steps import STEPS\n"
        "with tempfile.TemporaryDirectory() as place: feed(Place('cpu', Path(place), lambda row: None))\n"
        "print([step.name for step in STEPS if why_not(step, 'cuda')], why_not(STEPS[-1], 'cuda'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['search', 'job'] ('passed over', 'not installed: ray, optuna')\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mps", "probe", "search"])
def test_steps_with_processes_of_their_own_end_well_at_toy_sizes(name: str, tmp_path: Path) -> None:
    done = run_runner("check_gpu", "--device", "cpu", "--steps", name, "--out", tmp_path / "r.json", timeout_s=580)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok           {name}" in done.stdout

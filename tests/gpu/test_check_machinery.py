"""The check's machinery, on steps that end well, hang, raise, die, are wrong, or cannot be done here."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from xlite.commands import check_gpu
from xlite.commands.main import main
from xlite.gpu_check import run
from xlite.gpu_check.run import Found, Results, run_steps
from xlite.gpu_check.steps import STEPS, Step

FIELDS = {"result", "seconds", "summary", "numbers"}


def fake(name: str, *, limit_s: float = 60, **more: object) -> Step:
    return Step(name, f"gpu_check_fakes:{name}", "", limit_s, 1, **more)  # type: ignore[arg-type]


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Found], list[str], Path]:
    """All fakes in one check on a CPU: what was found, said and left."""
    folder, said = tmp_path_factory.mktemp("check"), []
    results = Results(folder / "out" / "results.json", {"card": "none"})
    steps = [
        fake("fine"), fake("slow"), fake("wrong"), fake("raises"), fake("dies"), fake("over"),
        fake("hangs", limit_s=3.0), fake("card"), fake("no_such", gpu_only=True), fake("no_such_2", needs=("no_pkg",)),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "TO_END_S", 0.5)
        patch.setenv("FAKES_PIDS", str(folder / "pids"))
        run_steps(steps, "cpu", folder / "steps", results, said.append)
    return results.steps, said, folder


def test_each_step_has_its_result(ran) -> None:
    found, _, _ = ran
    assert {name: each.result for name, each in found.items()} == {
        "fine": "ok",
        "slow": "below goal",
        "wrong": "failed",
        "raises": "failed",
        "dies": "failed",
        "over": "passed over",
        "hangs": "failed",
        "card": "ok",
        "no_such": "not measured",
        "no_such_2": "passed over",
    }


def test_a_hang_ends_at_its_limit_with_all_it_started_and_the_rest_goes_on(ran) -> None:
    found, _, folder = ran
    assert found["hangs"].summary == "ended: it took longer than 3 s"
    assert 3.0 <= found["hangs"].seconds < 15.0
    assert [number["what"] for number in found["hangs"].numbers] == ["before it hung"]
    assert not any(map(lives, map(int, (folder / "pids").read_text().split())))


def test_what_failed_is_said_with_its_reason(ran) -> None:
    found, _, _ = ran
    assert found["wrong"].summary == "difference: 0.5 (at most 0.1); equal: no (yes)"
    assert found["raises"].summary.startswith("ValueError: first line\n")
    assert "printed by a library" in found["raises"].summary and "second line" in found["raises"].summary
    assert found["dies"].summary == "its process was lost (signal 9): it wrote nothing"
    assert [number["what"] for number in found["dies"].numbers] == ["before it died"]
    assert found["no_such_2"].summary == "not installed: no_pkg" and found["no_such"].summary == "no GPU"


def test_a_line_is_said_as_each_step_ends_and_one_for_each_missed_goal(ran) -> None:
    _, said, _ = ran
    assert [line.split()[0] for line in said][:4] == ["ok", "below", "images/s:", "not"]
    assert said[0].startswith("ok           fine") and said[0].endswith(" s  all well")
    assert (
        said[2].strip() == "images/s: 10, goal: at least 20"
        and said[3].strip() == "not a number: nan, goal: at least 20"
    )


def test_the_file_has_every_step_and_number(ran) -> None:
    found, _, folder = ran
    stored = json.loads((folder / "out" / "results.json").read_text())
    assert stored["card"] == "none" and list(stored["steps"]) == list(found)
    assert all(set(step) == FIELDS for step in stored["steps"].values())
    two, word = stored["steps"]["fine"]["numbers"]
    assert two == {"what": "two", "value": 2, "goal": "at most 2", "reached": True, "must": True}
    assert word["value"] == "as said" and word["reached"] is None


def test_a_killed_check_leaves_what_it_had_and_no_process(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom xlite.gpu_check.run import Results, run_steps\n"
        "from xlite.gpu_check.steps import Step\n"
        "steps = [Step(name, f'gpu_check_fakes:{name}', '', 60, 1) for name in ('fine', 'hangs', 'slow')]\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "run_steps(steps, 'cpu', folder / 'steps', Results(folder / 'results.json', {}), lambda line: None)\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, "FAKES_PIDS": str(tmp_path / "pids")}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        until = time.monotonic() + 60
        while "before it hung" not in _text(tmp_path / "results.json") and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    steps = json.loads((tmp_path / "results.json").read_text())["steps"]
    assert [step["result"] for step in steps.values()] == ["ok", "running", "not run"]
    assert len(steps["fine"]["numbers"]) == 2 and len(steps["hangs"]["numbers"]) == 1
    child, other = map(int, (tmp_path / "pids").read_text().split())
    until = time.monotonic() + 10  # SIGTERM ends the other one at once; the child itself ignores it for a while
    while lives(other) and time.monotonic() < until:
        time.sleep(0.05)
    assert not lives(other)
    if lives(child):
        os.kill(child, signal.SIGKILL)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """`xlite check-gpu` with fakes for steps, in an empty folder: (exit code, output, error)."""

    def called(*words: str, card: str = "card", steps: tuple[str, ...] = ("fine",)) -> tuple[object, str, str]:
        own = {"card": Step("card", f"gpu_check_fakes:{card}", "", 60, 1), **{name: fake(name) for name in steps}}
        monkeypatch.setattr(check_gpu, "_BY_NAME", own)
        monkeypatch.setattr(check_gpu, "STEPS", tuple(own.values()))
        monkeypatch.setenv("XLITE_HOME", str(tmp_path))
        with pytest.raises(SystemExit) as caught:
            main(["check-gpu", *words])
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return called


@pytest.mark.parametrize(("step", "expected"), [("fine", 0), ("slow", 0), ("over", 0), ("wrong", 1), ("raises", 1)])
def test_the_exit_code_is_1_where_a_step_failed(command, step: str, expected: int) -> None:
    code, out, _ = command(steps=(step,))
    assert code == expected and "Written: " in out


def test_without_a_gpu_it_is_one_line_and_exit_2(command, tmp_path: Path) -> None:
    code, out, error = command(card="over")
    assert (code, out) == (2, "")
    assert error == "error: no such thing here; --device cpu runs the same code at toy sizes\n"
    assert not any(tmp_path.iterdir())


def test_results_are_kept_among_the_benchmarks_in_a_checkout_only(command, tmp_path: Path) -> None:
    command()
    command("--device", "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["gpu_check_fake-card-9000.json"]
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    command()
    assert (tmp_path / "benchmarks" / "results" / "gpu" / "fake-card-9000.json").exists()


def test_some_steps_again_keep_the_others_of_the_same_card_and_driver(command, tmp_path, monkeypatch) -> None:
    def results() -> dict[str, str]:
        stored = json.loads((tmp_path / "r.json").read_text())["steps"]
        return {name: step["result"] for name, step in stored.items()}

    to = ("--out", str(tmp_path / "r.json"))
    command(*to, steps=("fine", "wrong"))
    command(*to, "--steps", "fine", steps=("fine", "wrong"))
    assert results() == {"card": "ok", "fine": "ok", "wrong": "failed"}
    monkeypatch.setenv("FAKES_DRIVER", "2")
    command(*to, "--steps", "fine", steps=("fine", "wrong"))
    assert results() == {"card": "ok", "fine": "ok"}


def test_the_table_of_steps_is_sound() -> None:
    usual = [step for step in STEPS if not step.extra]
    assert len({step.name for step in STEPS}) == len(STEPS) and STEPS[0].name == "card"
    assert sum(step.expected_s for step in usual) <= 480
    assert usual[-1].name == "search" and all(step.limit_s >= 1.5 * step.expected_s for step in STEPS)

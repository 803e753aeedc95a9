"""The `xlite` command: its table, its one-line answers, where data and results are, shipped spaces, Windows."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from conftest import REPO, run_runner
from PIL import Image

from xlite import __version__
from xlite.commands.main import COMMANDS, main
from xlite.commands.options import home, space_file
from xlite.errors import InputError

SPACES = sorted(path.stem for path in (REPO / "search_spaces").glob("*.py"))


def code_of(*words: str) -> object:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_help_lists_every_command_with_a_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*words) == 0
    said = capsys.readouterr().out.splitlines()
    for name, command in COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, command.summary] for line in said)


def test_help_and_version_import_nothing_but_the_standard_library() -> None:
    for word, line in (("--help", "usage: xlite COMMAND [options]"), ("--version", f"xlite {__version__}")):
        code = (
            f"import sys\nbefore = set(sys.modules)\nfrom xlite.commands.main import main\n"
            f"try: main([{word!r}])\nexcept SystemExit: pass\n"
            "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
            "print(*new - set(sys.stdlib_module_names))"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert out.splitlines()[0] == line and out.splitlines()[-1] == "xlite"


def test_a_dry_run_of_prepare_imports_no_models(tmp_path: Path) -> None:
    """They would take it longer than reading 10,000 files does."""
    for name in ("a", "b"):
        for number in range(6):
            (tmp_path / name).mkdir(exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    words = ["prepare", "--task", "images", "--data", str(tmp_path), "--dry-run"]
    code = (
        f"import sys\nfrom xlite.commands.main import main\ntry: main({words!r})\n"
        "except SystemExit as end: print(end.code)\n"
        "print(*{'timm', 'torchvision', 'scipy', 'ray', 'optuna', 'albumentations'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "12 examples were read" in out[-3] and out[-2:] == ["0", ""]


def test_a_word_that_is_no_command_is_one_line_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("tnue", "--help") == 2
    assert capsys.readouterr().err == f"error: xlite has no command 'tnue'; commands: {', '.join(COMMANDS)}\n"


def test_every_command_has_its_runner_and_names_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert {command.module for command in COMMANDS.values()} == {path.stem for path in (REPO / "runners").glob("*.py")}
    for name, command in COMMANDS.items():
        assert code_of(name, "--help") == 0
        assert capsys.readouterr().out.startswith(f"usage: xlite {name} ")
        assert f'main(["{name}", *sys.argv[1:]])' in (REPO / "runners" / f"{command.module}.py").read_text()


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_openmp_threads_wait_asleep_unless_the_environment_says_otherwise(given: dict, expected: str) -> None:
    code = (
        "import atexit, os, sys\n"
        "atexit.register(lambda: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules))\n"
        "from xlite.commands.main import main\nmain(['train', '--help'])"
    )
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**inherited, **given})
    assert done.stdout.splitlines()[-1] == f"{expected} False"  # PyTorch comes later


def test_python_m_xlite_is_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "xlite", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"xlite {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_on_native_windows_a_search_is_refused_in_one_line_and_reports_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []
    module = import_module(f"xlite.commands.{COMMANDS[name].module}")
    monkeypatch.setattr(module, "run", lambda arguments: ran.append(name))
    monkeypatch.setattr(sys, "platform", "win32")
    of_a_study = ("leaderboard", "analyze", "promote", "bank", "report", "package", "watch")
    needs = {"compare": ["kd", "kd2"], "predict": ["--model", "p"], "evaluate": ["--model", "kd", "--data", "nih"]}
    needs |= {"explain": ["a.png", "--model", "p"], "export": ["--model", "p", "--int8"]}
    words = ["--study", "kd"] if name in of_a_study else needs.get(name, [])
    code, error = code_of(name, *words), capsys.readouterr().err
    if name in ("leaderboard", "analyze", "balance", "predict", "report", "explain"):
        assert (code, error, ran) == (0, "", [name])
    else:
        expected = f"error: xlite {name} does not run on native Windows; run it in WSL2 (install with: wsl --install)\n"
        assert (code, error, ran) == (2, expected, [])


def test_what_reads_reports_and_predicts_imports_neither_fcntl_nor_resource() -> None:
    code = (
        "import sys, warnings\n"
        "warnings.simplefilter('ignore')\n"  # filelock warns that it has no fcntl
        "sys.modules['fcntl'] = sys.modules['resource'] = None\n"
        "from xlite.commands import analyze, check_balance, explain, leaderboard, predict, reopen, report\n"
        "from xlite.explain import draw\n"
        "from xlite.html_report import write\n"
        "from xlite.report import analysis, balance, leaderboard\n"
        "from xlite.models import artifact\n"
        "from xlite.package import golden, stream, write\n"
        "from xlite.tasks import prepare\n"
        "from xlite.train import inference"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_home_is_the_working_directory_or_xlite_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XLITE_HOME", raising=False)
    assert home() == tmp_path
    monkeypatch.setenv("XLITE_HOME", "elsewhere")
    assert home() == tmp_path / "elsewhere"


def test_a_command_looks_for_studies_below_xlite_home(tmp_path: Path) -> None:
    done = run_runner("leaderboard", "--study", "kd", XLITE_HOME=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"error: no study 'kd' in {tmp_path / 'ray_results'}; studies there: none\n"


def test_a_space_is_a_file_or_the_name_of_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = REPO / "search_spaces" / "kd_grid.py"
    assert space_file(None, "kd_grid.py") == shipped
    for given in ("kd_grid", "kd_grid.py"):
        assert space_file(Path(given), "kd.py") == shipped
    assert space_file(Path("search_spaces/kd_grid.py"), "kd.py") == tmp_path / "search_spaces" / "kd_grid.py"
    (tmp_path / "kd_grid.py").touch()
    assert space_file(Path("kd_grid.py"), "kd.py") == tmp_path / "kd_grid.py"  # one's own file comes first
    with pytest.raises(
        InputError, match=f"^--space kd_gird: no such file; spaces that come with xlite: {', '.join(SPACES)}$"
    ):
        space_file(Path("kd_gird"), "kd.py")

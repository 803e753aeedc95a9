"""The wheel: what is in it, what it says it needs, and the default search from it, in an environment of its own."""

import ast
import csv
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from conftest import REPO, read_json

import xlite

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLITE_HOME")}


def run(*command: object, cwd: Path) -> str:
    """What a command prints, once it has ended well; on one core, since spinning threads would slow a busy machine."""
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=540,
        cwd=cwd,
        env={**ENVIRONMENT, "COLUMNS": "160"},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by pip from what the build needs, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("xlite", "search_spaces"):
        shutil.copytree(REPO / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPO / name, folder / "source")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, folder / "source", cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, inside another project's checkout.

    Its dependencies are those of this one: `.pth` files in the folder are not read, so an editable xlite is not seen.
    """
    project = tmp_path_factory.mktemp("project")
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    run("git", "init", "--quiet", cwd=project)
    run("git", *author, "commit", "--quiet", "--allow-empty", "-m", "Another project", cwd=project)
    run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=project)
    python = project / "env" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=project)
    (site_packages(project / "env") / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return project / "env"


def site_packages(environment: Path) -> Path:
    return next(environment.glob("lib/python*/site-packages"))


def content(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_wheel_holds_the_library_the_spaces_and_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(f"xlite_kd-{xlite.__version__}.dist-info/METADATA").decode()
        assert archive.read(f"xlite_kd-{xlite.__version__}.dist-info/licenses/LICENSE")
    spaces = {f"xlite/search_spaces/{path.name}" for path in (REPO / "search_spaces").glob("*.py")}
    library = {str(path.relative_to(REPO)) for path in (REPO / "xlite").rglob("*.py")}
    page = {f"xlite/html_report/report.{suffix}" for suffix in ("css", "html", "js")}
    assert names == library | spaces | page | {"xlite/py.typed", "xlite/export/card.md.jinja"}
    assert f"\nName: xlite-kd\nVersion: {xlite.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata


def test_the_wheel_requires_every_package_that_it_imports(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"xlite_kd-{xlite.__version__}.dist-info/METADATA").decode()
    required = {canonical(name) for name in re.findall(r"^Requires-Dist: ([\w.-]+)", metadata, flags=re.MULTILINE)}
    distributions = packages_distributions()
    imported = set()
    for path in (REPO / "xlite").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            imported |= {name.partition(".")[0] for name in names}
    foreign = imported - set(sys.stdlib_module_names) - {"xlite"}
    assert {"torch", "ray", "cv2"} <= foreign
    missing = {name for name in foreign if not {canonical(d) for d in distributions.get(name, [name])} & required}
    assert not missing


def test_the_default_search_runs_from_another_folder(environment: Path, tmp_path: Path) -> None:
    command, installed = environment / "bin" / "xlite", content(environment)
    where = run(environment / "bin" / "python", "-c", "import xlite; print(xlite.__file__)", cwd=tmp_path)
    assert Path(where.strip()) == site_packages(environment) / "xlite" / "__init__.py"
    toy = ("--trials", 2, "--max-epochs", 1, "--image-size", 32, "--no-promote")
    said = run(command, "tune", "--study", "toy", *toy, cwd=tmp_path)
    assert "No --data: working on phantom images, made in data/phantom/" in said
    study = tmp_path / "ray_results" / "toy"
    with (study / "leaderboard.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["completed", "completed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "ray_results"]
    assert content(environment) == installed
    manifest = read_json(study / "study.json")
    assert Path(manifest["options"]["space"]).parent == site_packages(environment) / "xlite" / "search_spaces"
    assert manifest["git"] is None  # not the commit of the project that the environment lies in
    assert "2 rows in " in run(command, "leaderboard", "--study", "toy", "--csv", "board.csv", cwd=tmp_path)

"""Imports point up one list only, ray is known in one place, and --help is quick."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
LAYERS = [
    {"errors"},
    {"storage", "cores"},
    {"config", "console"},
    {"data", "device"},
    {"models"},
    {"losses"},
    {"metrics"},
    {"package"},
    {"tasks"},
    {"distill"},
    {"train"},
    {"predictor"},
    {"explain"},
    {"samplers"},
    {"ledger"},
    {"report"},
    {"gpu"},
    {"study"},
    {"tune"},
    {"promotion"},
    {"export"},
    {"evaluate"},
    {"html_report"},
    {"gpu_check"},
    {"commands"},
]
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}
FILES = sorted((REPO / "xlite").rglob("*.py"))


def imported(path):
    """Absolute names of everything a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name):
    return name.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(REPO)))
def test_a_file_imports_only_from_above(path):
    parts = path.relative_to(REPO / "xlite").with_suffix("").parts
    if parts in (("__init__",), ("__main__",)):
        return
    own = HEIGHT[parts[0]]
    for name in imported(path):
        if name.startswith("xlite."):
            assert HEIGHT[layer(name)] <= own, f"{path.name} imports {name}, which stands below it"


def test_only_tune_imports_ray():
    users = {
        p.relative_to(REPO / "xlite").parts[0] for p in FILES if any(n.split(".")[0] == "ray" for n in imported(p))
    }
    assert users == {"tune"}


def test_the_list_and_the_tree_agree():
    paths = {p for p in (REPO / "xlite").iterdir() if not p.name.startswith("__") and p.name != "py.typed"}
    there = {p.name.removesuffix(".py") for p in paths}
    assert there == set(HEIGHT)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(REPO)))
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 66, f"{path}: {node.name}"


@pytest.mark.parametrize("runner", sorted(p.stem for p in (REPO / "runners").glob("*.py")))
def test_help_imports_nothing_slow_and_names_every_option(runner):
    code = (
        f"import runpy, sys; sys.argv = ['{runner}.py', '--help']\n"
        f"try: runpy.run_path(r'{REPO / 'runners' / (runner + '.py')}', run_name='__main__')\n"
        "except SystemExit as end: assert end.code in (0, None), end.code\n"
        "slow = {'torch', 'ray', 'optuna', 'timm', 'pandas', 'albumentations', 'cv2', 'sklearn', 'matplotlib'}\n"
        "slow &= set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout and "usage" in done.stdout

"""The documents agree with the code: generated pages are current, examples run, links lead somewhere."""

import json
import os
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPO

from xlite.config import RunConfig
from xlite.report.leaderboard import leaderboard_frame
from xlite.study.plan import FIXED_KEYS
from xlite.study.probes import check_space
from xlite.study.space import load_space

DOCS = REPO / "docs"
PAGES = sorted([*REPO.glob("*.md"), *DOCS.rglob("*.md"), *(REPO / "benchmarks").glob("*.md")])


def code_blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_reference_is_what_the_code_says():
    for path, text in runpy.run_path(str(DOCS / "make_reference.py"))["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path.name} is out of date: run python docs/make_reference.py"
        )


@pytest.mark.parametrize("script", ["draw_dataflow", "draw_result"])
def test_pictures_are_what_their_scripts_draw(script):
    drawing = runpy.run_path(str(DOCS / f"{script}.py"))
    stored = drawing["PICTURE"].read_text(encoding="utf-8")
    assert stored == drawing["draw"](), f"out of date: run python docs/{script}.py"


def test_the_dataflow_shows_every_package():
    drawing = runpy.run_path(str(DOCS / "draw_dataflow.py"))
    drawn = {name for names in drawing["BOXES"] for name in names} - set(drawing["OUTSIDE"])
    there = {path.stem for path in (REPO / "xlite").iterdir() if not path.name.startswith(("__", "py.typed"))}
    assert drawn | set(drawing["EVERYWHERE"]) == there


def test_files_md_names_every_leaderboard_column():
    named = set(re.findall(r"`([a-z0-9_]+)`", (DOCS / "reference" / "files.md").read_text(encoding="utf-8")))
    columns = set(leaderboard_frame([], study="s").columns)
    assert columns <= named, f"describe in docs/reference/files.md: {sorted(columns - named)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPO)))
def test_links_between_pages_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{page.name} links to {target}"


def test_the_readme_is_short():
    assert (REPO / "README.md").read_text(encoding="utf-8").count("\n") <= 140


def test_the_space_of_the_tutorial_can_be_searched(tmp_path):
    search, grid = code_blocks(DOCS / "tutorials" / "space.md", "python")
    for name, code in (("myspace.py", search), ("grid.py", grid)):
        (tmp_path / name).write_text(code, encoding="utf-8")
        space = load_space(tmp_path / name, "multilabel")
        assert check_space(space, RunConfig(), reserved=FIXED_KEYS)
    assert space.is_grid and len(space.first) == 3


def test_the_task_of_the_tutorial_trains_and_predicts(tmp_path):
    (tmp_path / "ultrasound.py").write_text(code_blocks(DOCS / "tutorials" / "task.md", "python")[0], encoding="utf-8")
    frames = tmp_path / "frames"
    frames.mkdir()
    rng = np.random.default_rng(0)
    lines = ["file,patient,diagnosis"]
    for number in range(60):
        np.save(frames / f"{number:02}.npy", rng.normal(size=(40, 50)))
        lines.append(f"{number:02}.npy,p{number // 2:02},{('benign', 'malignant')[number // 2 % 2]}")
    (frames / "cases.csv").write_text("\n".join(lines))
    code = (
        "import json, sys, xlite\n"
        "from xlite.commands.main import main\n"
        "try:\n"
        "    main(['train', '--task', 'ultrasound:ULTRASOUND', '--data', 'frames', '--epochs', '1', '--out', 'one',\n"
        "          '--image-size', '32'])\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print(json.dumps(xlite.load('one').predict('frames/00.npy')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPO)])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert set(answer) == {"benign", "malignant"} and sum(answer.values()) == pytest.approx(1)

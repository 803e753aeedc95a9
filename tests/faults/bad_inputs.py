"""What the rows of the bad-input table are made of: the row itself, and the ways in which an input is spoilt."""

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
from conftest import HEADER, write_nih_folder

from xlite.ledger import Ledger, TrialResult, sqlite_url
from xlite.storage.files import write_json
from xlite.train.summary import RunSummary

Given = Callable[[Path], object]
TABLE = "nih/Data_Entry_2017_v2020.csv"
PLACES = {
    "tune_kd": "--data {home}/nih --results {home}/results --cache-dir {home}/cache",
    "train_baselines": "--data {home}/nih --results {home}/results --cache-dir {home}/cache",
    "train_one": "--data {home}/nih --cache-dir {home}/cache --out {home}/out --image-size 32 --epochs 1",
    "train_teacher": "--data {home}/nih --cache-dir {home}/cache --out {home}/out --image-size 32 --epochs 1",
    "prepare_data": "--data {home}/nih --cache-dir {home}/cache",
    "check_balance": "--data {home}/nih --out {home}/out",
    "compare": "--results {home}/results",
    "promote": "--study kd --results {home}/results",
    "teacher_bank": "--study kd --results {home}/results",
    "leaderboard": "--study kd --results {home}/results",
    "analyze": "--study kd --results {home}/results --out {home}/out",
    "check_gpu": "--device cpu --out {home}/check.json",
    "watch": "--study kd --results {home}/results",
    "predict": "--model {home}/p",
    "package": "--study kd --results {home}/results",
    "export": "--model {home}/p --results {home}/results",
    "explain": "--model {home}/m --out {home}/sheets",
    "evaluate": "--model {home}/package --data {home}/nih --cache-dir {home}/cache --out {home}/out",
}
"""What each runner is given before a row's own arguments, of which the last counts; {home} is the row's folder."""


@dataclass(frozen=True)
class Row:
    """One mistake: the runner, the arguments it is made with, and what the one line on stderr says.

    Attributes:
        line: regular expression, searched in the line.
        given: spoils the healthy folder that each row begins with (`healthy`).
        shell: also seen from a shell, in a process of its own.
    """

    id: str
    command: str
    arguments: str
    line: str
    given: Given = lambda home: None
    shell: bool = False
    code: int = 2

    def words(self, home: Path) -> list[str]:
        """The whole command line after the runner's name."""
        own = "--cache-dir {home}/cache" if self.arguments.startswith("--clean --results") else PLACES[self.command]
        text = f"{own} {self.arguments}"
        return [word.replace("{home}", str(home)) for word in shlex.split(text)]


@cache
def made(name: str) -> Path:
    """A folder that is made once a process and copied from: "home", "lumbar", "stm" or "images"."""
    folder = Path(mkdtemp(prefix=f"xlite-{name}-")) / name
    MAKERS[name](folder)
    return folder


def healthy(home: Path) -> None:
    """A small data set in NIH's layout in nih/, and the study "kd" of three trials, one still running, in results/."""
    shutil.copytree(made("home"), home, dirs_exist_ok=True)


def _make_home(folder: Path) -> None:
    write_nih_folder(folder / "nih", 60)
    study = folder / "results" / "kd"
    study.mkdir(parents=True)
    with Ledger.open(sqlite_url(study / "study.db"), "kd", create=True) as ledger:
        for number, alpha in enumerate((0.0, 0.5, 1.0)):
            ledger.enqueue({"distill.alpha": alpha, "distill.temperature": 4.0})
            ledger.ask(lambda trial: {})
            ledger.report(number, 1, 0.6 + alpha / 10)
        for number, value in enumerate((0.60, 0.65)):
            summary = RunSummary(epochs=1, curve=(value,), best_epoch=1, seconds=36, device="cpu")
            ledger.finish(number, "complete", value=value, result=TrialResult(summary=summary))


def _make_lumbar(folder: Path) -> None:
    from xlite.data.phantom.lumbar import write_lumbar_phantom

    write_lumbar_phantom(folder, num_studies=12, image_px=64, seed=0)


def _make_stm(folder: Path) -> None:
    from xlite.data.phantom.stm import write_stm_phantom

    write_stm_phantom(folder, num_scans=12, lines=32, points=32, seed=0)


def _make_images(folder: Path) -> None:
    import cv2

    folder.mkdir()
    rng = np.random.default_rng(0)
    names = [f"{number:03}.png" for number in range(40)]
    for name in names:
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (16, 16), dtype=np.uint8))
    table = {"image": names, "patient": [f"p{i // 2}" for i in range(40)], "ill": [int(i % 3 == 0) for i in range(40)]}
    pd.DataFrame(table).to_csv(folder / "labels.csv", index=False)


MAKERS = {"home": _make_home, "lumbar": _make_lumbar, "stm": _make_stm, "images": _make_images}


def copy_of(name: str, *changes: Given) -> Given:
    """The folder `name` of another task's data in the row's folder, then `changes` to that."""

    def given(home: Path) -> None:
        shutil.copytree(made(name), home / name)
        for change in changes:
            change(home / name)

    return given


def text(name: str, change: Callable[[str], str]) -> Given:
    """The text file `name` changed."""
    return lambda home: (home / name).write_text(change((home / name).read_text()))


def content(name: str, data: bytes | str) -> Given:
    """The file `name` with this content, its folders made."""

    def given(home: Path) -> None:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(data if isinstance(data, bytes) else data.encode())

    return given


def nih_table(change: Callable[[str], str]) -> Given:
    """NIH's label table changed."""
    return text(TABLE, change)


def encoded(encoding: str) -> Given:
    """NIH's label table in another encoding."""
    return lambda home: (home / TABLE).write_text((home / TABLE).read_text(), encoding=encoding)


def image(change: Callable[[bytes], bytes]) -> Given:
    """The first of NIH's images changed; one of 60, so more than 1%."""

    def given(home: Path) -> None:
        path = sorted((home / "nih").rglob("*.png"))[0]
        path.write_bytes(change(path.read_bytes()))

    return given


def cell(table: str, column: str, value: str, *, row: int = 0) -> Given:
    """One cell of a CSV changed."""

    def given(folder: Path) -> None:
        frame = pd.read_csv(folder / table, dtype=str, keep_default_na=False)
        frame.loc[row, column] = value
        frame.to_csv(folder / table, index=False)

    return given


def frame(table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Given:
    """A CSV changed as a whole."""

    def given(folder: Path) -> None:
        change(pd.read_csv(folder / table, dtype=str, keep_default_na=False)).to_csv(folder / table, index=False)

    return given


def removed(pattern: str) -> Given:
    """The first file or folder that the pattern finds is gone."""

    def given(home: Path) -> None:
        path = sorted(home.glob(pattern))[0]
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return given


def cut(pattern: str, num_bytes: int, *, at: int = 0) -> Given:
    """One of the files that the pattern finds keeps only its first bytes."""

    def given(home: Path) -> None:
        path = sorted(home.glob(pattern))[at]
        path.write_bytes(path.read_bytes()[:num_bytes])

    return given


def given_all(*changes: Given) -> Given:
    """One change after the other."""

    def given(home: Path) -> None:
        for change in changes:
            change(home)

    return given


def fifo(name: str) -> Given:
    """A pipe of that name, from which nothing will ever be read."""
    import os

    return lambda home: os.mkfifo(home / name)


def teacher(*, state: Callable[[dict], object] | None = None, keep: Callable[[Path], object] | None = None, **changes):
    """A teacher of 14 labels at 32 px in teacher.safetensors and teacher.json, its description changed.

    Args:
        state: changes the weights before they are saved; keep: changes the folder after.
    """

    def given(home: Path) -> None:
        from xlite.config import ModelConfig
        from xlite.data.sources.nih import LABELS
        from xlite.models.artifact import save_artifact, state_copy
        from xlite.models.build import build_model

        labels = changes.get("labels", list(LABELS))
        num_labels = len(labels) if isinstance(labels, list) else 14
        weights = state_copy(build_model(ModelConfig(), num_labels=max(num_labels, 1), seed=0))
        if state is not None:
            state(weights)
        about = {"model": ModelConfig().model_dump(), "in_channels": 1, "image_size": 32, "split_hash": "elsewhere"}
        save_artifact(home, "teacher", weights, {**about, "labels": list(LABELS)})
        description = json.loads((home / "teacher.json").read_text())
        write_json(home / "teacher.json", {**description, **changes})
        if keep is not None:
            keep(home)

    return given


def space(source: str) -> Given:
    """The search space space.py."""
    return content("space.py", source)


def header_only(_: str) -> str:
    """NIH's table without a row."""
    return HEADER

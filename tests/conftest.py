"""What several tests share: a tiny NIH-like folder, a tiny data set in memory, the real images where they are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPO = Path(__file__).resolve().parents[1]
SHARED = REPO.parent / "shared" / "data"
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)
FIXTURES, PLACEHOLDER = REPO / "tests" / "fixtures", "@FIXTURE@"
MADE_NS = 1_700_000_000 * 10**9
"""When the fixtures' raw files were last changed. It is a part of a pixel cache's key, and git does not keep it."""
TINY_LABELS = ("Cardiomegaly", "Effusion", "Infiltration")


@pytest.fixture(scope="session")
def nih_mini() -> Path:
    """The 1,565 real images, where this checkout has them beside it."""
    folder = SHARED / "nih_mini"
    if not folder.is_dir():
        pytest.skip(f"real NIH images are not here ({folder})")
    return folder


def write_nih_folder(folder: Path, num_images: int = 120, *, px: int = 48, seed: int = 0) -> Path:
    """A learnable data set in NIH's layout: each of three findings is a bright block in its own place."""
    rng = np.random.default_rng(seed)
    (folder / "images_001" / "images").mkdir(parents=True)
    rows = []
    for i in range(num_images):
        present = rng.random(3) < 0.35
        image = rng.integers(0, 90, (px, px), dtype=np.uint8)
        for k in np.flatnonzero(present):
            top = 4 + k * (px // 3)
            image[top : top + px // 4, px // 4 : 3 * px // 4] += 110
        name = f"{i // 2:08d}_{i % 2:03d}.png"
        cv2.imwrite(str(folder / "images_001" / "images" / name), image)
        findings = "|".join(label for label, p in zip(TINY_LABELS, present, strict=True) if p) or "No Finding"
        rows.append(f"{name},{findings},{i % 2},{i // 2},50,F,PA,2500,2048,0.143,0.143\n")
    (folder / "Data_Entry_2017_v2020.csv").write_text(HEADER + "".join(rows))
    return folder


def lay_out(name: str, folder: Path) -> Path:
    """A study of tests/fixtures as if it had been made in `folder`."""
    shutil.copytree(FIXTURES / name, folder)
    for path in folder.rglob("*.json"):
        path.write_text(path.read_text().replace(PLACEHOLDER, str(folder)))
    for path in folder.glob("data/**/*"):
        os.utime(path, ns=(MADE_NS, MADE_NS))
    return folder


@pytest.fixture(scope="session")
def tiny_nih(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`write_nih_folder`, once a session; tests must not change it."""
    return write_nih_folder(tmp_path_factory.mktemp("tiny") / "nih")


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory):
    """200 patterned 32 px images with three labels, split 140/30/30, as a Dataset."""
    from xlite.data.dataset import Dataset
    from xlite.data.input_spec import InputSpec

    folder = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 3)) < 0.3).astype(np.float32)
    pixels = rng.integers(0, 120, (200, 32, 32)).astype(np.uint8)
    for k in range(3):
        pixels[targets[:, k] == 1, 8 * k + 2 : 8 * k + 10, 8:20] += 100
    np.save(folder / "pixels.npy", pixels)
    names = np.array([f"image{i}" for i in range(200)])
    parts = {"train": np.arange(140), "val": np.arange(140, 170), "test": np.arange(170, 200)}
    groups = np.array([f"patient{i}" for i in range(200)])
    return Dataset(
        folder / "pixels.npy",
        "tiny",
        np.arange(200),
        names,
        groups,
        targets,
        ("a", "b", "c"),
        parts,
        "split",
        InputSpec("image", (32, 32)),
    )


def run_runner(
    name: str, *arguments: object, timeout_s: float = 240, **environment: str
) -> subprocess.CompletedProcess:
    """A runner in a process of its own, from another folder than the repository's, which is XLITE_HOME unless given."""
    return subprocess.run(
        [sys.executable, str(REPO / "runners" / f"{name}.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd="/",
        env={**os.environ, "COLUMNS": "160", "XLITE_HOME": str(REPO), **environment},
    )


def read_json(path: Path):
    return json.loads(path.read_text())

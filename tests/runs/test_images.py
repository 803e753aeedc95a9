"""Any folder of labelled images: class folders and tables, made and real ones, from raw files to a promoted student."""

import csv
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import SHARED, read_json, run_runner

pytestmark = pytest.mark.xdist_group("ray")
SPACE = """
BASELINE = {"distill.alpha": 0.5, "optim.learning_rate": 3e-3}
def space(trial):
    return {"distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0, step=0.1),
            "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-3, 1e-2, log=True)}
"""


def search(home, data, *more):
    """A short search with promotion; returns what was printed and metrics.json."""
    (home / "space.py").write_text(SPACE)
    done = run_runner(
        "tune_kd", "--no-package",
        "--task", "images", "--data", data, "--study", "s", "--results", home / "r", "--cache-dir",
        home / "c", "--space", home / "space.py", "--trials", 2, "--max-epochs", 2, "--promote-epochs", 2,
        "--promote-top", 1, "--promote-seeds", 1,
        "--image-size", 32, *more, timeout_s=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Promoted student" in done.stdout
    assert (home / "r" / "s" / "promoted" / "model.safetensors").exists()
    return done.stdout, read_json(home / "r" / "s" / "promoted" / "metrics.json")


def test_colour_photographs_in_class_folders_of_mixed_sizes_and_formats(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(90):
        name = ("naevus", "melanoma", "wart")[number % 3]
        picture = rng.integers(0, 90, (20 + number % 7, 24, 3), dtype=np.uint8)
        picture[..., number % 3] += 120
        folder = tmp_path / "skin" / name
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.{('png', 'jpg', 'tif', 'bmp')[number % 4]}"), picture)
    out, metrics = search(tmp_path, tmp_path / "skin")
    assert "melanoma" in out and "one patient" in out  # what was understood, and what is not known
    assert metrics["metric"] == "balanced_accuracy" and set(metrics["test"]["per_label"]) == {
        "naevus",
        "melanoma",
        "wart",
    }
    description = read_json(tmp_path / "r" / "s" / "promoted" / "model.json")
    assert description["in_channels"] == 3 and description["target_kind"] == "multiclass"


def test_what_was_understood_is_shown_and_nothing_is_prepared(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(tmp_path / "data" / name / f"{number}.png"), np.full((9, 9), number, np.uint8))
    done = run_runner(
        "prepare_data", "--task", "images", "--data", tmp_path / "data", "--cache-dir", tmp_path / "c", "--dry-run"
    )
    assert done.returncode == 0, done.stderr
    assert "Dry run: 8 examples were read" in done.stdout and not (tmp_path / "c").exists()


def nih_form(form, nih, out):
    """nih_mini laid out anew, in one of the forms that the reader knows; images are links."""
    table = pd.read_csv(next(nih.glob("Data_Entry*.csv")))
    names, findings = table["Image Index"], table["Finding Labels"]
    where = {path.name: path for path in nih.rglob("*.png")}
    out.mkdir()
    if form == "class folders":
        for name, finding in zip(names, findings, strict=True):
            kind = "healthy" if finding == "No Finding" else "ill"
            (out / kind).mkdir(exist_ok=True)
            (out / kind / name).symlink_to(where[name])
        return
    (out / "pictures").mkdir()
    for name in names:
        (out / "pictures" / name).symlink_to(where[name])
    rows = pd.DataFrame({"image": names, "patient_id": table["Patient ID"]})
    if form == "joined":
        rows["findings"] = findings
    elif form == "class column":
        rows["diagnosis"] = np.where(findings == "No Finding", "healthy", "ill")
        rows["image"] = names.str.removesuffix(".png")
    else:
        for label in ("Effusion", "Cardiomegaly", "Infiltration"):
            rows[label] = findings.str.contains(label).astype(int)
    rows.to_csv(out / "labels.tsv", sep="\t", index=False)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["class folders", "joined", "class column", "label columns"])
def test_real_chest_images_in_every_form(form, nih_mini, tmp_path):
    nih_form(form, nih_mini, tmp_path / "data")
    out, metrics = search(tmp_path, tmp_path / "data")
    labels = {"joined": 14, "label columns": 3}.get(form, 2)
    assert len(metrics["test"]["per_label"]) == labels
    assert ("one patient" in out) == (form == "class folders")
    assert metrics["test"]["metrics"]["auc_macro"] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("form", ["class folders", "class column"])
def test_real_lumbar_slices_in_every_form(form, tmp_path):
    source = SHARED / "lumbar_slices"
    if not source.is_dir():
        pytest.skip(f"real lumbar slices are not here ({source})")
    files = sorted(source.glob("*.png"))
    grades = pd.read_csv(source / "radiological_gradings.csv").groupby("Patient")["Disc narrowing"].sum()
    rows = []
    for file in files:
        patient = int(file.name.split("_")[0])
        grade = "narrowed" if grades[patient] >= grades[[int(f.name.split("_")[0]) for f in files]].median() else "wide"
        rows.append((file.name, patient, grade))
        folder = tmp_path / "data" / (grade if form == "class folders" else "slices")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / file.name)
    more = []
    if form == "class column":
        with (tmp_path / "data" / "labels.csv").open("w", newline="") as table:
            csv.writer(table).writerows([("file", "patient", "disc"), *rows])
        more = ["--split", "image"]  # six patients are too few to keep every class in every part
    _, metrics = search(tmp_path, tmp_path / "data", *more)
    assert set(metrics["test"]["per_label"]) == {"narrowed", "wide"}

"""Steps on whole searches: `xlite tune` as a process, killed and continued; and a search timed and scaled."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from xlite.data.phantom.chest_dataset import write_phantom
from xlite.gpu_check.material import NIH_SUBSET
from xlite.gpu_check.place import Place, Wrong
from xlite.ledger import TrialRecord, open_to_read
from xlite.study.rungs import expected_epochs, first_rung

JOB_GOAL_MIN, JOB_TRIALS, JOB_EPOCHS = 8.0, 32, 20
_SPACE = """
BASELINE = {
    "model.backbone": "mobilenetv3_small_050", "model.pretrained": False, "distill.alpha": 0.5,
    "distill.temperature": 4.0, "optim.learning_rate": 1e-3, "optim.batch_size": 16,
}
def space(trial):
    rate = trial.suggest_float("optim.learning_rate", 1e-4, 1e-2, log=True)
    temperature = trial.suggest_float("distill.temperature", 1.0, 16.0, log=True)
    return {**BASELINE, "optim.learning_rate": rate, "distill.temperature": temperature}
"""
_UNTRAINED_KD = """
import runpy

_OF = runpy.run_path({space!r})
BASELINE = {{**_OF["BASELINE"], "model.pretrained": False}}


def space(trial):
    return {{**_OF["space"](trial), "model.pretrained": False}}
"""


def search(place: Place) -> str:
    """Trials that share the card; the driver is killed when all are training, and the same command continues."""
    num = place.pick(4, 2)
    (place.folder / "space.py").write_text(_SPACE)
    shared = _data(place, num_images=place.pick(400, 60), px=64, image_size=place.pick(64, 32))
    words = ["tune", "--study", "s", "--results", str(place.folder / "results"), *shared, "--no-promote"]
    words += ["--space", str(place.folder / "space.py"), "--trials", str(num), "--max-epochs", str(place.pick(30, 6))]
    words += ["--max-concurrent", str(num), *(["--gpus-per-trial", str(1 / num)] if place.on_gpu else [])]
    words += _teacher(place, shared, "resnet10t")
    study = place.folder / "results" / "s"
    before = _killed(_start(place, words), study, num)
    place.number("trials at once when the driver was killed", sum(row.state == "running" for row in before))
    place.number("epochs they had reported", sum(len(row.curve) for row in before))
    _ended(_start(place, words), "continued search")
    after = {row.number: row for row in _rows(study)}
    ended = [row for row in after.values() if row.state in ("complete", "pruned")]
    kept = all(dict(after[row.number].curve).items() >= dict(row.curve).items() for row in before)
    place.must("trials that ended well", len(ended), at_least=num, at_most=num)
    place.must("every epoch reported before is kept", kept)
    return f"{num} trials on the card, killed after {sum(len(row.curve) for row in before)} epochs, continued; all kept"


def job(place: Place) -> str:
    """Half the trials on a quarter of the images; minutes of the whole search follow from its image-epochs a second."""
    num_trials, num_images = place.pick((JOB_TRIALS // 2, 5606), (2, 60))
    max_epochs, image_size = place.pick((JOB_EPOCHS, 224), (1, 32))
    kd = Path(__file__).resolve().parents[2] / "search_spaces" / "kd.py"
    text = _UNTRAINED_KD.format(space=str(kd)) if place.on_gpu else _SPACE
    (place.folder / "space.py").write_text(text)
    shared = _data(place, num_images=num_images, px=256, image_size=image_size)
    words = ["tune", "--study", "s", "--results", str(place.folder / "results"), *shared, "--no-promote"]
    words += ["--space", str(place.folder / "space.py"), "--trials", str(num_trials), "--max-epochs", str(max_epochs)]
    words += _teacher(place, shared, place.pick("resnet18", "mobilenetv3_small_050"))
    study, started = place.folder / "results" / "s", time.monotonic()
    process = _start(place, words)
    begun_s = started
    while process.poll() is None and not any(row.curve for row in _rows(study)):
        time.sleep(0.5)
        begun_s = time.monotonic()
    _ended(process, "search")
    start_s, trained_s = begun_s - started, time.monotonic() - begun_s
    epochs = sum(len(row.curve) for row in _rows(study))
    num_train = round(0.7 * num_images)
    per_s = epochs * num_train / trained_s
    mean = expected_epochs(JOB_EPOCHS, first_rung(JOB_EPOCHS, 0, NIH_SUBSET))
    whole_min = (start_s + JOB_TRIALS * mean * NIH_SUBSET / per_s) / 60
    place.number("seconds until the first epoch, probes and bank included", start_s)
    place.number("images trained on a second, all trials together", per_s)
    place.number(
        f"{JOB_TRIALS} trials on {NIH_SUBSET:,} images, scaled, min", whole_min, at_most=place.pick(JOB_GOAL_MIN, None)
    )
    return f"{num_trials} trials, {epochs} epochs of {num_train:,} images in {start_s:.0f} + {trained_s:.0f} s"


def _data(place: Place, *, num_images: int, px: int, image_size: int) -> list[str]:
    """Phantoms, and the options that name them."""
    write_phantom(place.folder / "raw", num_images=num_images, image_px=px)
    return [
        "--data",
        str(place.folder / "raw"),
        "--cache-dir",
        str(place.folder / "cache"),
        "--image-size",
        str(image_size),
    ]


def _teacher(place: Place, shared: list[str], backbone: str) -> list[str]:
    """A teacher trained for one epoch, and the option that names it."""
    out = place.folder / "teacher"
    words = ["teacher", *shared, "--backbone", backbone, "--epochs", "1", "--out", str(out)]
    _ended(_start(place, [*words, "--set", "model.pretrained=false"]), "teacher")
    return ["--teacher", str(out / "teacher.safetensors")]


def _start(place: Place, words: list[str]) -> "subprocess.Popen[bytes]":
    """`xlite` with these words; what it prints goes to the step's log."""
    hidden = {} if place.on_gpu else {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "xlite", *words],
        stdin=subprocess.DEVNULL,
        stdout=2,
        env={**os.environ, **hidden, "XLITE_HOME": str(place.folder)},
    )


def _ended(process: "subprocess.Popen[bytes]", what: str) -> None:
    """Wait for its end, which must be a good one."""
    if code := process.wait():
        raise Wrong(f"{what}: exit {code}")


def _killed(process: "subprocess.Popen[bytes]", study: Path, num: int) -> list[TrialRecord]:
    """Kill it once so many trials have reported an epoch; what the ledger held just then."""
    while process.poll() is None:
        rows = _rows(study)
        if sum(bool(row.curve) for row in rows) >= num:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return _rows(study)
        time.sleep(0.1)
    raise Wrong(f"the search ended by itself (exit {process.returncode}) before {num} trials had reported an epoch")


def _rows(study: Path) -> list[TrialRecord]:
    """The trials in the ledger; none before there is one."""
    if not (study / "study.db").exists():
        return []
    try:
        with open_to_read(study) as ledger:
            return ledger.rows()
    except Exception:  # it is being made
        return []

"""What distillation gains: the same student with and without a teacher, same epochs, views and steps, judged on test.

    python benchmarks/kd_helps.py --data FOLDER --settings nih_small nih_fifth --ways kl --seeds 1 2 3 4 5 --out runs
    python benchmarks/kd_helps.py --out runs                          # the table of what is there

The settings are in `kd_settings.py`. A seed draws the split, the unlabelled part, and all training; it has a teacher of
its own, shared by all ways to distil. Of each training the epoch that is best on validation counts, as in a study. What
is there already is not run again. `--data` is for the settings on real images, in NIH's layout; the others draw
phantoms.

The first table: mean test metric over the seeds without and with the teacher, and the mean paired difference. Its 95%
interval is a bootstrap of seeds and, within each, of patients, expanded for few seeds (Hesterberg, arXiv 1411.5279).
p is a paired t-test over seeds, adjusted by Holm for all rows of the table. The second table: the same of other ways
to distil against `kl`. Both have every way in the folder, also those that the library has no more.
"""

import argparse
import runpy
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import REPO, columns
from kd_settings import SETTINGS, WAYS, Setting
from scipy.stats import ttest_1samp

from xlite.config import RunConfig
from xlite.console import SilentConsole
from xlite.data.dataset import Dataset
from xlite.device import choose_device
from xlite.distill.bank import Bank
from xlite.distill.teacher import load_teacher
from xlite.metrics.differences import holm
from xlite.report.intervals import expanded_interval
from xlite.storage.files import read_json, write_json
from xlite.study.teacher import num_views, teacher_bank
from xlite.tasks import find_task
from xlite.tasks.defaults import base_config, teacher_config
from xlite.tasks.prepare import DataRequest, prepare
from xlite.tasks.task import Task
from xlite.train.inference import predict_logits
from xlite.train.loop import fit
from xlite.train.run import TrainingRun
from xlite.train.step import new_model
from xlite.train.teacher import default_teacher

NUM_RESAMPLES = 2000


class Seed:
    """Data and teacher of one setting and seed."""

    def __init__(self, setting: Setting, seed: int, arguments: argparse.Namespace) -> None:
        self.setting, self.threads = setting, arguments.threads
        self.task, self.base = _base(setting, seed, arguments.threads)
        cache = arguments.out / "cache"
        folder = arguments.data if setting.on_real_images else self.task.write_phantom(arguments.out / "phantoms", None)
        request = DataRequest(folder, self.base.data, None, seed, "1", cache)
        prepared = prepare(self.task, request, SilentConsole())
        self.dataset = with_labelled(prepared.full, setting.labelled, seed)
        self.cache, self.device = cache, choose_device()

    def bank(self) -> Bank:
        """The answers of this seed's teacher to every training image."""
        config = teacher_config(self.task, self.base, "cpu", epochs=self.setting.teacher_epochs)
        config = config.override(
            {**self.setting.teacher, "train.threads": self.threads}, source=f"teacher of {self.setting.task}"
        )
        trained = default_teacher(config, self.task, self.dataset, folder=self.cache / "teachers")
        teacher = load_teacher(
            [trained.file], self.dataset, kind=self.task.target_spec.kind, device=self.device, allow_other_split=True
        )
        return teacher_bank(
            teacher, self.task, self.dataset, self.base, folder=self.cache / "banks", console=SilentConsole()
        )

    def train(self, way: str, place: Path) -> None:
        """Train the student in this way and store its answers to the test part."""
        config = self.base.override({**self.setting.student, **WAYS[way]}, source=f"student of {self.setting.task}")
        bank = self.bank() if config.distill.needs_teacher else None
        started = time.perf_counter()
        views = num_views(config.train.epochs)
        run = TrainingRun(config, self.task, self.dataset, self.device, bank=bank, num_views=views)
        state, report = None, None
        for report in fit(run):
            state = report.best_state or state
        assert state is not None and report is not None
        model = new_model(run)
        model.load_state_dict(state)
        test = self.dataset.parts["test"]
        logits = predict_logits(self.device.move(model), self.dataset, test, device=self.device)
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            place,
            answers=self.task.target_spec.probabilities(logits),
            targets=self.dataset.targets[test],
            groups=self.dataset.groups[test],
        )
        about = {"val": report.best_value, "epoch": report.best_epoch, "seconds": time.perf_counter() - started}
        write_json(place.with_suffix(".json"), about)


def _base(setting: Setting, seed: int, threads: int) -> tuple[Task, RunConfig]:
    """The task, and what all trainings of a seed share."""
    task = find_task(setting.task)
    baseline = runpy.run_path(str(REPO / "search_spaces" / task.defaults["cpu"].space))["BASELINE"]
    common = {**baseline, "distill.alpha": 0.0, **setting.common, "train.patience": setting.epochs}
    return task, base_config(task, "cpu", max_epochs=setting.epochs, seed=seed, threads=threads, settings=common)


def with_labelled(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The data with labels for this share of the training part's patients alone; the others' are unknown."""
    if share == 1:
        return dataset
    train = dataset.part("train")
    groups = np.unique(dataset.groups[train])
    chosen = np.random.default_rng([seed, 7]).permutation(groups)[: round(share * len(groups))]
    targets = dataset.targets.copy()
    targets[train[~np.isin(dataset.groups[train], chosen)]] = np.nan
    return replace(dataset, targets=targets)


def table(out: Path, *, against: str = "alone") -> list[dict[str, Any]]:
    """A row for each setting and way with two seeds or more, of which there is the one to compare with, too."""
    rows = []
    for name, setting in SETTINGS.items():
        task = find_task(setting.task)
        found = {path.stem for path in (out / name).glob("*/*.json")}
        for way in sorted(found - {"alone", against}):
            folders = [path.parent for path in sorted((out / name).glob(f"*/{way}.json"))]
            folders = [folder for folder in folders if (folder / f"{against}.json").exists()]
            if len(folders) >= 2:
                rows.append({"setting": name, "way": way, **compared(task, folders, way, against)})
    adjusted = holm([row["p"] for row in rows])
    return [{**row, "p, Holm": p} for row, p in zip(rows, adjusted, strict=True)]


def compared(task: Task, folders: list[Path], way: str, against: str) -> dict[str, Any]:
    """Test metrics over the seeds, and their paired difference with its interval."""
    scores: dict[str, list[Any]] = {against: [], way: []}
    weights = []
    for folder in folders:
        for one, found in scores.items():
            stored = np.load(folder / f"{one}.npz")
            found.append(task.target_spec.resampled_score(stored["answers"], stored["targets"]))
        weights.append(np.unique(stored["groups"], return_inverse=True)[1])

    def difference(seed: int, rows: np.ndarray) -> float:
        return scores[way][seed](rows) - scores[against][seed](rows)

    whole = [np.ones(len(group)) for group in weights]
    differences = np.array([difference(seed, rows) for seed, rows in enumerate(whole)])
    rng = np.random.default_rng(0)
    resampled = []
    for _ in range(NUM_RESAMPLES):
        drawn = []
        for seed in rng.integers(len(folders), size=len(folders)).tolist():
            num = weights[seed].max() + 1
            drawn.append(difference(seed, np.bincount(rng.integers(num, size=num), minlength=num)[weights[seed]]))
        resampled.append(np.nanmean(drawn))
    low, high = expanded_interval(np.array(resampled), len(folders))
    mean = {one: float(np.mean([f(w) for f, w in zip(found, whole, strict=True)])) for one, found in scores.items()}
    seconds = [[read_json(folder / f"{one}.json")["seconds"] for folder in folders] for one in scores]
    return {
        "seeds": len(folders),
        against: mean[against],
        "distilled": mean[way],
        "difference": float(differences.mean()),
        "low": low,
        "high": high,
        "better in": int((differences > 0).sum()),
        "p": float(ttest_1samp(differences, 0.0).pvalue),
        "seconds": float(np.sum(seconds)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--data", type=Path, help="real images in NIH's layout")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=[])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=["kl"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two epochs: that it runs, not what it measures")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/kd_helps.json too")
    arguments = parser.parse_args()
    for name in arguments.settings:
        for seed in arguments.seeds:
            wanted = ["alone", *(way for way in arguments.ways if way != "alone")]
            places = {way: arguments.out / name / str(seed) / f"{way}.npz" for way in wanted}
            todo = {way: place for way, place in places.items() if not place.with_suffix(".json").exists()}
            if todo:
                setting = SETTINGS[name]
                if arguments.quick:
                    setting = replace(setting, epochs=3, teacher_epochs=1)
                data = Seed(setting, seed, arguments)
                for way, place in todo.items():
                    data.train(way, place)
                    print(f"{name}, seed {seed}, {way}: {read_json(place.with_suffix('.json'))}", flush=True)
    rows, of_ways = table(arguments.out), table(arguments.out, against="kl")
    show(rows)
    show(of_ways)
    if arguments.save:
        results = {"benchmark": "kd_helps", "rows": rows, "ways against kl": of_ways}
        write_json(REPO / "benchmarks" / "results" / "kd_helps.json", results)


def show(rows: list[Mapping[str, Any]]) -> None:
    """Print the table, if it has rows."""
    if rows:
        cells = [[f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
        print("\n".join(columns([list(rows[0]), *cells])))


if __name__ == "__main__":
    main()

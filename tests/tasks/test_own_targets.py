"""A kind of targets that the library does not know: counts, by Poisson loss, judged by an error that is to be low.

Nothing of the library is edited for it, from raw files to leaderboard, promotion, probe and prediction.
"""

import csv
import sys
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch
from conftest import read_json
from rich.console import Console as RichConsole
from torch.nn import functional as F

import xlite
from xlite.commands.promote import tell
from xlite.commands.train_baselines import table_of
from xlite.config import RunConfig
from xlite.console import Console
from xlite.data.decode import ImagePreprocess
from xlite.data.sources import ParsedDataset
from xlite.data.table import Item, Table
from xlite.device import choose_device
from xlite.errors import InputError
from xlite.gpu import probe_worker
from xlite.gpu.probe import Shapes, probe_config
from xlite.ledger import Ledger, TrialResult, sqlite_url
from xlite.metrics.columns import MetricColumns
from xlite.metrics.multilabel import Evaluation
from xlite.promotion.promote import promote, promotion_config
from xlite.report.leaderboard import leaderboard_of, write_leaderboard
from xlite.study.manifest import metric_metadata
from xlite.study.members import Member, folds
from xlite.study.space import load_space
from xlite.tasks import TASKS
from xlite.tasks.defaults import base_config
from xlite.tasks.prepare import DataRequest, prepare
from xlite.tasks.target_spec import TargetSpec
from xlite.tasks.task import Budget, Defaults, Task
from xlite.train.resumable import train_resumable
from xlite.train.run import TrainingRun
from xlite.train.summary import NO_RUN

CPU = choose_device("fp32", kind="cpu")
LABELS = ("nuclei", "mitoses")


@dataclass
class PoissonObjective:
    alpha: float

    def __call__(self, logits, targets, teacher_logits):
        hard = self.supervised(logits, targets)
        soft = 0.0 if teacher_logits is None else F.mse_loss(logits, teacher_logits)
        return {"loss": (1 - self.alpha) * hard + self.alpha * soft, "hard": hard}

    def supervised(self, logits, targets):
        return F.poisson_nll_loss(logits, targets.nan_to_num(), reduction="none")[~targets.isnan()].mean()


def evaluate(answers, targets, labels):
    errors = np.abs(answers - targets)
    per_label = {name: {"mae": float(np.nanmean(errors[:, i]))} for i, name in enumerate(labels)}
    return Evaluation({"mae": float(np.nanmean(errors))}, per_label, (), ())


def mean_error(answers, targets):
    errors = np.nanmean(np.abs(answers - targets), axis=1)
    return lambda weights: weights @ errors / weights.sum(axis=-1)


def check_split(table, split):
    if np.isnan(table.targets[split.train]).all():
        raise InputError("no counts are known")
    return ()


COUNTS = TargetSpec(
    kind="counts",
    losses=("poisson",),
    make_objective=lambda config, targets: PoissonObjective(config.distill.alpha),
    probabilities=lambda logits: np.exp(logits.astype(np.float64)),
    evaluate=evaluate,
    metric="mae",
    direction="minimize",
    bootstrap=mean_error,
    initial_bias=lambda targets: np.log(np.nanmean(targets, axis=0)).tolist(),
    sample_weights=lambda targets, sampler: None,
    choose_thresholds=lambda *_, method: ({}, ()),
    strata=lambda targets: (targets > np.nanmedian(targets, axis=0)).astype(np.float32),
    check_split=check_split,
    made_up=lambda num, shape: np.arange(num * shape[0]).reshape(num, *shape) % 7.0,
    columns=MetricColumns({"val_mae": "val/mae", "test_mae": "test/mae"}, per_label="mae"),
    label_row=lambda train, val, test: {"val error": f"{val['mae']:.2f}", "test error": f"{test['mae']:.2f}"},
    describe_values=lambda values: f"{values.mean():.2f}",
)


def read(folder, *, allow_missing, data, column_overrides):
    """The counts are in the files' names: the brighter the picture the higher, the second half of the first."""
    paths = sorted(folder.glob("*.png"))
    counts = np.array([[int(path.stem.split("_")[1]), int(path.stem.split("_")[1]) // 2] for path in paths], np.float32)
    counts[0, 1] = np.nan
    ids = np.array([path.stem for path in paths])
    return ParsedDataset(Table(ids, tuple(Item((path,)) for path in paths), ids, counts, LABELS), kind="counts")


DEFAULTS = Defaults(
    space="images_kd_cpu.py", baselines="baselines_cpu.py", budget=Budget(2, 2, 2, 2), demo_budget=Budget(2, 2, 2, 2),
    config={"data.image_size": 32, "data.augmentation": "none", "optim.learning_rate": 1e-2, "optim.batch_size": 8},
    teacher={},
)  # fmt: skip
TASK = Task(
    name="counting", title="Counting", read=read, preprocess=lambda data, reading: ImagePreprocess(32, clahe_clip=0.0),
    defaults={"cpu": DEFAULTS, "cuda": DEFAULTS}, declared_target_spec=COUNTS,
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    home = tmp_path_factory.mktemp("counting")
    (home / "raw").mkdir()
    rng = np.random.default_rng(0)
    for number in range(120):
        count = int(rng.integers(0, 12))
        picture = rng.integers(18 * count, 18 * count + 40, (32, 32), dtype=np.uint8)
        cv2.imwrite(str(home / "raw" / f"{number:03}_{count}.png"), picture)
    data = base_config(TASK, "cpu", max_epochs=4, seed=0, threads=1, settings={}).data
    return prepare(TASK, DataRequest(home / "raw", data, None, 0, "0.8", home / "cache"), Console())


def config_of(epochs):
    return base_config(TASK, "cpu", max_epochs=epochs, seed=0, threads=1, settings={"train.patience": 9})


def test_it_is_split_trained_ranked_shown_promoted_and_asked(prepared, tmp_path, capsys):
    assert config_of(4).loss.name == "poisson"
    dataset = prepared.search
    (tmp_path / "trial").mkdir()
    results = list(
        train_resumable(
            TrainingRun(config_of(6), TASK, dataset, CPU),
            folder=tmp_path / "trial",
            stem="student",
            hyper_parameters={"a": 1},
        )
    )
    curve = [result.report.value for result in results]
    errors = [result.report.val.scalars["mae"] for result in results]
    assert curve == [-error for error in errors] and TASK.metric == "neg_mae"  # the highest score is the lowest error
    assert results[-1].best_value == -min(errors) and results[-1].summary.best_epoch == int(np.argmin(errors)) + 1
    assert min(errors) < 0.8 * np.nanmean(np.abs(dataset.targets - np.nanmean(dataset.targets, axis=0)))

    db = sqlite_url(tmp_path / "s.db")
    with Ledger.open(db, "s", create=True, metadata={"kind": "counts", **metric_metadata(TASK)}) as ledger:
        for number, (error, rate) in enumerate([(2.5, 1e-3), (min(errors), 1e-2), (1.9, 2e-3)]):
            ledger.enqueue({"optim.learning_rate": rate})
            ledger.ask(lambda trial: {"optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-4, 1)})
            ledger.report(number, 1, -error)
            summary = results[-1].summary if number == 1 else NO_RUN
            ledger.finish(number, "complete", value=-error, result=TrialResult(summary=summary))
        winner = ledger.best()
        assert winner.number == 1
        config = promotion_config(config_of(6), winner, epochs=2)
        parts = folds(prepared.full, COUNTS, 2, seed=0)
        members = [Member(f"model_{number}", part, None, num_views=1) for number, part in enumerate(parts)]
        done = promote(config, TASK, members, ledger, winner=winner, folder=tmp_path / "promoted")
        write_leaderboard(tmp_path / "leaderboard.csv", leaderboard_of(ledger))
        baselines = table_of(ledger.rows(), COUNTS)
    with (tmp_path / "leaderboard.csv").open() as file:
        final, *rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["1", "2", "0"] and {row["metric"] for row in rows} == {"neg_mae"}
    assert float(rows[0]["val_mae"]) == -float(rows[0]["value"]) == pytest.approx(min(errors), abs=1e-4)
    assert float(final["test_mae"]) == -float(final["test_value"]) == pytest.approx(done.test.scalars["mae"], abs=1e-4)
    assert rows[0]["val_auc_macro"] == "" and "val_pr_auc_macro" not in rows[0]
    assert {"val_mae_nuclei", "val_mae_mitoses"} <= rows[0].keys()
    interval = done.intervals.scalars["neg_mae"]
    assert interval.low <= done.test.scalars["neg_mae"] <= interval.high < 0
    tell(done, COUNTS, console := Console(RichConsole(file=sys.stdout, width=120)))
    console.rich.print(baselines)
    shown = capsys.readouterr().out
    assert "error" in shown and "neg_mae" in shown and "mae" in shown

    metrics = read_json(tmp_path / "promoted" / "metrics.json")
    assert metrics["metric"] == "neg_mae" and set(metrics["test"]["per_label"]) == set(LABELS)
    with pytest.raises(InputError, match="counts targets are not of this library"):
        xlite.load(tmp_path / "promoted")
    predictor = xlite.load(tmp_path / "promoted", target_spec=COUNTS, device="cpu")
    test = prepared.full.parts["test"]
    answers = [list(predictor.predict(prepared.table.items[row].path).values()) for row in test]
    assert evaluate(np.array(answers), prepared.full.targets[test], LABELS).scalars["mae"] == pytest.approx(
        done.test.scalars["mae"], abs=1e-5
    )


def test_the_parts_keep_the_shares_of_its_strata(prepared):
    high = COUNTS.strata(prepared.full.targets)[:, 0]
    shares = [high[prepared.full.parts[part]].mean() for part in ("train", "val", "test")]
    assert np.ptp(shares) < 0.1


def test_other_losses_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(InputError, match=r"loss.name=bce: counts targets take poisson"):
        base_config(TASK, "cpu", max_epochs=2, seed=0, threads=1, settings={"loss.name": "bce"})
    with pytest.raises(
        InputError, match=r"loss.name=poisson: multilabel targets take bce, weighted_bce, focal, bce_focal"
    ):
        base_config(TASKS["chestxray14"], "cpu", max_epochs=2, seed=0, threads=1, settings={"loss.name": "poisson"})


def test_a_space_may_have_a_baseline_for_it(tmp_path):
    (tmp_path / "space.py").write_text(
        'BASELINE = {"counts": {"loss.name": "poisson"}, "multilabel": {"loss.name": "bce"}}\n'
        'def space(trial, target_kind): return {"loss.name": "poisson"}\n'
    )
    assert load_space(tmp_path / "space.py", "counts").first == ({"loss.name": "poisson"},)


def test_the_probe_trains_on_targets_that_the_kind_makes_up(prepared, monkeypatch):
    monkeypatch.setattr("xlite.gpu.probe.find_task", lambda name: TASK)
    shapes = replace(Shapes.of(prepared.search, "own:TASK", "counts", CPU), num_val=6)
    config = RunConfig().override({"loss.name": "poisson", "optim.batch_size": 4}, source="test")
    assert probe_worker.trained_step_s(probe_config(config), shapes, CPU) > 0
    assert torch.get_num_threads() >= 1

"""The leaderboard: order, columns, files that are never half-written, and the runner that prints it."""

import csv
import io
import re
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console as RichConsole

from xlite.console import Console
from xlite.ledger import CandidateRecord, Ledger, PromotionRecord, TrialRecord, TrialResult, sqlite_url
from xlite.models.limits import Cost
from xlite.report.leaderboard import FIRST_COLUMNS, leaderboard_frame, render, write_leaderboard
from xlite.train.summary import EvaluationSummary, RunSummary

RUNNER = Path(__file__).resolve().parents[2] / "runners" / "leaderboard.py"
DAY = datetime(2026, 3, 9, 23, 30)


def row(number: int, state: Any, value: float | None = None, *, epochs: int = 5, **more: Any) -> TrialRecord:
    curve = dict.fromkeys(range(1, epochs + 1), value or 0.6)
    return TrialRecord(number, more.pop("phase", "search"), state, value, curve=curve, **more)


def full_row(**more: Any) -> TrialRecord:
    config = {
        **{"model.backbone": "resnet18", "model.attention": "mhsa", "model.dropout": 0.2, "distill.alpha": 0.7},
        **{"distill.temperature": 4.0, "optim.batch_size": 64, "optim.learning_rate": 0.00031, "train.seed": 42},
        **{"optim.weight_decay": 1e-5, "optim.schedule": "cosine", "loss.name": "bce", "data.sampler": "none"},
        **{"train.threads": 1, "train.epochs": 15},
    }
    summary = RunSummary(
        config=config,
        train_loss=0.31234567,
        best_epoch=4,
        epochs=5,
        seconds=12.345,
        device_seconds=24.69,
        device="cpu",
        metrics={"auc_macro": 0.7123456, "f1_macro_at_thresholds": 0.25, "f1_macro": 0.12, "pr_auc_macro": 0.2},
        per_label={"Hernia": {"auc": 0.81}, "Mass": {"f1": 0.1}},
        notes=("2 labels undefined",),
    )
    return row(
        12, "complete", 0.7123456, summary=summary, cost=Cost(11_400_000, 45.678, 7.8912, 0.25), finished=DAY, **more
    )


def promotion(promoted_from: int) -> PromotionRecord:
    test = EvaluationSummary(metrics={"auc_macro": 0.69, "f1_macro_at_thresholds": 0.24})
    return PromotionRecord("id", promoted_from, "f1", test, (0.6, 0.8), reads_of_test=1)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_complete_rows_come_first_then_pruned_by_rung_then_the_rest_unranked() -> None:
    rows = [
        row(0, "failed", reason="loss is nan"),
        row(1, "pruned", 0.90, epochs=2),
        row(2, "complete", 0.55),
        row(3, "pruned", 0.60, epochs=4),
        row(4, "running"),
        row(5, "pruned", 0.65, epochs=4),
        row(6, "complete", 0.70),
        row(7, "waiting", epochs=0),
        row(8, "complete", 0.70),
        row(0, "complete", 0.50, phase="final", promotion=promotion(6)),
    ]
    frame = leaderboard_frame(rows, study="s")
    ranks = [None if pd.isna(rank) else rank for rank in frame["rank"]]
    assert list(zip(frame["experiment_id"], ranks, strict=True)) == [
        ("s_final_0", None),
        ("s_00006", 1),
        ("s_00008", 2),
        ("s_00002", 3),
        ("s_00005", 4),
        ("s_00003", 5),
        ("s_00001", 6),
        ("s_00004", None),
        ("s_00007", None),
        ("s_00000", None),
    ]
    assert frame["status"].tolist() == [
        *["completed"] * 4, *["pruned"] * 3, "running", "waiting", "failed"
    ]  # fmt: skip


def test_the_first_twenty_columns_are_fixed(tmp_path: Path) -> None:
    write_leaderboard(tmp_path / "l.csv", leaderboard_frame([full_row()], study="s"))
    assert (
        (tmp_path / "l.csv")
        .read_text()
        .startswith(
            "experiment_id,date,phase,model_name,cnn_backbone,attention_type,kd_temperature,kd_alpha,batch_size,"
            "learning_rate,epochs,train_loss,val_auc_macro,val_f1_macro,test_auc_macro,test_f1_macro,inference_time_ms,"
            "model_size_mb,status,notes,rank,trial,"
        )
    )
    assert read(tmp_path / "l.csv") == [
        {
            **{
                "experiment_id": "s_00012",
                "date": "2026-03-09",
                "phase": "distillation",
                "model_name": "StudentNet+KD",
            },
            **{"cnn_backbone": "resnet18", "attention_type": "mhsa", "kd_temperature": "4", "kd_alpha": "0.7"},
            **{"batch_size": "64", "learning_rate": "0.00031", "epochs": "5", "train_loss": "0.3123"},
            **{"val_auc_macro": "0.7123", "val_f1_macro": "0.2500", "test_auc_macro": "", "test_f1_macro": ""},
            **{"inference_time_ms": "7.89", "model_size_mb": "45.68", "status": "completed"},
            **{"notes": "2 labels undefined", "rank": "1", "trial": "12", "metric": "auc_macro", "value": "0.7123"},
            **{"best_epoch": "4", "loss": "bce", "schedule": "cosine", "sampler": "none", "dropout": "0.2"},
            **{
                "weight_decay": "1e-05",
                "val_pr_auc_macro": "0.2000",
                "val_f1_macro_at_half": "0.1200",
                "test_f1_macro_at_half": "",
                "test_value": "",
                "inference_spread_ms": "0.25",
                "inference_median_ms": "",
                "inference_p95_ms": "",
                "num_params": "11400000",
                "seconds": "12.3",
                "device_seconds": "24.7",
            },
            **{
                "seed": "42",
                "threads": "1",
                "device": "cpu",
                "gap": "",
                **dict.fromkeys(("search_value", "retrained_value", "retrained_spread"), ""),
                **dict.fromkeys(("retrained_seeds", "test_reads"), ""),
                "val_auc_Hernia": "0.8100",
                "val_auc_Mass": "",
            },
        }
    ]


def test_a_promotion_shows_what_its_configuration_reached_in_the_search_and_when_trained_again() -> None:
    records = (
        CandidateRecord(9, 0.80, (0.70, 0.74), "chosen"),
        CandidateRecord(3, 0.79, (0.69, 0.71), "tied", (0.02, -0.01, 0.05)),
    )
    several = replace(promotion(9), seeds=(42, 43), candidates=records, test_values=(0.69, 0.71), reads_of_test=2)
    rows = [full_row(phase="final", promotion=several), row(13, "complete", 0.7, phase="final", promotion=promotion(9))]
    frame = leaderboard_frame(rows, study="s").set_index("experiment_id")
    luck = ["search_value", "retrained_value", "retrained_spread", "retrained_seeds", "test_reads"]
    assert frame.loc["s_final_12", luck].tolist() == pytest.approx([0.80, 0.72, 0.02 * 2**0.5, 2, 2])
    assert frame.loc["s_final_13", luck[:-1]].isna().all() and frame.loc["s_final_13", "test_reads"] == 1


def test_only_a_promotion_has_test_columns() -> None:
    search, final = full_row(), full_row(phase="final", promotion=promotion(9))
    frame = leaderboard_frame([search, final], study="s").set_index("experiment_id")
    assert frame.loc["s_final_12", ["phase", "trial", "test_auc_macro", "test_f1_macro"]].tolist() == [
        "final", 9, 0.69, 0.24
    ]  # fmt: skip
    assert frame.loc["s_00012", ["test_auc_macro", "test_f1_macro"]].isna().all()


@pytest.mark.parametrize(("alpha", "phase"), [(0.0, "baseline"), (0.5, "distillation")])
def test_a_searched_trial_is_a_baseline_unless_a_teacher_taught_it(alpha: float, phase: str) -> None:
    frame = leaderboard_frame([row(0, "complete", 0.7, overrides={"distill.alpha": alpha})], study="s")
    assert frame["phase"].tolist() == [phase]


def test_a_student_without_a_teacher_has_no_temperature() -> None:
    overrides = {"distill.alpha": 0.0, "distill.temperature": 4.0}
    frame = leaderboard_frame([row(0, "complete", 0.7, overrides=overrides)], study="s")
    assert frame.loc[0, ["model_name", "kd_temperature", "kd_alpha"]].tolist() == ["StudentNet", "N/A", "N/A"]


def test_a_row_that_only_began_shows_what_it_runs() -> None:
    chosen = {"model.backbone": "resnet18", "distill.alpha": 0.0}
    running = row(3, "running", overrides=chosen, queue_note="first", started=DAY)
    frame = leaderboard_frame([running], study="s", base={"model.backbone": "x", "optim.batch_size": 32})
    shown = frame.loc[0, ["phase", "cnn_backbone", "batch_size", "epochs", "value", "date", "notes"]].tolist()
    assert shown == ["baseline", "resnet18", 32, 5, 0.6, "2026-03-09", "first"]


def test_an_empty_record_and_an_empty_study_are_fine(tmp_path: Path) -> None:
    for rows in ([], [TrialRecord(0, "search", "waiting", None)], [TrialRecord(0, "final", "complete", 0.7)]):
        frame = leaderboard_frame(rows, study="s")
        assert tuple(frame.columns[:20]) == FIRST_COLUMNS
        write_leaderboard(tmp_path / "l.csv", frame)
        assert len(read(tmp_path / "l.csv")) == len(rows)
        render(frame)


def test_another_metric_than_auc_stands_under_value() -> None:
    frame = leaderboard_frame([row(0, "complete", 0.8)], study="s", metric="kappa")
    assert frame.loc[0, ["metric", "value"]].tolist() == ["kappa", 0.8]
    assert pd.isna(frame.loc[0, "val_auc_macro"])
    assert leaderboard_frame([row(0, "complete", 0.8)], study="s").loc[0, "val_auc_macro"] == 0.8


def test_a_label_called_macro_does_not_take_the_mean_s_place() -> None:
    summary = RunSummary(metrics={"auc_macro": 0.7}, per_label={"macro": {"auc": 0.9}})
    frame = leaderboard_frame([row(0, "complete", 0.7, summary=summary)], study="s")
    assert frame.loc[0, ["val_auc_macro", "val_auc_macro_"]].tolist() == [0.7, 0.9]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_run_is_quoted(tmp_path: Path, start: str) -> None:
    text = start + 'HYPERLINK("http://x","y")'
    bad = row(0, "failed", overrides={"model.backbone": text}, reason="=" + text)
    write_leaderboard(tmp_path / "l.csv", leaderboard_frame([bad], study="s"))
    cells = read(tmp_path / "l.csv")[0]
    assert cells["cnn_backbone"] == "'" + text
    assert cells["notes"].startswith("'=")


def test_a_negative_number_stays_a_number(tmp_path: Path) -> None:
    frame = leaderboard_frame([row(0, "complete", -0.25, summary=RunSummary(gap=-0.01))], study="s", metric="kappa")
    write_leaderboard(tmp_path / "l.csv", frame)
    cells = read(tmp_path / "l.csv")[0]
    assert (cells["value"], cells["gap"]) == ("-0.2500", "-0.0100")


def test_each_row_is_one_line(tmp_path: Path) -> None:
    bad = row(0, "failed", reason="CUDA error:\n  out of memory\r\n", notes=("a; b", 'c "d", e'))
    write_leaderboard(tmp_path / "l.csv", leaderboard_frame([bad], study="s"))
    assert len((tmp_path / "l.csv").read_text().splitlines()) == 2
    assert read(tmp_path / "l.csv")[0]["notes"] == 'a; b; c "d", e; CUDA error: out of memory'


def test_a_reader_never_meets_half_a_file(tmp_path: Path) -> None:
    path, done, sizes, problems = tmp_path / "l.csv", threading.Event(), set(), []
    frames = [leaderboard_frame([row(i, "complete", 0.5) for i in range(n)], study="s") for n in (3, 40)]
    write_leaderboard(path, frames[0])

    def keep_reading() -> None:
        while not done.is_set():
            rows = read(path)
            sizes.add(len(rows))
            if len(rows) not in (3, 40) or any(None in cells or None in cells.values() for cells in rows):
                problems.append(rows)

    reader = threading.Thread(target=keep_reading)
    reader.start()
    for turn in range(200):
        write_leaderboard(path, frames[turn % 2])
    done.set()
    reader.join()
    assert (sizes, problems) == ({3, 40}, [])
    assert [file.name for file in tmp_path.iterdir()] == ["l.csv"]


def test_the_terminal_s_table_shows_promotions_and_the_top(tmp_path: Path) -> None:
    rows = [row(i, "complete", 0.5 + i / 100, overrides={"model.backbone": f"[net{i}]"}) for i in range(9)]
    frame = leaderboard_frame([*rows, full_row(phase="final", promotion=promotion(9))], study="s")
    screen = io.StringIO()
    Console(RichConsole(file=screen)).show(render(frame, top=2))
    text = screen.getvalue()
    assert text.count("completed") == 3
    assert "[net8]" in text and "[net7]" in text and "[net6]" not in text
    assert "final" in text and "0.6900" in text


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_promotions_and_baselines_keep_place_trial_and_value_at_any_width(width: int) -> None:
    rows = [row(i, "complete", 0.5 + i / 100, overrides={"distill.temperature": 1 + i / 7}) for i in range(9)]
    more = [full_row(phase="final", promotion=promotion(9)), row(0, "complete", 0.61, phase="baseline")]
    screen = io.StringIO()
    terminal = RichConsole(file=screen, width=width, force_terminal=True, color_system=None, soft_wrap=True)
    Console(terminal).show(render(leaderboard_frame([*rows, *more], study="s")))
    words = [re.split(r"[ │┃]+", line.strip(" │┃")) for line in screen.getvalue().splitlines()]
    head = next(line for line in words if line[0] == "rank")
    assert {"rank", "trial", "val"} <= set(head)
    places = [line[0] for line in words if line[0].isdigit() or line[0] in ("final", "baseline")]
    assert places == ["final", *map(str, range(1, 10)), "baseline"]
    assert {f"{0.5 + i / 100:.4f}" for i in range(9)} | {"0.7123", "0.6100"} <= {
        word for line in words for word in line
    }
    assert "…" not in screen.getvalue() and max(map(len, screen.getvalue().splitlines())) <= width


def run_runner(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(RUNNER), *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    (results / "kd").mkdir()
    with Ledger.open(sqlite_url(results / "kd" / "study.db"), "kd", create=True) as ledger:
        for number in range(3):
            ledger.ask(lambda trial: {"optim.learning_rate": trial.suggest_float("optim.learning_rate", 0.1, 0.2)})
            ledger.report(number, 1, 0.5 + number / 10)
        ledger.finish(0, "complete", value=0.5)
        ledger.finish(1, "failed", value=None, result=TrialResult(reason="loss is nan"))
    return results


def test_the_runner_prints_and_exports_a_study_that_still_runs(results: Path, tmp_path: Path) -> None:
    done = run_runner("--study", "kd", "--results", str(results), "--csv", str(tmp_path / "out.csv"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "completed" in done.stdout and f"3 rows in {tmp_path / 'out.csv'}" in done.stdout
    assert [cells["status"] for cells in read(tmp_path / "out.csv")] == ["completed", "running", "failed"]
    assert read(tmp_path / "out.csv")[2]["notes"] == "loss is nan"


def test_the_runner_looks_where_storage_says(results: Path) -> None:
    url = sqlite_url(results / "kd" / "study.db")
    done = run_runner("--study", "other", "--storage", url)
    assert (done.returncode, done.stderr) == (2, f"error: no study 'other' in {url}; studies there: kd\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--study", "other"], "error: no study 'other' in {results}; studies there: kd\n"),
        (["--study", "a/b"], "error: study name 'a/b': use letters, digits, '.', '_' and '-' only"),
        (["--study", "kd", "--top", "0"], "error: argument --top: got '0'; write a whole number above 0"),
        (["--study", "kd", "--csv", "/no/where/l.csv"], "error: argument --csv: /no/where: no such folder"),
        ([], "error: the following arguments are required: --study"),
    ],
)
def test_the_runner_answers_bad_input_with_one_line(results: Path, arguments: list[str], line: str) -> None:
    done = run_runner("--results", str(results), *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(line.format(results=results))
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_runner_s_help_shows_defaults() -> None:
    done = run_runner("--help")
    assert done.returncode == 0
    assert "(default: 20)" in done.stdout

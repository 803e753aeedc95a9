"""What each option of each command does, as a check that fails where it does nothing."""

import csv
import shutil
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

from explaining import save_untrained
from small_package import write_package

from xlite.commands.options import check_thresholds
from xlite.study.options import StudyOptions
from xlite.study.time_budget import TimeBudget
from xlite.tasks import find_task
from xlite.tasks.target_spec import MULTICLASS

SPACE = """
BASELINE = {"model.backbone": "lcnet_050", "distill.alpha": 0.5}
def space(trial):
    return {"model.backbone": "lcnet_050", "distill.alpha": trial.suggest_float("distill.alpha", 0.1, 0.9)}
"""
GRID = 'CONFIGURATIONS = [{"model.backbone": "lcnet_050", "optim.batch_size": size} for size in (8, 16, 32)]'
STUDY = "--study kd --results {home}/results"


def data_options(command):
    """Effects of the options that say which data it is."""

    def columns(text):
        refused = "task chestxray14 reads fixed columns; leave it out"
        return lambda it: it.request(command, text).column_overrides and it.refuses("prepare", it.data(text), refused)

    return {
        "--task": lambda it: it.refuses(command, "--task brain", "--task brain: known tasks are"),
        "--data": lambda it: it.request(command).folder == it.home / "nih",
        "--split": lambda it: it.request(command, "--split image").split == "image",
        "--seed": lambda it: it.request(command, "--seed 7").seed == 7,
        "--image-size": lambda it: it.refuses(command, it.data("--image-size 8"), "data.image_size=8"),
        "--cache-dir": lambda it: str(it.request(command, "--cache-dir /c").cache_dir) == "/c",
        "--file-column": columns("--file-column f"),
        "--label-column": columns("--label-column l"),
        "--group-column": columns("--group-column g"),
        "--kind": columns("--kind binary"),
        "--layout": columns("--layout none"),
        "--table": columns("--table labels.csv"),
        "--split-column": columns("--split-column part"),
        "--positive": columns("--positive ill"),
        "--uncertain": columns("--uncertain error"),
        "--unknown": columns("--unknown 9"),
        "--threshold-labels": columns("--threshold-labels 0.0"),
        "--class-level": columns("--class-level 2"),
        "--guarantee-share": lambda it: it.request(command, "--guarantee-share 0.2").guarantee_share == 0.2,
        "--allow-missing": lambda it: it.request(command, "--allow-missing").allow_missing,
    }


def opening_options(command):
    """Effects of the options that say which study is opened, and where its parts are."""
    return {
        "--study": lambda it: str(it.opened(command, "--results /r")[0]) == "/r/b",
        "--results": lambda it: str(it.opened(command, "--results /q")[0]) == "/q/b",
        "--storage": lambda it: it.opened(command, "--storage sqlite:////x.db")[1].storage == "sqlite:////x.db",
        "--data": lambda it: str(it.opened(command, "--data /d")[1].data) == "/d",
        "--cache-dir": lambda it: str(it.opened(command, "--cache-dir /c")[1].cache_dir) == "/c",
        "--teacher": lambda it: len(it.opened(command, "--teacher t u")[1].teacher) == 2,
    }


def adopt(command):
    """Effect of --adopt: there is no study to take over."""
    return lambda it: it.refuses(command, f"--study no --results {it.home}/results --adopt", "no study to take over")


CHOOSE, JUDGE = (f"xlite.commands.evaluate.{name}" for name in ("choose", "judge_and_tell"))
COLUMNS = "xlite.evaluate.columns.find_columns"


def overrides(name, value):
    """Effect of an option on how a folder is read, in `xlite evaluate`."""
    word = value[0] if isinstance(value, list) else value
    return lambda it: evaluating(it, f"--{name} {word}")[1]["column_overrides"] == {name: value}


def over(budget, seconds):
    """A budget that has been spent."""
    return budget(seconds, clock=iter((0.0, seconds + 1)).__next__)


def limit(text):
    return lambda it: it.raises(lambda: it.dry(text), "no student of the space is within the limits")


def base_of(options: StudyOptions):
    return options.configure(find_task("chestxray14"))


# fmt: off
TUNE = {
    **data_options("tune"),
    "--no-report": lambda it: (it.reported("tune", ""), it.reported("tune", "--no-report")) == (True, False),
    "--study": lambda it: "Study new in" in it.dry("--study new"),
    "--results": lambda it: f"{it.home}/other/" in it.dry(f"--results {it.home}/other"),
    "--storage": lambda it: it.asked("--storage sqlite:////x.db").storage == "sqlite:////x.db",
    "--adopt": adopt("tune"),
    "--space": lambda it: "grid.py: 3 trials" in it.dry(f"--space {it.home}/grid.py"),
    "--trials": lambda it: (
        "space.py: 7 trials" in it.dry("--trials 7")
        and "grid.py: 2 trials" in it.dry(f"--space {it.home}/grid.py --trials 2")
        and "--trials 9: the grid has 3 configurations" in it.dry(f"--space {it.home}/grid.py --trials 9")
    ),
    "--max-epochs": lambda it: "trials of up to 3 epochs" in it.dry("--max-epochs 3"),
    "--subset": lambda it: "Searching on" in it.dry("--subset 0.5"),
    "--time-budget": lambda it: not over(TimeBudget, it.asked("--time-budget 1s").time_budget_s).may_start(),
    "--promote-reserve": lambda it: (
        it.asked("--promote-reserve 9s").promote_reserve_s == 9
        and it.raises(lambda: it.asked("--no-promote --promote-reserve 9s"), "drop one")
    ),
    "--warm-start": lambda it: it.raises(
        lambda: it.warm_start("--warm-start other"), "--warm-start other: there is no study.json"
    ),
    "--max-params": limit("--max-params 1k"),
    "--max-mb": limit("--max-mb 0.001"),
    "--max-latency-ms": limit("--max-latency-ms 0.000001"),
    "--objectives": lambda it: (
        "Objectives: auc_macro high, size_mb low" in it.dry("--objectives auc,size_mb")
        and it.raises(lambda: it.asked("--objectives auc,speed"), "multilabel targets have no such metric")
    ),
    "--latency-device": lambda it: (
        it.asked("--latency-device cpu:1").latency_device == "cpu:1"
        and it.raises(lambda: it.asked("--latency-device cpu:9999"), "--latency-device cpu:9999: this machine has")
    ),
    "--pretrained": lambda it: (
        [base_of(it.asked(f"--pretrained {word}")).model.pretrained for word in ("yes", "no", "auto")]
        == [True, False, False]
        and it.raises(lambda: it.asked("--pretrained no --set model.pretrained=true"), "differ; leave one out")
        and it.raises(lambda: it.dry("--pretrained yes --set model.backbone=coatnet_0_224"), "weights are unavailable")
    ),
    "--set": lambda it: (
        it.notes("--set loss.beta=0.5 --set model.dropout=0.3") == ["--set loss.beta: no trial of space.py reads it"]
        and base_of(it.asked("--set model.dropout=0.3")).model.dropout == 0.3
    ),
    "--teacher": lambda it: (
        it.raises(lambda: it.dry("--teacher no.safetensors"), "no.json")
        and "--teacher: no trial of space.py distils, so the teacher is not used"
        in it.notes("--teacher t --set distill.alpha=0")
    ),
    "--allow-other-split": lambda it: (
        it.asked("--teacher t --allow-other-split").allow_other_split
        and it.raises(lambda: it.asked("--allow-other-split"), "give --teacher too")
    ),
    "--teacher-answers": lambda it: (
        it.asked("--teacher t.csv --teacher-answers logits").teacher_answers == "logits"
        and it.raises(lambda: it.asked("--teacher t --teacher-answers logits"), "no --teacher is one; leave it out")
    ),
    "--teacher-weights": lambda it: (
        it.asked("--teacher t u --teacher-weights 1 2").teacher_weights == (1, 2)
        and it.raises(lambda: it.asked("--teacher t u --teacher-weights 1"), "--teacher-weights: 1 for 2 teacher(s)")
    ),
    "--teacher-trained-on": lambda it: (
        it.asked("--teacher t --teacher-trained-on /l.txt").teacher_trained_on[0].name == "l.txt"
        and it.raises(lambda: it.asked("--teacher-trained-on l.txt"), "give --teacher too")
    ),
    "--folds": lambda it: (
        it.promotion("--folds 3")["num_folds"] == 3 and "--folds will be" in it.dry("--no-promote --folds 3")
    ),
    "--repeats": lambda it: (
        it.asked("--folds 3 --repeats 2").num_repeats == 2
        and it.raises(lambda: it.asked("--repeats 2"), "give --folds K too")
        and "--folds and --repeats will be" in it.dry("--no-promote --folds 3 --repeats 2")
    ),
    "--outer-folds": lambda it: (
        "Study new-outer1of3 in" in it.dry("--study new --outer-folds 3")
        and "Outer fold 1 of 3 is the test part" in it.dry("--study new --outer-folds 3")
        and "3 outer folds, a search for each" in it.dry("--study new --outer-folds 3")
        and it.raises(lambda: it.dry("--outer-folds 3 --split official"), "deal all the data anew")
    ),
    "--promote-epochs": lambda it: (
        it.promotion("--promote-epochs 7")["epochs"] == 7
        and "--promote-epochs will be" in it.dry("--no-promote --promote-epochs 7")
    ),
    "--thresholds": lambda it: (
        it.promotion("--thresholds youden")["threshold_method"] == "youden"
        and it.promotion("--thresholds sensitivity=.90")["threshold_method"] == "sensitivity=0.9"
        and it.raises(lambda: check_thresholds("f1", MULTICLASS), "the most probable class is predicted; leave it out")
        and it.raises(lambda: it.asked("--no-promote --thresholds f1"), "nothing is promoted")
    ),
    "--promote-top": lambda it: (
        len(it.promotion("--promote-top 2")["size"].trials) == 2
        and "--promote-top will be" in it.dry("--no-promote --promote-top 2")
        and it.asked("").promote_top == 1
        and it.asked("--data d").promote_top is None
    ),
    "--promote-seeds": lambda it: (
        it.promotion("--promote-seeds 4")["size"].num_seeds == 4
        and "--promote-seeds will be" in it.dry("--no-promote --promote-seeds 4")
    ),
    "--again": lambda it: (
        (it.promotion("--again")["again"], it.promotion("")["again"]) == (True, False)
        and it.raises(lambda: it.asked("--no-promote --again"), "nothing is promoted")
    ),
    "--no-package": lambda it: [it.promotion(text)["packages"] for text in ("--no-package", "")] == [False, True],
    "--promote": lambda it: (
        it.raises(lambda: it.asked("--promote front"), "a search with one objective has no front; give --objectives")
        and it.raises(lambda: it.asked("--promote best --no-promote"), "drop one")
        and it.raises(lambda: it.asked("--objectives auc,size_mb --promote-top 2"), "add --promote best")
        and it.promotion("--promote best")["folder"].name == "promoted"
    ),
    "--no-promote": lambda it: it.promotion("--no-promote") is None,
    "--gpus-per-trial": lambda it: (
        it.shares("--gpus-per-trial 0.25", num_gpus=1).gpus_per_trial == 0.25
        and it.raises(lambda: it.shares("--gpus-per-trial 0.25"), "this machine has 0 GPU(s)")
    ),
    "--cpus-per-trial": lambda it: it.shares("--cpus-per-trial 2").max_concurrent == 2,
    "--mps": lambda it: (
        it.asked("--mps").mps
        and not it.asked("").mps
        and it.notes("--mps") == ["--mps cannot be used: there is no GPU"]
        and it.notes("--mps --address auto") == ["--mps cannot be used: the trials run on a cluster's machines"]
    ),
    "--max-concurrent": lambda it: (
        it.shares("--max-concurrent 3").max_concurrent == 3
        and "--max-concurrent 3: 2 at once, since there are 2 CPUs and 1 for each" in it.notes("--max-concurrent 3")
    ),
    "--hang-limit": lambda it: it.asked("--hang-limit 90s").hang_limit_s == 90,
    "--niceness": lambda it: it.stopped_at("os.nice", "tune", "--niceness 5")[0] == (5,) and it.raises(
        lambda: it.asked("--address auto --niceness 5"), "--niceness with --address"
    ),
    "--address": lambda it: it.asked("--address 10.0.0.1:6379").address == "10.0.0.1:6379",
    "--dry-run": lambda it: (
        "Dry run: nothing was trained" in it.dry("--study not_made") and not (it.home / "results/not_made").exists()
    ),
}
TRAIN = {
    **data_options("train"),
    "--subset": lambda it: it.training("--subset 0.5")[1] < it.training("")[1],
    "--epochs": lambda it: it.training("--epochs 3")[0].train.epochs == 3,
    "--threads": lambda it: it.training("--threads 1")[0].train.threads == 1,
    "--teacher": lambda it: (
        it.raises(lambda: it.training("--teacher no.safetensors"), "no.json")
        and it.training("--teacher no.safetensors --set distill.alpha=0") and it.says("the teacher is not used")
    ),
    "--allow-other-split": lambda it: it.refuses("train", "--allow-other-split", "give --teacher too"),
    "--teacher-answers": lambda it: it.refuses(
        "train", it.data(f"--teacher {it.table()} --teacher-answers probabilities"), "is outside 0 to 1"
    ),
    "--teacher-weights": lambda it: (
        it.refuses("train", "--teacher t --teacher-weights 1 2", "--teacher-weights: 2 for 1 teacher(s)")
    ),
    "--teacher-trained-on": lambda it: it.refuses(
        "train", it.data(f"--teacher {it.table()} --teacher-trained-on {it.home}/no.txt"), "no.txt: no such file"
    ),
    "--out": lambda it: it.training("")[2] == it.home / "one",
    "--pretrained": lambda it: (
        [it.training(f"--pretrained {word}")[0].model.pretrained for word in ("yes", "no")] == [True, False]
        and it.refuses("train", it.data("--pretrained yes --set model.backbone=coatnet_0_224"), "are unavailable")
    ),
    "--set": lambda it: (
        it.training("--set model.dropout=0.3 --set distill.temperature=9")[0].model.dropout == 0.3
        and it.says("distill.temperature is set, but this run does not read it")
    ),
}
TEACHER = {
    **data_options("teacher"),
    "--backbone": lambda it: (
        it.teaching("--backbone lcnet_050")[0].model.backbone == "lcnet_050"
        and it.refuses("teacher", "--backbone a --set model.backbone=b", "differ; leave one out")
    ),
    "--epochs": lambda it: it.teaching("--epochs 3")[0].train.epochs == 3,
    "--out": lambda it: it.teaching("")[1] == it.home / "t",
    "--pretrained": lambda it: (
        [it.teaching(f"--pretrained {word}")[0].model.pretrained for word in ("yes", "no")] == [True, False]
        and it.refuses("teacher", it.data("--pretrained yes --backbone coatnet_0_224"), "weights are unavailable")
    ),
    "--set": lambda it: (
        it.teaching("--set model.dropout=0.3 --set distill.temperature=9")[0].model.dropout == 0.3
        and it.says("distill.temperature is set, but this run does not read it")
    ),
}
BASELINES = {
    **data_options("baselines"),
    "--study": lambda it: it.baselines_at("--study other").parent.name == "other",
    "--results": lambda it: it.baselines_at(f"--study b --results {it.home}/r") == it.home / "r" / "b" / "baselines",
    "--storage": lambda it: it.baselines("--storage sqlite:////x.db").storage == "sqlite:////x.db",
    "--adopt": adopt("baselines"),
    "--space": lambda it: (
        it.baselines(f"--space {it.home}/grid.py").space == it.home / "grid.py"
        and it.refuses("baselines", it.data(f"--space {it.home}/space.py"), "only a grid (CONFIGURATIONS)")
    ),
    "--epochs": lambda it: base_of(it.baselines("--epochs 3")).train.epochs == 3,
    "--subset": lambda it: (
        it.stopped_at("xlite.study.plan.plan_study", "baselines", it.data("--subset 0.5")) and it.says("Searching on")
    ),
    "--pretrained": lambda it: (
        [base_of(it.baselines(f"--pretrained {word}")).model.pretrained for word in ("yes", "no")] == [True, False]
    ),
    "--profile": lambda it: (
        it.baselines("--profile power-safe").max_concurrent == 1
        and base_of(it.baselines("--profile power-safe")).optim.batch_size == 16
    ),
    "--pause": lambda it: it.baselines("--pause 5s").pause_s == 5,
    "--max-concurrent": lambda it: (
        it.baselines("--max-concurrent 3").max_concurrent == 3
        and it.raises(lambda: it.baselines("--profile power-safe --max-concurrent 3"), "runs one at a time")
    ),
}
PROMOTE = {
    **opening_options("promote"),
    "--adopt": adopt("promote"),
    "--no-report": lambda it: (it.reported("promote", ""), it.reported("promote", "--no-report")) == (True, False),
    "--trial": lambda it: (it.promoting("--trial 1")[0], it.promoting("")[0]) == (1, 2),
    "--folds": lambda it: (it.promoting("--folds 3")[1]["num_folds"], it.promoting("")[1]["num_folds"]) == (3, 2),
    "--repeats": lambda it: [it.repeating(text) for text in ("--repeats 3", "")] == [3, 1],
    "--epochs": lambda it: (it.promoting("--epochs 3")[1]["epochs"], it.promoting("")[1]["epochs"]) == (3, 9),
    "--thresholds": lambda it: it.promoting("--thresholds youden")[1]["threshold_method"] == "youden",
    "--promote-top": lambda it: len(it.promoting("--promote-top 3")[1]["size"].trials) == 3,
    "--promote-seeds": lambda it: it.promoting("--promote-seeds 2")[1]["size"].num_seeds == 2,
    "--no-package": lambda it: [it.promoting(text)[1]["packages"] for text in ("--no-package", "")] == [False, True],
    "--again": lambda it: (it.promoting("--again")[1]["again"], it.promoting("")[1]["again"]) == (True, False),
}
BANK = {
    **opening_options("bank"),
    "--check": lambda it: (it.compared("--check"), it.compared("")) == ([None], []),
    "--rows": lambda it: (
        it.compared("--check --rows 5") == [5] and it.refuses("bank", "--study s --rows 5", "give --check too")
    ),
}
PREPARE = {
    **data_options("prepare"),
    "--subset": lambda it: it.run("prepare", it.data("--subset 0.5")) == 0 and it.says("Searching on"),
    "--dry-run": lambda it: it.run("prepare", it.data("--dry-run")) == 0 and it.says("nothing was cached, split"),
    "--clean": lambda it: (
        it.run("prepare", f"--clean --results {it.home}/no --cache-dir {it.home}/no") == 0 and it.says("caches removed")
        and it.refuses("prepare", "--clean --subset 0.5", "--clean reads only --results and --cache-dir")
    ),
    "--results": lambda it: it.refuses("prepare", it.data(f"--results {it.home}"), "give --clean too"),
}
LEADERBOARD = {
    "--study": lambda it: it.refuses("leaderboard", f"--study no --results {it.home}/results", "no study 'no'"),
    "--results": lambda it: it.refuses("leaderboard", f"--study kd --results {it.home}", "studies there: none"),
    "--csv": lambda it: "2 rows in" in it.printed("leaderboard", f"--csv {it.home}/board.csv"),
    "--top": lambda it: ["0.7500" in it.printed("leaderboard", text) for text in ("", "--top 1")] == [True, False],
    "--storage": lambda it: it.refuses("leaderboard", "--study kd --storage sqlite:////no/x.db", "/no/x.db"),
}
ANALYZE = {
    "--study": lambda it: it.refuses("analyze", f"--study no --results {it.home}/results", "no study 'no'"),
    "--results": lambda it: it.refuses("analyze", f"--study kd --results {it.home}", "studies there: none"),
    "--storage": lambda it: it.refuses("analyze", "--study kd --storage sqlite:////no/x.db", "/no/x.db"),
    "--out": lambda it: it.printed("analyze", f"--out {it.home}/an") and (it.home / "an" / "analysis.md").exists(),
}
REPORT = {
    "--study": lambda it: it.refuses("report", f"--study no --results {it.home}/results", "no study 'no'"),
    "--results": lambda it: it.refuses("report", f"--study kd --results {it.home}", "studies there: none"),
    "--storage": lambda it: it.refuses("report", "--study kd --storage sqlite:////no/x.db", "/no/x.db"),
    "--out": lambda it: it.printed("report", f"--out {it.home}/r.html") and (it.home / "r.html").exists(),
    "--no-images": lambda it: written(it, "--no-images")["images"] is False and written(it, "")["images"] is True,
}
COMPARE = {
    "--results": lambda it: it.refuses("compare", f"a b --results {it.home}", "studies there: none"),
    "--part": lambda it: it.opens("--part test")[1]["writes"] and not it.opens("")[1]["writes"],
    "--again": lambda it: it.refuses("compare", "a b --again", "--again is for --part test"),
    "--csv": lambda it: it.raises_usage("compare", f"a b --csv {it.home}", "is a folder"),
}
BALANCE = {
    "--data": lambda it: it.refuses("balance", f"--data {it.home}/results", "Data_Entry"),
    "--batches": lambda it: balance(it, "--batches 3") and it.says("3 batches of 4 drawn"),
    "--batch-size": lambda it: balance(it, "--batch-size 5") and it.says("4 batches of 5 drawn"),
    "--seed": lambda it: balance(it, "--seed 1") != balance(it, "--seed 2"),
    "--out": lambda it: bool(balance(it, "")),
}
CHECK_GPU = {
    "--steps": lambda it: (
        [step.name for step in checked(it, "--steps bank card")[0]] == ["card", "bank"]
        and "epoch" not in [step.name for step in checked(it, "")[0]]
    ),
    "--list": lambda it: it.run("check-gpu", "--list") == 0 and "one-step" in it.capsys.readouterr().out,
    "--device": lambda it: checked(it, "--device cpu")[1].device == "cpu",
    "--out": lambda it: checked(it, f"--out {it.home}/r.json")[1].out == it.home / "r.json",
}
PREDICT = {
    "--model": lambda it: it.refuses("predict", f"{it.home}/nih --model {it.home}/results", "not a package"),
    "--out": lambda it: predicted(it, f"--out {it.home}/o.csv") == "" and (it.home / "o.csv").exists(),
    "--format": lambda it: predicted(it, "--format json").startswith("[\n{"),
    "--threads": lambda it: used_threads(it, "--threads 3") == 3,
    "--self-test": lambda it: it.refuses("predict", f"--self-test --model {packaged(it)}", "has no self-test"),
}
EXPORT = {
    "--model": lambda it: it.refuses("export", f"--int8 --model {it.home}/no", "no such folder"),
    "--int8": lambda it: made_smaller(it, "--int8") == "int8",
    "--fp16": lambda it: made_smaller(it, "--fp16") == "fp16",
    "--max-loss": lambda it: made_smaller(it, "--int8 --max-loss 0.25", place=3) == 0.25,
    "--out": lambda it: it.refuses(
        "export", f"--int8 --model {packaged(it)} {STUDY} --out {it.home}".format(home=it.home), "is there already"
    ),
    "--study": lambda it: opened_smaller(it, "")[0].name == "kd",
    "--results": lambda it: it.refuses(
        "export", f"--int8 --model {packaged(it)} --study kd --results {it.home}", "no study 'kd'"
    ),
    "--storage": lambda it: opened_smaller(it, "--storage sqlite:////x.db")[2].storage == "sqlite:////x.db",
    "--data": lambda it: str(opened_smaller(it, "--data /d")[2].data) == "/d",
    "--cache-dir": lambda it: str(opened_smaller(it, "--cache-dir /c")[2].cache_dir) == "/c",
}
PACKAGE = {
    "--study": lambda it: it.refuses("package", f"--study no --results {it.home}/results", "no study 'no'"),
    "--results": lambda it: it.refuses("package", f"--study kd --results {it.home}/r", "studies there: none"),
    "--storage": lambda it: repackaged(it, "--storage sqlite:////x.db").storage == "sqlite:////x.db",
    "--data": lambda it: str(repackaged(it, "--data /d").data) == "/d",
    "--cache-dir": lambda it: str(repackaged(it, "--cache-dir /c").cache_dir) == "/c",
    "--golden": lambda it: [repackaged(it, text).golden for text in ("--golden own", "")] == ["own", None],
    "--zip": lambda it: [repackaged(it, text).zips for text in ("--zip", "")] == [["kd.zip"], []],
    "--out": lambda it: it.refuses("package", f"{promoted(it)} --out {it.home}/nih", "something else than a package"),
}
EXPLAIN = {
    "--model": lambda it: it.refuses("explain", f"{it.home}/nih --model {it.home}/results", "no .safetensors there"),
    "--labels": lambda it: {row["label"] for row in explained(it, "--labels Mass")} == {"Mass"},
    "--top": lambda it: len(explained(it, "--top 2")) == 2 * len(explained(it, "--top 1")) == 6,
    "--boxes": lambda it: len([row for row in explained(it, f"--boxes {boxes(it)}") if "no box" in row["note"]]) == 2,
    "--out": lambda it: bool(explained(it, "--top 1")),
}
EVALUATE = {
    "--model": lambda it: it.refuses("evaluate", f"--model {it.home}/none --data {it.home}", "no such folder; give a"),
    "--data": lambda it: it.raises(lambda: evaluating(it, f"--data {it.home}/none"), "no such folder"),
    "--task": lambda it: evaluating(it, "--task images")[0][0].name == "images",
    "--part": lambda it: evaluating(it, "--part test", CHOOSE)[0][0].part == "test",
    "--again": lambda it: evaluating(it, "--again", CHOOSE)[0][0].again,
    "--keep-twins": lambda it: evaluating(it, "--keep-twins", CHOOSE)[0][0].keep_twins,
    "--subgroup": lambda it: evaluating(it, "--subgroup sex,view", COLUMNS)[0][1] == ("sex", "view"),
    "--no-images": lambda it: (
        evaluating(it, "", JUDGE)[1]["images"] and not evaluating(it, "--no-images", JUDGE)[1]["images"]
    ),
    "--out": lambda it: evaluating(it, "--out /tmp", JUDGE)[0][6] == Path("/tmp/evaluation/m-on-nih"),
    "--cache-dir": lambda it: evaluating(it, f"--cache-dir {it.home}/c")[1]["cache_dir"] == it.home / "c",
    "--allow-missing": lambda it: evaluating(it, "--allow-missing")[1]["allow_missing"],
    "--storage": lambda it: evaluating(it, "--storage sqlite:////x.db", CHOOSE)[0][0].storage == "sqlite:////x.db",
    "--study-data": lambda it: evaluating(it, "--study-data /d", CHOOSE)[0][0].study_data == Path("/d"),
    **{f"--{name}": overrides(name, value) for name, value in (
        ("layout", "none"), ("table", "t.csv"), ("file-column", "f"), ("label-column", ["l"]), ("group-column", "g"),
        ("split-column", "s"), ("kind", "binary"), ("positive", "ill"), ("uncertain", "error"), ("unknown", ["9"]),
        ("threshold-labels", 0.5), ("class-level", 2),
    )},
}
WATCH = {
    "--study": lambda it: it.refuses("watch", f"--study no --results {it.home}/results", "no study 'no'"),
    "--results": lambda it: it.refuses("watch", f"--study kd --results {it.home}", "studies there: none"),
    "--storage": lambda it: it.refuses("watch", f"{shown_study(it)} --storage sqlite:////no/x.db", "/no/x.db"),
    "--port": lambda it: watched(it, "--port 45671")[0] == "http://127.0.0.1:45671/",
    "--dashboard-port": lambda it: (
        watched(it, "--dashboard-port 45672")[1] == "http://127.0.0.1:45672/dashboard/studies/1"
    ),
}
# fmt: on
EFFECTS = {
    **{"tune": TUNE, "train": TRAIN, "teacher": TEACHER, "baselines": BASELINES, "promote": PROMOTE, "bank": BANK},
    **{"prepare": PREPARE, "leaderboard": LEADERBOARD, "analyze": ANALYZE, "balance": BALANCE},
    "check-gpu": CHECK_GPU,
    "compare": COMPARE,
    "predict": PREDICT,
    "export": EXPORT,
    "package": PACKAGE,
    "explain": EXPLAIN,
    "evaluate": EVALUATE,
    "report": REPORT,
    "watch": WATCH,
}


def evaluating(it, text, place="xlite.evaluate.other_data.read_other"):
    """What `xlite evaluate` hands to the function at `place`, the ones before it left out."""
    package = SimpleNamespace(
        name="m", task="chestxray14", weights=(), target_spec=lambda task: None, predictor=lambda spec: None
    )
    table = SimpleNamespace(ids=None, groups=None)
    data = SimpleNamespace(table=table, take=lambda chosen: None)
    it.patch.setattr("xlite.evaluate.package.open_package", lambda path: package)
    before = {"xlite.evaluate.other_data.read_other": data, COLUMNS: [], CHOOSE: (None, {}, [])}
    for name, result in before.items():
        it.patch.setattr(name, lambda *_, result=result, **__: result)
    return it.stopped_at(place, "evaluate", f"--model m --data {it.home}/nih {text}")


def written(it, text):
    """How `xlite report` would write."""
    return it.stopped_at(
        "xlite.html_report.write.write_report", "report", f"--study kd --results {it.home}/results {text}"
    )[1]


def checked(it, text):
    """The steps and options that `xlite check-gpu` would run with."""
    return it.stopped_at("xlite.commands.check_gpu._check", "check-gpu", text)[0]


def balance(it, text):
    """The figures that `xlite balance` writes."""
    assert it.run("balance", f"--data {it.home}/nih --out {it.home}/b --batches 4 --batch-size 4 {text}") == 0
    return (it.home / "b" / "balance.csv").read_text()


def packaged(it):
    """A package, and its place."""
    write_package(it.home / "p")
    return it.home / "p"


def predicted(it, text):
    """What `xlite predict` prints of the images."""
    assert it.run("predict", f"{it.home}/nih --model {packaged(it)} {text}") == 0
    return it.capsys.readouterr().out


def used_threads(it, text):
    """The threads that predictions are made in."""
    return it.stopped_at("xlite.package.stream.predictions", "predict", f"{it.home} --model {packaged(it)} {text}")[1][
        "threads"
    ]


def made_smaller(it, text, *, place=0):
    """An argument that smaller graphs are made with: the kind, or the largest loss."""
    it.patch.setattr("xlite.commands.export._ground", lambda *_: None)
    own = f"--model {packaged(it)} --study kd --results {it.home}/results"
    return it.stopped_at("xlite.commands.export._make", "export", f"{own} {text}")[0][place]


def opened_smaller(it, text):
    """What `xlite export` opens a study with."""
    own = f"--int8 --model {packaged(it)} --study kd --results {it.home}/results"
    return it.stopped_at("xlite.commands.reopen.reopen", "export", f"{own} {text}")[0]


def promoted(it):
    """Options that name a study with a promotion."""
    folder = it.home / "packed" / "kd"
    (folder / "promoted").mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text("{}")
    (folder / "promoted" / "metrics.json").write_text("{}")
    return f"--study kd --results {it.home}/packed"


def repackaged(it, text):
    """What `xlite package` opens, with which golden inputs, and the .zip files it writes."""
    opened, zips = [], []
    named = SimpleNamespace(study=None, prepared=None, ledger=None)
    it.patch.setattr("xlite.commands.reopen.reopen", lambda folder, console, places: opened.append(places) or named)
    it.patch.setattr("xlite.commands.package.write_and_tell", lambda *_, golden: opened.append(golden))
    it.patch.setattr(
        "xlite.export.deliver.zip_package", lambda folder, file: zips.append(file.name) or it.home / "space.py"
    )
    assert it.run("package", f"{promoted(it)} {text}") == 0
    return SimpleNamespace(**vars(opened[0]), golden=opened[1], zips=zips)


def explained(it, text):
    """The rows of index.csv that `xlite explain` writes of three images, in a folder that --out names."""
    few, out = it.home / "few", Path(mkdtemp(dir=it.home)) / "sheets"
    if not few.exists():
        few.mkdir()
        for image in sorted((it.home / "nih").rglob("*.png"))[:3]:
            shutil.copy(image, few)
        save_untrained(it.home / "m", backbone="lcnet_050")
    assert it.run("explain", f"{few} --model {it.home}/m --out {out} {text}") == 0
    with (out / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def boxes(it):
    """NIH's list of boxes, with one of the images."""
    (it.home / "boxes.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h]\n00000000_000.png,Mass,0,0,9,9\n")
    return it.home / "boxes.csv"


def shown_study(it):
    return f"--study kd --results {it.home}/results"


def watched(it, text):
    """The addresses of TensorBoard and of Optuna's dashboard that `xlite watch` would start."""
    (servers, _), _ = it.stopped_at("xlite.study.watch.watch", "watch", f"{shown_study(it)} {text}")
    return [server.address for server in servers]

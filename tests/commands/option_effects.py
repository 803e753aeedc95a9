"""What each option of each command does, as a check that fails where it does nothing."""

from effects_after_promotion import AFTER_PROMOTION

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
        "--study": lambda it: it.refuses(command, f"--study no --results {it.home}/results", "no study 'no'"),
        "--results": lambda it: it.opened(command, "")[0] == it.home / "results" / "kd",
        "--storage": lambda it: it.opened(command, "--storage sqlite:////x.db")[1].storage == "sqlite:////x.db",
        "--data": lambda it: str(it.opened(command, "--data /d")[1].data) == "/d",
        "--cache-dir": lambda it: str(it.opened(command, "--cache-dir /c")[1].cache_dir) == "/c",
        "--teacher": lambda it: len(it.opened(command, "--teacher t u")[1].teacher) == 2,
    }


def adopt(command):
    """Effect of --adopt: there is no study to take over."""
    return lambda it: it.refuses(command, f"--study kd --results {it.home}/results --adopt", "no study to take over")


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
        it.compared("--check --rows 5") == [5] and it.refuses("bank", "--study kd --rows 5", "give --check too")
    ),
}
PREPARE = {
    **data_options("prepare"),
    "--subset": lambda it: it.run("prepare", it.data("--subset 0.5")) == 0 and it.says("Searching on"),
    "--dry-run": lambda it: it.run("prepare", it.data("--dry-run")) == 0 and it.says("nothing was cached, split"),
    "--clean": lambda it: (
        it.run("prepare", f"--clean --results {it.home} --cache-dir {it.home}/no") == 0 and it.says("caches removed")
        and it.refuses("prepare", "--clean --subset 0.5", "--clean reads only --results and --cache-dir")
    ),
    "--results": lambda it: (
        it.refuses("prepare", it.data(f"--results {it.home}"), "give --clean too")
        and it.refuses("prepare", f"--clean --results {it.home}/no", "no such folder; --clean keeps the caches")
    ),
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
# fmt: on
EFFECTS = {
    **{"tune": TUNE, "train": TRAIN, "teacher": TEACHER, "baselines": BASELINES, "promote": PROMOTE, "bank": BANK},
    **{"prepare": PREPARE, "leaderboard": LEADERBOARD, "analyze": ANALYZE, "balance": BALANCE},
    "check-gpu": CHECK_GPU,
    "compare": COMPARE,
    **AFTER_PROMOTION,
}


def checked(it, text):
    """The steps and options that `xlite check-gpu` would run with."""
    return it.stopped_at("xlite.commands.check_gpu._check", "check-gpu", text)[0]


def balance(it, text):
    """The figures that `xlite balance` writes."""
    assert it.run("balance", f"--data {it.home}/nih --out {it.home}/b --batches 4 --batch-size 4 {text}") == 0
    return (it.home / "b" / "balance.csv").read_text()

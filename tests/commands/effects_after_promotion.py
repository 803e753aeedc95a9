"""Effects of the options of commands that use or show what a study promoted."""

import csv
import shutil
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

from explaining import save_untrained
from small_package import write_package

STUDY = "--study kd --results {home}/results"
CHOOSE, JUDGE = (f"xlite.commands.evaluate.{name}" for name in ("choose", "judge_and_tell"))
COLUMNS = "xlite.evaluate.columns.find_columns"


def overrides(name, value):
    """Effect of an option on how a folder is read, in `xlite evaluate`."""
    word = value[0] if isinstance(value, list) else value
    return lambda it: evaluating(it, f"--{name} {word}")[1]["column_overrides"] == {name: value}


# fmt: off
REPORT = {
    "--study": lambda it: it.refuses("report", f"--study no --results {it.home}/results", "no study 'no'"),
    "--results": lambda it: it.refuses("report", f"--study kd --results {it.home}", "studies there: none"),
    "--storage": lambda it: it.refuses("report", "--study kd --storage sqlite:////no/x.db", "/no/x.db"),
    "--out": lambda it: it.printed("report", f"--out {it.home}/r.html") and (it.home / "r.html").exists(),
    "--no-images": lambda it: written(it, "--no-images")["images"] is False and written(it, "")["images"] is True,
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
AFTER_PROMOTION = {
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

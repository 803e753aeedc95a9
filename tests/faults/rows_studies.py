"""The bad-input table, what earlier work left: studies, their databases, teachers."""
# ruff: noqa: E501  (a table: a row a line)

from bad_inputs import Row, content, copy_of, cut, given_all, removed, space, teacher

STUDY = "results/kd/study.json"
DATABASE = "results/kd/study.db"
TEACHER = "--teacher {home}/teacher.safetensors"
ONE_MODEL = 'BASELINE = {"distill.alpha": 0.5}\ndef space(trial): return {"distill.alpha": trial.suggest_float("distill.alpha", 0, 1)}'
ANSWERS = "image,Effusion\nx.png,3.5\ny.png,-1\n"
NO_TEACHER = r"teacher.json: no such file"


def not_finite(weights: dict) -> None:
    next(value for value in weights.values() if value.is_floating_point()).fill_(float("nan"))


# fmt: off
STUDIES = [
    # which study
    *(Row(f"no-study-{command}", command, "--study kdd", r"no study 'kdd' in .*; studies there: kd$") for command in ("leaderboard", "analyze", "teacher_bank", "promote")),
    *(Row(f"no-name-{command}", command, "--study", r"--study: expected one argument") for command in ("promote", "leaderboard", "analyze")),
    *(
        Row(f"results-file-{command}", command, "--results {home}/f", r"/f: is a file, not a folder", content("f", ""))
        for command in ("tune_kd", "train_baselines", "promote", "leaderboard", "analyze", "teacher_bank")
    ),
    Row("results-nowhere", "leaderboard", "--results {home}/no", r"no study 'kd' in .*/no; studies there: none"),
    Row("clean-results-file", "prepare_data", "--clean --results {home}/f", r"/f: is a file, not a folder", content("f", "")),
    Row("clean-results-nowhere", "prepare_data", "--clean --results {home}/no", r"/no: no such folder; --clean keeps the caches of the studies in it"),
    Row("clean-study-cut", "prepare_data", "--clean --results {home}/results", r"study.json: not valid JSON", content(STUDY, '{"pixel_key": ')),
    Row("clean-study-list", "prepare_data", "--clean --results {home}/results", r"study.json: a JSON list, not an object", content(STUDY, "[]")),
    Row("clean-study-key", "prepare_data", "--clean --results {home}/results", r"does not say which cache it uses", content(STUDY, "{}")),
    # study.json
    *(
        Row(f"study-cut-{command}", command, "", r"kd/study.json: not valid JSON \(.*\); restore it or delete it", content(STUDY, '{"teacher": '), shell=command == "leaderboard")
        for command in ("promote", "leaderboard", "analyze", "teacher_bank")
    ),
    Row("study-bytes", "analyze", "", r"kd/study.json: not valid JSON", content(STUDY, b"\xff\xfe\x00")),
    Row("study-nested", "promote", "", r"kd/study.json: not valid JSON", content(STUDY, "[" * 100_000)),
    Row("study-digits", "leaderboard", "", r"kd/study.json: not valid JSON", content(STUDY, "7" * 5000)),
    Row("study-list", "analyze", "", r"kd/study.json: a JSON list, not an object", content(STUDY, "[1]")),
    Row("study-number", "leaderboard", "", r"kd/study.json: a JSON int, not an object", content(STUDY, "7")),
    Row("study-folder", "analyze", "", r"kd/study.json: (cannot be read|Is a directory)", content(STUDY + "/x", "")),
    # the database
    *(
        Row(f"database-{how}-{command}", command, "", r"study.db.*(not a database|malformed|no study 'kd'|disk image|disk I/O)", given)
        for how, given in (("text", content(DATABASE, b"not a database, not at all" * 99)), ("cut", cut(DATABASE, 5000)))
        for command in ("leaderboard", "analyze")
    ),
    Row("database-empty", "leaderboard", "", r"no study 'kd' in .*studies there: none", given_all(removed(DATABASE), content(DATABASE, ""))),
    Row("storage-word", "leaderboard", "--storage study.db", r"--storage: Could not parse"),
    Row("storage-driver", "leaderboard", "--storage nosuch://host/base", r"nosuch"),
    Row("storage-no-driver", "analyze", "--storage oracle://tiger:SECRET@localhost/base", r"pip install the database's driver"),
    Row("storage-nowhere", "analyze", "--storage sqlite:////no/such/folder/study.db", r"no study 'kd' in sqlite"),
    Row("storage-other-study", "analyze", "--study kdd --storage sqlite:///{home}/results/kd/study.db", r"no study 'kdd' in .*there: kd$"),
    # teachers
    Row("teacher-none", "train_one", "--teacher {home}/none.safetensors", r"none.json: no such file"),
    Row("teacher-none-search", "tune_kd", "--teacher {home}/none.safetensors --image-size 32 --space {home}/space.py", r"none.json: no such file", space(ONE_MODEL)),
    Row("teacher-onnx-none", "tune_kd", "--teacher {home}/none.onnx --image-size 32 --space {home}/space.py", r"none.onnx: no such file", space(ONE_MODEL)),
    Row("teacher-onnx", "train_one", "--teacher {home}/t.onnx", r"t.onnx: onnxruntime cannot run it \(", content("t.onnx", b"\x08\x07")),
    Row("teacher-table", "train_one", "--teacher {home}/t.csv", r"t.csv: are its values logits or probabilities", content("t.csv", ANSWERS)),
    Row("teacher-table-said", "tune_kd", "--teacher {home}/t.csv --image-size 32 --space {home}/space.py", r"Say it with --teacher-answers", given_all(space(ONE_MODEL), content("t.csv", ANSWERS))),
    Row("teacher-table-ids", "train_one", "--teacher {home}/t.csv --teacher-answers logits", r"t.csv: none of its 2 ids is of an image here", content("t.csv", ANSWERS)),
    Row("teacher-table-range", "train_one", "--teacher {home}/t.csv --teacher-answers probabilities", r"t.csv: x.png, Effusion: 3.5 is outside 0 to 1", content("t.csv", ANSWERS)),
    Row("teacher-table-labels", "train_one", "--teacher {home}/t.csv --teacher-answers logits", r"t.csv: this teacher knows 1 labels \(Cat\), the data has 14", content("t.csv", ANSWERS.replace("Effusion", "Cat"))),
    Row("teacher-answers", "train_one", "--teacher {home}/teacher.safetensors --teacher-answers logits", r"no --teacher is one; leave it out"),
    Row("teacher-answers-word", "tune_kd", "--teacher {home}/t.csv --teacher-answers percent", r"--teacher-answers: invalid choice: 'percent'"),
    Row("teacher-weights", "tune_kd", "--teacher a.onnx b.onnx --teacher-weights 1 0", r"--teacher-weights: got '0'; write a number above 0"),
    Row("teacher-weights-few", "tune_kd", "--teacher a.onnx b.onnx --teacher-weights 1", r"--teacher-weights: 1 for 2 teacher"),
    Row("teacher-trained-on", "tune_kd", "--teacher-trained-on l.txt", r"--teacher-trained-on is for a teacher that is given"),
    Row("teacher-pickle", "train_one", "--teacher {home}/teacher.pt", r"teacher.pt: not a model; give its .safetensors", content("teacher.pt", b"\x80\x04.")),
    Row("teacher-no-json", "train_one", TEACHER, NO_TEACHER, teacher(keep=removed("teacher.json"))),
    Row("teacher-no-weights", "train_one", TEACHER, r"teacher.safetensors: no such file, though teacher.json is there", teacher(keep=removed("teacher.safetensors"))),
    Row("teacher-cut", "train_one", TEACHER, r"teacher.safetensors: damaged, or not the weights", teacher(keep=cut("teacher.safetensors", 999)), shell=True),
    Row("teacher-json-cut", "train_one", TEACHER, r"teacher.json: not valid JSON", teacher(keep=cut("teacher.json", 99))),
    Row("teacher-json-list", "train_one", TEACHER, r"teacher.json: not a model description", teacher(keep=content("teacher.json", "[]"))),
    Row("teacher-format", "train_one", TEACHER, r"teacher.json: format 9, but this version reads format 1", teacher(format=9)),
    Row("teacher-labels", "train_one", TEACHER, r"this teacher knows 2 labels \(Cat, Dog\), the data has 14", teacher(labels=["Cat", "Dog"])),
    Row("teacher-labels-type", "train_one", TEACHER, r"`labels` must be different names", teacher(labels=[1] * 14)),
    Row("teacher-labels-twice", "train_one", TEACHER, r"`labels` must be different names", teacher(labels=["a"] * 14)),
    Row("teacher-labels-none", "train_one", TEACHER, r"`labels` must be different names", teacher(labels=[])),
    Row("teacher-channels", "train_one", TEACHER, r"`in_channels` is -3, not from 1 to 64", teacher(in_channels=-3)),
    Row("teacher-channels-other", "train_one", TEACHER, r"weights do not fit|takes 3 channel", teacher(in_channels=3)),
    Row("teacher-size", "train_one", TEACHER, r"`image_size` is 10000000000", teacher(image_size=10**10)),
    Row("teacher-value", "train_one", TEACHER, r"`value` is 'good', not a number", teacher(value="good", split_hash=None)),
    Row("teacher-split", "train_one", TEACHER, r"trained on split elsewhere, .*--allow-other-split", teacher()),
    Row("teacher-kind", "train_one", TEACHER, r"this teacher is for ordinal targets, the data is multilabel", teacher(target_kind="ordinal")),
    Row("teacher-model", "train_one", TEACHER, r"model: depth=3: Extra inputs", teacher(model={"backbone": "resnet18", "depth": 3})),
    Row("teacher-backbone", "train_one", TEACHER, r"timm has no such model", teacher(model={"backbone": "hf-hub:someone/model"})),
    Row("teacher-huge", "train_one", TEACHER, r"model: width=1000000000000", teacher(model={"architecture": "lines", "width": 10**12})),
    Row("teacher-nan", "train_one", TEACHER + " --allow-other-split", r"weights that are not finite", teacher(state=not_finite)),
    Row("teacher-lines", "train_one", TEACHER + " --task stm_scanlines --data {home}/stm", r"this teacher is for multilabel|knows 14 labels", given_all(copy_of("stm"), teacher(target_kind="multilabel"))),
]
# fmt: on

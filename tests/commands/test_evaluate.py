"""`xlite evaluate` on real files: other data, the study's own, twins, labels in another order, packages alone."""

import csv
import re
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import write_nih_folder
from sklearn.metrics import roc_auc_score
from small_package import about_of, write_package

from xlite.commands import evaluate, evaluate_study
from xlite.commands.reopen import reopen
from xlite.config import RunConfig
from xlite.console import SilentConsole
from xlite.data.decode import ImagePreprocess
from xlite.data.seen_pictures import write_seen_pictures
from xlite.errors import InputError
from xlite.ledger import Ledger, TrialResult, sqlite_url
from xlite.promotion.promote import promote, promotion_config
from xlite.storage.files import read_json
from xlite.study.members import Member
from xlite.tasks import TASKS
from xlite.tasks.prepare import DataRequest, prepare
from xlite.train.summary import RunSummary

TASK = TASKS["chestxray14"]
FINDINGS = ("Cardiomegaly", "Effusion", "Infiltration")
TABLE = "Data_Entry_2017_v2020.csv"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The study "s" on nih/ with a promoted student; other/ has the same names and other pictures."""
    folder = tmp_path_factory.mktemp("evaluate")
    config = RunConfig().override(
        {"train.epochs": 6, "optim.learning_rate": 3e-3, "data.image_size": 32, "distill.alpha": 0.0}, source="test"
    )
    write_nih_folder(folder / "nih", 240, px=32)
    write_nih_folder(folder / "other", 120, px=32, seed=1)
    request = DataRequest(folder / "nih", config.data, None, 42, "1.0", folder / "cache")
    data = prepare(TASK, request, SilentConsole()).full
    study = folder / "results" / "s"
    study.mkdir(parents=True)
    (study / "study.json").write_text("{}")
    with Ledger.open(sqlite_url(study / "study.db"), "s", create=True) as ledger:
        ledger.enqueue({"distill.alpha": 0.0})
        ledger.ask(lambda trial: {})
        summary = RunSummary(epochs=3, curve=(0.6,), best_epoch=1, seconds=30, device_seconds=30, device="cpu")
        ledger.finish(0, "complete", value=0.6, result=TrialResult(summary=summary))
        config = promotion_config(config, ledger.best(), epochs=6)
        promote(config, TASK, [Member("model", data, None)], ledger, winner=ledger.best(), folder=study / "promoted")
    return folder, data


@pytest.fixture
def evaluated(home, monkeypatch, capsys, tmp_path):
    """Run the command; evaluation.json, the rows of answers.csv, and what was printed."""
    folder, data = home

    def reopen(root, console, places, *, writes):
        assert writes
        ledger = Ledger.open(sqlite_url(root / "study.db"), root.name, create=False)
        return SimpleNamespace(prepared=SimpleNamespace(full=data), ledger=ledger)

    monkeypatch.setattr(evaluate_study, "reopen", reopen)
    monkeypatch.chdir(folder)

    def run(data="other", *words, model="results/s/promoted", sheet=False):
        words = words if sheet else (*words, "--no-images")  # half the time
        own = ["--model", model, "--data", str(data), "--cache-dir", "cache", "--out", str(tmp_path)]
        assert evaluate.run(evaluate.parser().parse_args([*own, *words])) == 0
        out = max(
            (tmp_path / "evaluation").iterdir(), key=lambda folder: (folder / "evaluation.json").stat().st_mtime_ns
        )
        with (out / "answers.csv").open() as file:
            return read_json(out / "evaluation.json"), list(csv.DictReader(file)), capsys.readouterr().out

    run.out = tmp_path / "evaluation"
    return run


def reads(home):
    with Ledger.open(sqlite_url(home[0] / "results" / "s" / "study.db"), "s", create=False) as ledger:
        return ledger.test_reads()


def as_images(source, folder, order=FINDINGS, extra=()):
    """The pictures of an NIH folder as a folder of images with one 0/1 column for each label, in this order."""
    folder.mkdir()
    rows = pd.read_csv(source / TABLE)
    for name in rows["Image Index"]:
        shutil.copy(source / "images_001" / "images" / name, folder)
    table = {"image": rows["Image Index"], "patient": rows["Patient ID"].map("p{}".format)}
    table |= {label.lower(): rows["Finding Labels"].str.contains(label).astype(int) for label in order}
    table |= {label: (rows.index % 3 == 0).astype(int) for label in extra}
    pd.DataFrame(table).to_csv(folder / "labels.csv", index=False)
    return folder


def test_other_data_is_judged_beside_the_study_s_own_test_part(evaluated, home):
    found, rows, said = evaluated(sheet=True)
    metrics = read_json(home[0] / "results" / "s" / "promoted" / "metrics.json")["test"]
    for label in FINDINGS:
        truth, p = ([float(row[f"{kind}_{label}"]) for row in rows] for kind in ("truth", "p"))
        own = found["metrics"]["per_label"][label]
        assert own["auc"]["value"] == pytest.approx(roc_auc_score(truth, p), abs=1e-4)
        assert own["auc"]["study"] == pytest.approx(metrics["per_label"][label]["auc"])
        low, high = own["auc"]["interval_95"]
        assert low <= own["auc"]["value"] <= high
        decided = np.array([row[f"decided_{label}"] == "1" for row in rows])
        assert own["specificity"]["value"] == pytest.approx((~decided)[np.array(truth) == 0].mean())
        assert found["shift"][label]["psi"] >= 0
    assert found["metrics"]["scalars"]["ece_macro"]["study"] > 0
    assert found["data"]["examples"] == len(rows) == 120 and found["data"]["patients"] == 60
    assert found["data"]["twins"] == 0 and "study's test part" not in said  # the same names, other pictures
    assert str(home[0]) not in (evaluated.out / "s-on-other" / "evaluation.json").read_text()
    assert {path.name for path in (evaluated.out / "s-on-other").iterdir()} == {
        *("answers.csv", "evaluation.json", "mistakes.png", "reliability.png")
    }
    sheet = cv2.imread(str(evaluated.out / "s-on-other" / "mistakes.png"))
    assert sheet.shape[0] > 300 and sheet.shape[1] > 1000


def test_labels_in_another_order_and_with_others_among_them_give_the_same(evaluated, home, tmp_path_factory):
    folder = as_images(
        home[0] / "other", tmp_path_factory.mktemp("images") / "other", ("Infiltration", "Effusion"), ("Fracture",)
    )
    first, *_ = evaluated(folder, "--task", "images")
    plain, *_ = evaluated("other")
    for label in ("Infiltration", "Effusion"):
        one, two = (each["metrics"]["per_label"][label]["auc"] for each in (first, plain))
        assert one == two
    assert "Cardiomegaly" in first["labels"]["absent_in_data"] and first["labels"]["unknown_to_model"] == ["Fracture"]
    for name, own in (("auc_macro", "auc"), ("ece_macro", "ece"), ("specificity_macro", "specificity")):
        two = [first["metrics"]["per_label"][label][own] for label in ("Infiltration", "Effusion")]
        for kind in ("value", "study"):  # the study's, too, is over the two labels, not over its three
            mean = np.mean([each[kind] for each in two])
            assert first["metrics"]["scalars"][name][kind] == pytest.approx(mean), (name, kind)


def test_the_study_s_training_is_refused_and_a_look_at_its_test_part_is_recorded(evaluated, home):
    with pytest.raises(InputError, match=r"\d+ of 240 images are of study s's own train and val part .*--part test"):
        evaluated("nih")
    with pytest.raises(InputError, match=r"own val part"):
        evaluated("nih", "--part", "val", "--again")
    before = len(reads(home))
    with pytest.raises(InputError, match=r"study s: its test part has been read 1 time .*--again"):
        evaluated("nih", "--part", "test")
    assert len(reads(home)) == before == 1
    found, *_ = evaluated("nih", "--part", "test", "--again")
    assert reads(home)[-1].command == "evaluation on nih" and len(reads(home)) == before + 1
    evaluated("nih", "--part", "test")  # the same numbers again
    assert len(reads(home)) == before + 1
    metrics = read_json(home[0] / "results" / "s" / "promoted" / "metrics.json")["test"]["metrics"]
    for name in ("auc_macro", "f1_macro_at_thresholds"):
        figure = found["metrics"]["scalars"][name]
        assert figure["value"] == pytest.approx(metrics[name], abs=1e-5) == pytest.approx(figure["study"])
    assert all(one["psi"] == pytest.approx(0, abs=1e-6) for one in found["shift"].values())
    for label in FINDINGS:
        own = found["metrics"]["per_label"][label]
        assert own["specificity"]["study"] == pytest.approx(own["specificity"]["value"], abs=1e-4)


@pytest.fixture
def with_twins(home, tmp_path_factory):
    """other/ with three of its pictures replaced by ones that the model was trained on."""
    folder, data = home
    copied = tmp_path_factory.mktemp("twins") / "twins"
    shutil.copytree(folder / "other", copied)
    theirs = sorted((copied / "images_001" / "images").iterdir())
    for name, path in zip(data.ids[data.parts["train"]][-3:].tolist(), theirs, strict=False):
        shutil.copy(folder / "nih" / "images_001" / "images" / name, path)
    return copied, [path.name for path in theirs[:3]]


def test_a_study_that_cannot_be_opened_ends_it_before_anything_is_judged(evaluated, home, monkeypatch):
    monkeypatch.setattr(evaluate_study, "reopen", reopen)  # its study.json says nothing
    before = len(reads(home))
    with pytest.raises(InputError) as raised:
        evaluated("nih", "--part", "test", "--again")
    for words in (
        "study s cannot be opened, so what the model has seen is not known",
        "evaluate a copy of the package",
    ):
        assert words in str(raised.value) and "\n" not in str(raised.value)
    assert len(reads(home)) == before and not evaluated.out.exists()


def test_an_8_bit_package_in_its_study_is_evaluated_and_its_study_known(evaluated, home):
    package = home[0] / "results" / "s" / "promoted_int8"
    about = about_of(ImagePreprocess(32), labels=FINDINGS, precision="int8", task="chestxray14")
    write_package(package, about)
    found, rows, said = evaluated("other", model=str(package))
    assert found["model"]["name"] == "s-promoted_int8" and len(found["model"]["weights"]) == 1
    assert found["data"]["compared_with_the_study"] == "ids and pictures" and len(rows) == 120
    assert found["metrics"]["scalars"]["auc_macro"]["study"] is None and found["shift"] == {}
    assert "the package has no reliability.json" in said
    with pytest.raises(InputError, match=r"images are of study s-promoted_int8's own train and val part"):
        evaluated("nih", model=str(package))


def test_folders_of_one_name_have_an_evaluation_each(evaluated, home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("second") / "other"
    shutil.copytree(home[0] / "other", folder)
    for data in ("other", folder, folder, "other"):
        evaluated(data)
    first, second = sorted(evaluated.out.iterdir())
    assert first.name == "s-on-other" and re.fullmatch(r"s-on-other-[0-9a-f]{8}", second.name)
    told = [(each / "evaluation.json").read_text() for each in (first, second)]
    assert read_json(first / "evaluation.json")["identity"] != read_json(second / "evaluation.json")["identity"]
    assert all(str(folder.parent) not in text for text in told)


def test_twins_are_named_and_left_out_unless_they_are_asked_for(evaluated, with_twins):
    folder, names = with_twins
    found, rows, said = evaluated(folder)
    assert "Twins: 3 images show pictures that the model has seen" in said and names[0] in said
    assert found["data"]["twins"] == found["data"]["left_out"]["twins"] == 3 and len(rows) == 117
    with (evaluated.out / "s-on-twins" / "twins.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == names
    found, rows, said = evaluated(folder, "--keep-twins")
    assert found["data"]["twins"] == 3 and len(rows) == 120 and "judged all the same" in said


def test_a_package_that_lies_alone_says_what_it_cannot_check(evaluated, home, with_twins, tmp_path):
    alone = tmp_path / "model"
    shutil.copytree(home[0] / "results" / "s" / "promoted", alone)
    found, rows, said = evaluated(with_twins[0], model=str(alone))
    line = "Not checked whether the model has seen any of the images (the package lies alone, without its study)"
    assert line in said and found["data"]["compared_with_the_study"] == "nothing" and len(rows) == 120
    write_seen_pictures(alone, home[1])
    found, rows, said = evaluated(with_twins[0], model=str(alone))
    assert "Only identical pictures are noticed, by the hashes in the package" in said and len(rows) == 117
    assert found["data"]["compared_with_the_study"] == "hashes"


def test_subgroups_of_the_label_table_and_no_sheet(evaluated, home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sexes") / "sexes"
    shutil.copytree(home[0] / "other", folder)
    table = pd.read_csv(folder / TABLE)
    table["Patient Gender"] = np.where(table["Patient ID"] % 2, "M", "F")
    table.to_csv(folder / TABLE, index=False)
    found, rows, said = evaluated(folder, "--subgroup", "sex")
    groups = found["subgroups"]["Patient Gender"]
    assert {name: one["images"] for name, one in groups.items()} == {"F": 60, "M": 60}
    truth, p = (
        [float(row[f"{kind}_Effusion"]) for row in rows if row["Patient Gender"] == "F"] for kind in ("truth", "p")
    )
    assert groups["F"]["per_label"]["Effusion"]["auc"] == pytest.approx(roc_auc_score(truth, p), abs=1e-4)
    assert "Subgroups by 'Patient Gender': F 60, M 60" in said
    assert not (evaluated.out / "s-on-sexes" / "mistakes.png").exists()


def test_an_unknown_column_is_told_before_any_image_is_read(evaluated, monkeypatch):
    monkeypatch.setattr("xlite.evaluate.other_data.read_other", None)
    with pytest.raises(InputError, match=r"--subgroup scanner: no table in .*other has such a column"):
        evaluated("other", "--subgroup", "scanner")


def test_official_lists_choose_the_part(evaluated, home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists") / "lists"
    shutil.copytree(home[0] / "other", folder)
    names = pd.read_csv(folder / TABLE)["Image Index"].tolist()
    (folder / "train_val_list.txt").write_text("\n".join(names[:60]))
    (folder / "test_list.txt").write_text("\n".join(names[60:]))
    _, rows, _ = evaluated(folder, "--part", "test")
    assert [row["id"] for row in rows] == names[60:]
    with pytest.raises(InputError, match=r"--part val: .* has no such part, its lists name none"):
        evaluated(folder, "--part", "val")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda table: table.assign(**{"Finding Labels": "No Finding"}), "no image has any of the 14 findings"),
        (lambda table: table.assign(**{"Finding Labels": "Effusion"}), "no label has both a positive and a negative"),
    ],
)
def test_data_on_which_nothing_can_be_judged_is_one_line(evaluated, home, tmp_path_factory, change, line):
    folder = tmp_path_factory.mktemp("nothing") / "nothing"
    shutil.copytree(home[0] / "other", folder)
    change(pd.read_csv(folder / TABLE)).to_csv(folder / TABLE, index=False)
    with pytest.raises(InputError, match=line):
        evaluated(folder)
    assert not evaluated.out.exists()


def test_images_of_one_patient_are_judged_without_intervals(evaluated, home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "one"
    shutil.copytree(home[0] / "other", folder)
    pd.read_csv(folder / TABLE).assign(**{"Patient ID": 7}).to_csv(folder / TABLE, index=False)
    found, _, said = evaluated(folder)
    assert "All images are of one patient, which says nothing of others: no intervals" in said
    assert found["metrics"]["scalars"]["auc_macro"]["note"] == "too few: 1 patient"

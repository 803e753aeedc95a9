"""`xlite compare` on packages: the perturbed one is worse, the same twice is tied, a look at test is recorded."""

import csv
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from xlite.commands import compare, compare_open
from xlite.config import RunConfig
from xlite.data.decode import ImagePreprocess
from xlite.data.preprocess_registry import described
from xlite.errors import InputError
from xlite.ledger import Ledger, TrialResult, sqlite_url
from xlite.models.artifact import load_artifact, save_artifact
from xlite.promotion.promote import promote, promotion_config
from xlite.storage.files import read_json, write_json
from xlite.study.members import Member
from xlite.tasks import TASKS
from xlite.train.summary import RunSummary

TASK = TASKS["chestxray14"]


@pytest.fixture(scope="module")
def home(tiny_dataset, tmp_path_factory):
    """The study "s" with a promoted student, a copy of it with noisy weights in noisy/promoted, and its data."""
    folder = tmp_path_factory.mktemp("compare")
    data = replace(tiny_dataset, preprocess=described(ImagePreprocess(32)))
    study = folder / "results" / "s"
    study.mkdir(parents=True)
    (study / "study.json").write_text("{}")
    with Ledger.open(sqlite_url(study / "study.db"), "s", create=True) as ledger:
        ledger.enqueue({"distill.alpha": 0.0})
        ledger.ask(lambda trial: {})
        summary = RunSummary(epochs=3, curve=(0.6,), best_epoch=1, seconds=30, device_seconds=30, device="cpu")
        ledger.finish(0, "complete", value=0.6, result=TrialResult(summary=summary))
        values = {"train.epochs": 8, "optim.learning_rate": 3e-3, "data.image_size": 32, "distill.alpha": 0.0}
        config = promotion_config(RunConfig().override(values, source="test"), ledger.best(), epochs=8)
        promote(config, TASK, [Member("model", data, None)], ledger, winner=ledger.best(), folder=study / "promoted")
    noisy = folder / "noisy" / "promoted"
    shutil.copytree(study / "promoted", noisy)
    state, description = load_artifact(noisy / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    state = {
        key: value + 0.5 * torch.randn(value.shape, generator=generator) if key.endswith("weight") else value
        for key, value in state.items()
    }
    save_artifact(noisy, "model", state, description)
    decisions = read_json(noisy / "thresholds.json")
    write_json(noisy / "thresholds.json", {key: value for key, value in decisions.items() if key != "weights"})
    return folder, data


@pytest.fixture
def compared(home, monkeypatch, capsys):
    folder, data = home

    def reopen(root, console, *, writes):
        ledger = Ledger.open(sqlite_url(root / "study.db"), root.name, create=False)
        prepared = SimpleNamespace(full=data, search=data, split_kind="patient")
        return SimpleNamespace(study=SimpleNamespace(task=TASK), prepared=prepared, ledger=ledger, teacher_key=None)

    monkeypatch.setattr(compare_open, "reopen", reopen)
    monkeypatch.chdir(folder)

    def run(*words):
        arguments = [*map(str, words), "--results", str(folder / "results"), "--csv", str(folder / "out.csv")]
        assert compare.run(compare.parser().parse_args(arguments)) == 0
        with (folder / "out.csv").open() as file:
            return list(csv.DictReader(file)), capsys.readouterr().out

    return run


def test_noisy_weights_are_worse_and_the_same_package_twice_is_tied(compared, home):
    folder, _ = home
    rows, said = compared("s", "noisy/promoted", "s")
    scores = {row["first"]: float(row["value"]) for row in rows if row["row"] == "score"}
    pairs = {(row["first"], row["second"]): row for row in rows if row["row"] == "pair"}
    assert list(scores) == ["s", "noisy/promoted", "s again"] and scores["s"] == scores["s again"]
    assert pairs["s", "noisy/promoted"]["verdict"] == "s is better" and scores["s"] > scores["noisy/promoted"] + 0.1
    same = pairs["s", "s again"]
    assert (same["value"], same["p"], same["verdict"]) == ("0.0", "1.0", "tied")
    assert "On 30 val examples" in said and "Same epochs of training within 10% (not known of noisy/promoted)" in said
    with Ledger.open(sqlite_url(folder / "results" / "s" / "study.db"), "s", create=False) as ledger:
        metric = ledger.finals()[0].value
    assert scores["s"] == pytest.approx(metric, abs=1e-6)  # what promotion recorded of validation


def test_a_look_at_test_is_recorded_and_a_further_one_needs_again(compared, home):
    def reads():
        with Ledger.open(sqlite_url(home[0] / "results" / "s" / "study.db"), "s", create=False) as ledger:
            return ledger.test_reads()

    before = len(reads())
    assert before == 1  # of the promotion
    with pytest.raises(InputError, match=r"study s: its test part has been read 1 time .*--again"):
        compared("s", "noisy/promoted", "--part", "test")
    assert len(reads()) == before
    _, said = compared("s", "noisy/promoted", "--part", "test", "--again")
    assert "On 30 test examples" in said and reads()[-1].command == "comparison of s, noisy/promoted"
    compared("s", "noisy/promoted", "--part", "test")  # the same numbers again
    assert len(reads()) == before + 1


def test_a_member_of_a_front_is_of_its_study_whose_ledger_gets_the_look_at_test(compared, home):
    folder, _ = home
    front = folder / "results" / "front"
    shutil.copytree(folder / "results" / "s" / "promoted", front / "promoted" / "00000")
    shutil.copy(folder / "results" / "s" / "study.json", front)
    with Ledger.open(sqlite_url(front / "study.db"), "front", create=True):
        pass
    with pytest.raises(
        InputError, match=r"front has promoted a front; name its members: results/front/promoted/00000$"
    ):
        compared("s", "front")
    compared("results/front/promoted/00000", "noisy/promoted", "--part", "test")
    with Ledger.open(sqlite_url(front / "study.db"), "front", create=False) as ledger:
        assert len(ledger.test_reads()) == 1


def test_a_package_that_nobody_knows_the_data_of_is_refused(compared, home):
    folder, _ = home
    strange = folder / "strange" / "promoted"
    shutil.copytree(folder / "noisy" / "promoted", strange, dirs_exist_ok=True)
    state, description = load_artifact(strange / "model.safetensors")
    save_artifact(strange, "model", state, {**description, "split_hash": "elsewhere"})
    with pytest.raises(InputError, match=r"strange/promoted: there is no study.json beside it"):
        compared("s", "strange/promoted")

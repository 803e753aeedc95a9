"""A promotion that was cut off after it was recorded: given again, it is not trained, counted or recorded twice."""

from datetime import datetime

import pytest

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.errors import InputError
from xlite.ledger import Ledger, sqlite_url
from xlite.promotion.promote import promote, promotion_config
from xlite.storage.files import read_json
from xlite.study.members import Member
from xlite.tasks import TASKS

VALUES = {"train.epochs": 2, "optim.learning_rate": 3e-3, "data.image_size": 32}


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(sqlite_url(tmp_path / "s.db"), "s", create=True) as ledger:
        ledger.enqueue({"distill.alpha": 0.0})
        ledger.ask(lambda trial: {})
        ledger.report(0, 1, 0.6)
        ledger.finish(0, "complete", value=0.6)
        yield ledger


def give(dataset, ledger, folder, *, epochs=2, again=False):
    told = []
    config = promotion_config(RunConfig().override(VALUES, source="test"), ledger.best(), epochs=epochs)
    promote(
        config, TASKS["chestxray14"], [Member("model", dataset, None)], ledger, winner=ledger.best(), folder=folder,
        again=again, on_epoch=lambda number, kept: told.append(kept.epoch),
    )  # fmt: skip
    return told, {file.name: file.read_bytes() for file in sorted(folder.glob("*.*")) if "events" not in file.name}


def test_the_same_promotion_again_leaves_everything_as_it_was(tiny_dataset, ledger, tmp_path):
    trained, left = give(tiny_dataset, ledger, tmp_path / "promoted")
    again, left_again = give(tiny_dataset, ledger, tmp_path / "promoted")
    assert trained == [1, 2] and again == [] and left_again == left
    assert len(ledger.finals()) == 1
    assert read_json(tmp_path / "promoted" / "metrics.json")["test"]["reads_of_test_in_this_study"] == 1


def test_a_damaged_model_is_trained_again_and_comes_out_the_same(tiny_dataset, ledger, tmp_path):
    _, left = give(tiny_dataset, ledger, tmp_path / "promoted")
    file = tmp_path / "promoted" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    trained, left_again = give(tiny_dataset, ledger, tmp_path / "promoted")
    assert trained == [1, 2] and left_again == left and len(ledger.finals()) == 1


def test_another_promotion_is_another_reading_of_test_and_is_made_only_when_asked_for_again(
    tiny_dataset, ledger, tmp_path
):
    _, left = give(tiny_dataset, ledger, tmp_path / "promoted")
    (read,) = ledger.test_reads()
    assert read.command == "promotion of trial 0" and "@" in read.who and read.when <= datetime.now().isoformat()
    with pytest.raises(InputError, match=f"has been read 1 time .last: promotion of trial 0, {read.when}, .*--again"):
        give(tiny_dataset, ledger, tmp_path / "promoted", epochs=1)
    assert give(tiny_dataset, ledger, tmp_path / "promoted") == ([], left)  # the same again is none
    trained, _ = give(tiny_dataset, ledger, tmp_path / "promoted", epochs=1, again=True)
    assert trained == [1] and len(ledger.finals()) == len(ledger.test_reads()) == 2
    assert read_json(tmp_path / "promoted" / "metrics.json")["test"]["reads_of_test_in_this_study"] == 2
    assert [row.promotion.reads_of_test for row in ledger.finals()] == [1, 2]


def test_a_reading_counts_from_before_it_happens(tiny_dataset, ledger, tmp_path, monkeypatch):
    """A promotion killed with the answers on test before its eyes has read them."""

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Dataset, "unsealed", killed)
        give(tiny_dataset, ledger, tmp_path / "promoted")
    assert len(ledger.test_reads()) == 1 and not ledger.finals()
    give(tiny_dataset, ledger, tmp_path / "promoted")
    assert len(ledger.test_reads()) == 1 and ledger.finals()[0].promotion.reads_of_test == 1


def test_promotions_of_earlier_versions_count_as_readings(tiny_dataset, ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(Ledger, "add_test_read", lambda self, read: None)
    give(tiny_dataset, ledger, tmp_path / "promoted")
    monkeypatch.undo()
    (read,) = ledger.test_reads()
    assert (read.command, read.who) == ("promotion of trial 0", "")
    with pytest.raises(InputError, match="--again"):
        give(tiny_dataset, ledger, tmp_path / "promoted", epochs=1)

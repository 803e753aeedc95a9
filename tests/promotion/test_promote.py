"""Promotion by folds: nobody is judged on, or taught by what saw, its own fold; the ensemble is what is tested."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import write_nih_folder
from event_files import scalars, values

import xlite
from xlite.config import RunConfig
from xlite.console import SilentConsole
from xlite.device import choose_device
from xlite.distill.bank import open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.teacher import load_teacher
from xlite.errors import InputError
from xlite.ledger import Ledger, sqlite_url
from xlite.metrics.calibration import Calibration, calibration_metrics
from xlite.metrics.calibration_fit import fit_calibration
from xlite.metrics.decisions import decide, decision_metrics
from xlite.metrics.multilabel import evaluate_multilabel
from xlite.models.artifact import load_model
from xlite.promotion.promote import promote, promotion_config
from xlite.storage.files import read_json, write_json
from xlite.study.members import Member, Trained, folds
from xlite.tasks import TASKS
from xlite.tasks.prepare import DataRequest, prepare
from xlite.train.inference import predict_logits
from xlite.train.run import TrainingRun
from xlite.train.step import Learner
from xlite.train.summary import RunSummary
from xlite.train.teacher import default_teacher

TASK = TASKS["chestxray14"]
CPU = choose_device("fp32", kind="cpu")


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(sqlite_url(tmp_path / "s.db"), "s", create=True) as ledger:
        ledger.enqueue({"distill.alpha": 0.5})
        ledger.ask(lambda trial: {"distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0)})
        ledger.report(0, 1, 0.6)
        ledger.finish(0, "complete", value=0.6)
        yield ledger


def base(**changes):
    values = {"train.epochs": 2, "optim.learning_rate": 3e-3, "data.image_size": 32, **changes}
    return RunConfig().override(values, source="test")


def test_folds_cover_train_and_validation_once_and_keep_groups_whole(tiny_dataset):
    parts = folds(tiny_dataset, TASK.target_spec, 5, seed=0)
    pool = np.sort(np.concatenate([tiny_dataset.parts["train"], tiny_dataset.parts["val"]]))
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.parts["val"] for fold in parts])), pool)
    for fold in parts:
        seen = set(fold.groups[fold.parts["train"]])
        assert not seen & set(fold.groups[fold.parts["val"]]) and not seen & set(fold.groups[fold.parts["test"]])
        share = fold.targets[fold.parts["val"]].mean(axis=0) - tiny_dataset.targets[pool].mean(axis=0)
        assert np.abs(share).max() < 0.06
    assert len({fold.split_hash for fold in parts}) == 5 and tiny_dataset.split_hash not in {
        f.split_hash for f in parts
    }
    with pytest.raises(InputError, match="--folds 300: there are only 170 groups"):
        folds(tiny_dataset, TASK.target_spec, 300, seed=0)


@pytest.mark.parametrize("kind", ["chestxray14", "lumbar_spine", "stm_scanlines"])
def test_repeats_deal_anew_with_every_row_judged_once_and_patients_whole(tiny_dataset, kind):
    spec = TASKS[kind].target_spec
    classes = np.eye(3, dtype=np.float32)[np.arange(200) % 3]
    targets = {"chestxray14": tiny_dataset.targets, "lumbar_spine": classes, "stm_scanlines": classes[:, None]}[kind]
    data = replace(tiny_dataset, targets=targets, groups=np.array([f"p{i // 2}" for i in range(200)]))
    first, second = (folds(data, spec, 4, seed=7, repeat=repeat) for repeat in range(2))
    assert [fold.split_hash for fold in first] == [fold.split_hash for fold in folds(data, spec, 4, seed=7)]
    assert [fold.split_hash for fold in second] == [f"split-fold{k}of4-seed7-repeat2" for k in range(1, 5)]
    pool = np.sort(np.concatenate([data.parts["train"], data.parts["val"]]))
    for repeat in (first, second):
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.parts["val"] for fold in repeat])), pool)
        for fold in repeat:
            assert not set(fold.groups[fold.parts["train"]]) & set(fold.groups[fold.parts["val"]])
            np.testing.assert_array_equal(np.union1d(fold.parts["train"], fold.parts["val"]), pool)
            np.testing.assert_array_equal(fold.parts["test"], data.parts["test"])
    assert all(not np.array_equal(one.parts["val"], other.parts["val"]) for one in first for other in second)


def test_repeats_are_pooled_by_themselves_and_their_mean_and_spread_are_told(tiny_dataset, ledger, tmp_path):
    config = promotion_config(base(), ledger.best(), epochs=1).override({"distill.alpha": 0.0}, source="test")
    parts = [(r, fold) for r in range(2) for fold in folds(tiny_dataset, TASK.target_spec, 2, seed=0, repeat=r)]
    members = [Member(f"model_{number}", fold, None, repeat=r) for number, (r, fold) in enumerate(parts, start=1)]
    done = promote(config, TASK, members, ledger, winner=ledger.best(), folder=tmp_path / "promoted")
    expected, mean = [], np.zeros((200, 3))
    for repeat in (0, 1):
        answers, targets = [], []
        for member in members[2 * repeat : 2 * repeat + 2]:
            model, description = load_model(tmp_path / "promoted" / f"{member.stem}.safetensors")
            val = member.dataset.part("val")
            answers.append(TASK.target_spec.probabilities(predict_logits(model, tiny_dataset, val, device=CPU)))
            targets.append(tiny_dataset.targets[val])
            mean[val] += answers[-1] / 2
            assert description["split_hash"] == member.dataset.split_hash
        pooled = TASK.target_spec.evaluate(np.concatenate(answers), np.concatenate(targets), tiny_dataset.labels)
        expected.append(pooled.scalars["auc_macro"])
    assert done.repeats == pytest.approx(expected) and done.repeats[0] != done.repeats[1]
    pool = np.sort(np.concatenate([tiny_dataset.parts["train"], tiny_dataset.parts["val"]]))
    rows = (mean[pool], tiny_dataset.targets[pool], tiny_dataset.labels)
    _, crossed = fit_calibration(*rows, tiny_dataset.groups[pool], exclusive=False)
    assert done.validation.scalars["auc_macro"] == pytest.approx(TASK.target_spec.evaluate(*rows).scalars["auc_macro"])
    judged = TASK.target_spec.evaluate(crossed, *rows[1:]).scalars
    assert done.validation.scalars["hamming"] == pytest.approx(judged["hamming"])
    assert done.validation.per_label["a"]["num_known"] == 170  # a row counts once, however often it was judged
    interval = read_json(tmp_path / "promoted" / "metrics.json")["validation"]["intervals_95"]["scalars"]["auc_macro"]
    assert interval["low"] < done.validation.scalars["auc_macro"] < interval["high"]
    told = read_json(tmp_path / "promoted" / "metrics.json")["validation"]["repeats"]
    assert told["mean"] == pytest.approx(np.mean(expected)) and told["sd"] == pytest.approx(np.std(expected, ddof=1))


def test_a_teacher_of_one_fold_is_refused_for_another(tiny_dataset, tmp_path):
    first, second = folds(tiny_dataset, TASK.target_spec, 2, seed=0)
    file = default_teacher(base(), TASK, first, folder=tmp_path).file
    load_teacher([file], first, kind="multilabel", device=CPU)
    with pytest.raises(InputError, match="may have seen images judged here"):
        load_teacher([file], second, kind="multilabel", device=CPU)


def test_the_ensembles_mean_logits_are_tested_and_every_fold_is_recorded(tiny_dataset, ledger, tmp_path):
    config = promotion_config(base(), ledger.best(), epochs=2)
    members = []
    for number, fold in enumerate(folds(tiny_dataset, TASK.target_spec, 2, seed=0), start=1):
        file = default_teacher(base(**{"distill.alpha": 0.0}), TASK, fold, folder=tmp_path / "teachers").file
        teacher = load_teacher([file], fold, kind="multilabel", device=CPU)
        source = BankSource(teacher, TASK.train_views(fold, config), CPU, num_views=1)
        bank = open_or_build(source, data_key=fold.train_hash(), logits_shape=(3,), folder=tmp_path / "b")
        members.append(Member(f"model_{number}", fold, bank))
    (tmp_path / "promoted").mkdir()
    for name in ("model_1.safetensors", "model.onnx", "USE.md", "package.json"):
        (tmp_path / "promoted" / name).write_bytes(b"of an earlier promotion")
    done = promote(config, TASK, members, ledger, winner=ledger.best(), folder=tmp_path / "promoted")

    assert not [name for name in ("model.onnx", "USE.md", "package.json") if (tmp_path / "promoted" / name).exists()]
    assert not list((tmp_path / "promoted").glob(".model*"))  # nothing hidden is left of what took turns with it
    models = [load_model(tmp_path / "promoted" / f"model_{number}.safetensors")[0] for number in (1, 2)]
    test = tiny_dataset.parts["test"]
    logits = np.mean([predict_logits(model, tiny_dataset, test, device=CPU) for model in models], axis=0)
    calibration = Calibration.from_json(read_json(tmp_path / "promoted" / "thresholds.json")["calibration"])
    answers = calibration.apply(TASK.target_spec.probabilities(logits))
    expected = TASK.target_spec.evaluate(answers, tiny_dataset.targets[test], tiny_dataset.labels)
    added = {f"{name}_macro_at_thresholds" for name in ("f1", "precision", "recall")}
    assert {name: value for name, value in done.test.scalars.items() if name not in added} == pytest.approx(
        expected.scalars
    )
    assert added <= done.test.scalars.keys() and added <= done.validation.scalars.keys()
    metrics = read_json(tmp_path / "promoted" / "metrics.json")
    assert "identity" in metrics
    assert metrics["models"] == ["model_1.safetensors", "model_2.safetensors"] and len(metrics["epoch"]) == 2
    (final,) = ledger.finals()
    assert final.promotion.promoted_from == 0 and final.promotion.reads_of_test == 1
    assert len(final.promotion.folds) == 2 and final.promotion.test.metrics == pytest.approx(
        done.test.scalars, abs=1e-6
    )
    assert final.cost.num_params == 2 * sum(p.numel() for p in models[0].parameters())
    shown = scalars(tmp_path / "promoted")
    assert shown.pop("test/auc_macro") == [(max(done.epochs), pytest.approx(done.test.scalars["auc_macro"]))]
    assert all(tag.startswith("test") for tag in shown) and "test_auc/a" in shown
    for number in (1, 2):
        run = tmp_path / "promoted" / f"model_{number}"
        assert [step for step, _ in scalars(run)["val/auc_macro"]] == [1, 2]
        assert values(run) == {"distill.alpha": 0.5, "state": "promoted"} == values(tmp_path / "promoted")


def test_a_trial_that_saw_everything_is_promoted_as_it_is(tiny_dataset, ledger, tmp_path):
    from xlite.storage.files import write_json
    from xlite.train.resumable import train_resumable

    config = promotion_config(base(), ledger.best(), epochs=2).override({"distill.alpha": 0.0}, source="test")
    run = TrainingRun(config, TASK, tiny_dataset, CPU)
    for kept in train_resumable(
        run, folder=tmp_path / "trial", stem="student", hyper_parameters={"distill.alpha": 0.0},
        events_folder=tmp_path / "run",
    ):  # fmt: skip
        write_json(tmp_path / "trial" / "trial.json", {"number": 0, "stop": kept.stop, **kept.summary.to_json()})
    trial = tmp_path / "trial"
    trained = Trained(trial, "student", trial / "trial.json", tmp_path / "run", spent=True)
    member = Member("model", tiny_dataset, None, trained)
    one_of_two = Member("model_1", tiny_dataset, None)
    promote(config, TASK, [one_of_two], ledger, winner=ledger.best(), folder=tmp_path / "taken")  # an earlier one
    taken = promote(config, TASK, [member], ledger, winner=ledger.best(), folder=tmp_path / "taken", again=True)
    again = promote(
        config, TASK, [Member("model", tiny_dataset, None)], ledger, winner=ledger.best(), folder=tmp_path / "again"
    )
    ours, theirs = (load_model(tmp_path / name / "model.safetensors")[0].state_dict() for name in ("taken", "again"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)  # that is why nothing need be trained
    assert taken.test.scalars == again.test.scalars and taken.epochs == again.epochs
    assert ledger.finals()[1].summary.seconds == 0  # counted with the trial
    curves = [scalars(tmp_path / name) for name in ("taken", "again")]
    measured = ("seconds/", "speed/")
    ours, theirs = ({tag: curve[tag] for tag in curve if not tag.startswith(measured)} for curve in curves)
    assert ours == theirs and {"train/loss", "val/auc_macro", "test/auc_macro", "test_auc/a"} <= ours.keys()
    assert values(tmp_path / "taken") == {"distill.alpha": 0.5, "state": "promoted"}
    assert not list((tmp_path / "taken" / "model_1").iterdir())  # curves of the earlier promotion


def test_a_promotion_that_ends_before_it_is_recorded_trains_nothing_again(tiny_dataset, ledger, tmp_path, monkeypatch):
    config = promotion_config(base(), ledger.best(), epochs=2).override({"distill.alpha": 0.0}, source="test")
    members, epochs = [Member("model", tiny_dataset, None)], []

    def killed(*_, **__):
        raise KeyboardInterrupt

    def promoted():
        def on_epoch(_, kept):
            epochs.append((kept.epoch, kept.report is not None))

        return promote(
            config, TASK, members, ledger, winner=ledger.best(), folder=tmp_path / "promoted", on_epoch=on_epoch
        )

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ledger, "add_final", killed)
        promoted()
    assert epochs == [(1, True), (2, True)] and not ledger.finals()
    promoted()
    assert epochs[2:] == [(2, False)] and len(ledger.finals()) == 1  # its last checkpoint says that it is trained
    assert not list((tmp_path / "promoted").glob("*checkpoint*")) + list((tmp_path / "promoted").glob(".model*"))


def test_a_promotion_begins_with_the_micro_batches_that_its_trial_needed(tiny_dataset, ledger, tmp_path, monkeypatch):
    """It takes more where memory runs out, which its record says, and stays the promotion that was asked for."""
    needed = replace(ledger.best(), summary=RunSummary(config={"train.micro_batches": 2, "train.step": "plain"}))
    config = promotion_config(base(), needed, epochs=1).override({"distill.alpha": 0.0}, source="test")
    forward, sizes = Learner.forward, []

    def limited(self, batch):
        sizes.append(len(batch.targets))
        if len(batch.targets) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, batch)

    monkeypatch.setattr(Learner, "forward", limited)

    def promoted():
        members = [Member("model", tiny_dataset, None)]
        return promote(config, TASK, members, ledger, winner=needed, folder=tmp_path / "promoted")

    promoted()
    assert sizes[:2] == [16, 8]
    (final,) = ledger.finals()
    assert final.summary.config["train.micro_batches"] == 4
    assert [note.partition(" (")[0] for note in final.notes] == [
        "GPU memory ran out; continued with batches of 32 split into 4 micro-batches of up to 8"
    ]
    num_steps = len(sizes)
    promoted()
    assert len(sizes) == num_steps and len(ledger.finals()) == 1  # nothing is trained or recorded again


def test_what_ships_is_calibrated_and_decides_as_wanted_with_or_without_a_guarantee(tmp_path, ledger):
    """From raw files to decisions: the predictor gives the calibrated probabilities that were judged."""
    raw = write_nih_folder(tmp_path / "nih", 400, px=32)
    request = DataRequest(raw, base().data, None, 0, "1", tmp_path / "cache", guarantee_share=0.3)
    prepared = prepare(TASK, request, SilentConsole())
    config = base(**{"train.epochs": 12, "distill.alpha": 0.0})
    held_out, found = prepared.full.parts["held_out"], {}
    without = {part: rows for part, rows in prepared.full.parts.items() if part != "held_out"}
    for basis, dataset in (("guarantee", prepared.full), ("estimate", replace(prepared.full, parts=without))):
        folder = tmp_path / basis
        done = promote(
            config, TASK, [Member("model", dataset, None)], ledger, winner=ledger.best(), folder=folder,
            threshold_method="sensitivity=0.7", again=True,
        )  # fmt: skip
        rows = read_json(folder / "thresholds.json")["labels"]
        shown = {name: row for name, row in rows.items() if row["basis"] != "default"}
        assert len(shown) == 3 and {row["basis"] for row in shown.values()} == {basis}
        assert all((row["target"], row["confidence"]) == (0.7, 0.9) for row in shown.values())
        found[basis] = shown
        assert any(("cannot be" if basis == "guarantee" else "is not guaranteed") in line for line in done.lines) == (
            basis == "estimate"
        )
    for name, row in found["guarantee"].items():
        _, first = np.unique(prepared.full.groups[held_out], return_index=True)
        positives = prepared.full.targets[held_out][first, prepared.full.labels.index(name)].sum()
        assert (row["patients"], row["positives"]) == (len(first), positives)

    folder, labels = tmp_path / "guarantee", prepared.full.labels
    predictor, alone = (xlite.load(path, device="cpu") for path in (folder, folder / "model.safetensors"))
    assert set(predictor.calibration.methods) > {"none"} and alone.calibration is None
    test = prepared.full.parts["test"]
    paths, targets = [prepared.table.items[row].path for row in test], prepared.full.targets[test]
    given, before = (np.array([list(one.values()) for one in each.predict_batch(paths)]) for each in (predictor, alone))
    np.testing.assert_array_equal(given, predictor.calibration.apply(before))
    about = read_json(folder / "metrics.json")["test"]
    for when, answers in (("before", before), ("after", given)):
        measured, curves = calibration_metrics(answers, targets, labels)
        assert about["calibration"][when]["scalars"] == pytest.approx(measured["scalars"], abs=1e-6)
        assert read_json(folder / "reliability.json")["test"][when].keys() == curves.keys()
    decisions = decide(given, predictor.thresholds, labels)
    assert about["at_thresholds"]["scalars"] == pytest.approx(decision_metrics(decisions, targets, labels)[0], abs=1e-6)
    auc = {
        name: evaluate_multilabel(answers, targets, labels).scalars["auc_macro"]
        for name, answers in (("b", before), ("a", given))
    }
    assert auc["a"] == auc["b"]

    stored = read_json(folder / "thresholds.json")
    assert stored["weights"] == {"model.safetensors": read_json(folder / "model.json")["weights_sha256"]}
    other = read_json(tmp_path / "estimate" / "thresholds.json")
    for weights in ({"model.safetensors": "of an earlier promotion"}, {"model_1.safetensors": "of other folds"}):
        write_json(folder / "thresholds.json", {**other, "weights": weights})  # as one that was killed leaves it
        with pytest.raises(InputError, match=r"thresholds.json: it is of other weights .*; promote again"):
            xlite.load(folder, device="cpu")
    write_json(folder / "thresholds.json", {key: stored[key] for key in ("method", "thresholds", "notes")})  # as before
    assert xlite.load(folder, device="cpu").predict_batch(paths) == alone.predict_batch(paths)
    for broken in (
        {**stored["calibration"], "slopes": [-1.0] * len(labels)},
        {**stored["calibration"], "labels": ["x"]},
        3,
    ):
        write_json(folder / "thresholds.json", {**stored, "calibration": broken})
        with pytest.raises(InputError, match=r"thresholds.json: its calibration .*; promote again"):
            xlite.load(folder, device="cpu")

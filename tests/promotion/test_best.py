"""Luck: candidates trained again with several seeds, and "better" said only where seeds and patients say so."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.errors import InputError
from xlite.ledger import Ledger, TrialRecord, sqlite_url
from xlite.models.artifact import load_model
from xlite.models.limits import Cost
from xlite.promotion import answers
from xlite.promotion import retrain as retraining
from xlite.promotion.best import promote_best
from xlite.promotion.choose import choose
from xlite.promotion.judge import Judged
from xlite.promotion.promote import promote, promotion_config
from xlite.promotion.retrain import Candidate, Retrained, Seeded
from xlite.storage.files import read_json
from xlite.study.members import Member
from xlite.tasks import TASKS
from xlite.train.run import TrainingRun

TASK = TASKS["chestxray14"]
SPEC = TASK.target_spec
BASE = RunConfig().override(
    {"train.epochs": 1, "optim.learning_rate": 3e-3, "data.image_size": 32, "distill.alpha": 0.0}, source="test"
)


def judged(quality, *, seed, number, num=300):
    """Answers to one label, the better the higher `quality`; two images a patient."""
    rng = np.random.default_rng(5)
    targets = (rng.random((num, 1)) < 0.3).astype(np.float32)
    noise = rng.normal(size=(num, 1)) + 0.5 * np.random.default_rng([6, seed, number]).normal(size=(num, 1))
    answers = 1 / (1 + np.exp(-(quality * targets + noise)))
    rows = np.arange(num)
    return Judged(answers, targets, rows // 2, ("a",), SPEC.judge(answers, targets, ("a",)), rows)


def retrained(number, quality, *, num_params, search_value=0.9, seeds=(42, 43, 44)):
    trial = TrialRecord(
        number=number, phase="search", state="complete", value=search_value, cost=Cost(num_params, 1.0, 5.0)
    )
    by_seed = tuple(Seeded(seed, None, judged(quality, seed=seed, number=number), ()) for seed in seeds)
    return Retrained(Candidate(trial, BASE, ()), by_seed)


def test_the_better_one_is_chosen_though_it_is_larger_and_had_the_lower_value_in_the_search():
    small = retrained(0, 0.5, num_params=10, search_value=0.95)
    large = retrained(1, 2.5, num_params=99, search_value=0.90)
    position, (first, second) = choose([small, large], SPEC, seed=0)
    assert position == 1 and (first.trial, first.verdict, first.difference) == (1, "chosen", None)
    assert (second.trial, second.verdict, second.search_value) == (0, "worse", 0.95)
    mean, low, high = second.difference
    assert mean == pytest.approx(np.mean(first.values) - np.mean(second.values)) and 0 < low < mean < high


def test_of_tied_ones_the_smaller_is_chosen_then_the_faster():
    large, small = retrained(0, 1.02, num_params=99), retrained(1, 1.0, num_params=10)
    position, records = choose([large, small], SPEC, seed=0)
    assert position == 1 and [record.verdict for record in records] == ["tied", "chosen"]
    assert records[1].difference[1] <= 0
    fast = replace(small.candidate.trial, number=2, cost=Cost(10, 1.0, 4.0))
    position, _ = choose([large, small, Retrained(Candidate(fast, BASE, ()), small.by_seed)], SPEC, seed=0)
    assert position == 2


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(sqlite_url(tmp_path / "s.db"), "s", create=True) as ledger:
        for number, rate in enumerate((3e-3, 1e-3)):
            ledger.enqueue({"optim.learning_rate": rate})
            ledger.ask(lambda trial: {"optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-4, 1e-1)})
            ledger.report(number, 1, 0.6)
            ledger.finish(number, "complete", value=0.6 + number / 10)
        yield ledger


def places(home):
    return {"folder": home / "promoted", "retrained_in": home / "retrained"}


def candidates(dataset, ledger):
    rows = sorted(ledger.rows(), key=lambda row: -row.value)
    return [
        Candidate(row, promotion_config(BASE, row, epochs=1), (Member("model", dataset, None, num_views=1),))
        for row in rows
    ]


def test_the_first_seeds_model_ships_and_only_the_winner_reads_test(tiny_dataset, ledger, tmp_path, monkeypatch):
    judged_on = []

    def seen(models, spec, dataset, part, device):
        judged_on.append(part)
        return judge_part(models, spec, dataset, part, device)

    judge_part = answers.judge
    monkeypatch.setattr(answers, "judge", seen)
    folder = tmp_path / "promoted"
    done = promote_best(candidates(tiny_dataset, ledger), (42, 43), TASK, ledger, **places(tmp_path))
    number = done.chosen.record.trial
    assert judged_on.count("test") == 2  # its two seeds
    shipped = load_model(folder / "model.safetensors")[0].state_dict()
    first = load_model(tmp_path / "retrained" / f"trial_{number:05d}_seed_42" / "model.safetensors")[0].state_dict()
    second = load_model(tmp_path / "retrained" / f"trial_{number:05d}_seed_43" / "model.safetensors")[0].state_dict()
    assert all(torch.equal(shipped[key], first[key]) for key in first)
    assert not all(torch.equal(shipped[key], second[key]) for key in second)
    (final,) = ledger.finals()
    record = final.promotion
    assert record.seeds == (42, 43) and {each.trial for each in record.candidates} == {0, 1}
    assert final.summary.seconds > 0  # of all four trainings
    assert record.test_values[0] == pytest.approx(done.test.scalars["auc_macro"]) != record.test_values[1]
    metrics = read_json(folder / "metrics.json")
    assert metrics["search_value"] == 0.6 + number / 10 and len(metrics["retrained_values"]) == 2
    assert metrics["retrained_values"][0] == pytest.approx(done.validation.scalars["auc_macro"], abs=1e-6)
    assert ledger.test_reads()[0].identity == record.identity
    told = done.chosen.describe("auc_macro", done.test_values)[-1]
    assert told.startswith(f"Trial {number}, auc_macro: {0.6 + number / 10:.4f} in search, ") and "(2 seeds)" in told


def test_one_candidate_with_one_seed_is_the_plain_promotion(tiny_dataset, ledger, tmp_path):
    (best, _) = candidates(tiny_dataset, ledger)
    plain = promote(best.config, TASK, best.members, ledger, winner=best.trial, folder=tmp_path / "promoted")
    again = promote_best([best], (42,), TASK, ledger, **places(tmp_path))  # no other reading of test
    assert again.test.scalars == plain.test.scalars and len(ledger.finals()) == 1 and again.chosen is None


def test_killed_between_seeds_it_goes_on_where_it_was(tiny_dataset, ledger, tmp_path, monkeypatch):
    made, trained = retraining.made, []

    def cut_off(config, *rest, **named):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append((named["winner"].number, config.train.seed))
        return made(config, *rest, **named)

    each = candidates(tiny_dataset, ledger)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(retraining, "made", cut_off)
        promote_best(each, (42, 43), TASK, ledger, **places(tmp_path))
    assert trained == [(1, 42), (1, 43)] and not ledger.test_reads()
    rest = []

    def noted(config, *others, **named):
        rest.append((named["winner"].number, config.train.seed, named["views_seed"]))
        return made(config, *others, **named)

    monkeypatch.setattr(retraining, "made", noted)
    promote_best(each, (42, 43), TASK, ledger, **places(tmp_path))
    assert rest == [(0, 42, None), (0, 43, 42)] and len(ledger.finals()) == 1
    promote_best(each, (42, 43), TASK, ledger, **places(tmp_path))
    assert len(rest) == 2 and len(ledger.finals()) == 1 and len(ledger.test_reads()) == 1


def test_a_training_that_was_cut_off_is_not_taken_for_an_earlier_one_in_its_place(
    tiny_dataset, ledger, tmp_path, monkeypatch
):
    """The same trials and seeds, with more epochs than a promotion before: killed after the first of them."""
    epochs = []

    def given(num_epochs, **more):
        each = [
            Candidate(one.trial, promotion_config(BASE, one.trial, epochs=num_epochs), one.members)
            for one in candidates(tiny_dataset, ledger)[:1]
        ]
        told = lambda _, kept: epochs.append(kept.epoch)  # noqa: E731
        return promote_best(each, (42, 43), TASK, ledger, again=True, on_epoch=told, **places(tmp_path))

    given(1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(retraining, "write_json", interrupted)
        given(3)
    assert epochs == [1, 1, 1, 2, 3]
    first = epochs.copy()
    given(3)
    assert epochs[len(first) :] == [3, 1, 2, 3]  # its last checkpoint says that it is trained; the other seed follows


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_the_seconds_of_a_training_are_counted_once(tiny_dataset, ledger, tmp_path):
    each = candidates(tiny_dataset, ledger)
    for method in ("f1", "youden"):
        promote_best(each, (42, 43), TASK, ledger, threshold_method=method, again=True, **places(tmp_path))
    first, second = ledger.finals()
    assert first.summary.seconds > 0 == second.summary.seconds


def test_other_candidates_or_seeds_are_another_reading(tiny_dataset, ledger, tmp_path):
    each = candidates(tiny_dataset, ledger)
    promote_best(each[:1], (42,), TASK, ledger, **places(tmp_path))
    with pytest.raises(InputError, match="--again"):
        promote_best(each, (42,), TASK, ledger, **places(tmp_path))
    assert not (tmp_path / "retrained").exists()  # said before anything is trained


def test_another_seed_starts_elsewhere_and_sees_the_same_views(tiny_dataset):
    own = TrainingRun(BASE, TASK, tiny_dataset, choose_device("fp32", kind="cpu"))
    other = replace(own, config=BASE.override({"train.seed": 43}, source="t"), views_seed=BASE.train.seed)
    rows, views = np.arange(4), np.zeros(4, dtype=np.int64)
    np.testing.assert_array_equal(own.train_views.read(rows, views), other.train_views.read(rows, views))
    assert own.identity() != other.identity() and "views_seed" not in own.identity()
    moved = replace(other, views_seed=None).train_views.read(rows, views)
    assert not np.array_equal(moved, own.train_views.read(rows, views))

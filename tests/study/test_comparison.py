"""Students on the same patients: who is better is said only where it shows, and only on patients that none has seen."""

from dataclasses import replace

import numpy as np
import pytest

from xlite.data.dataset import Dataset
from xlite.errors import InputError
from xlite.ledger import Ledger, PromotionRecord, TrialResult, sqlite_url
from xlite.study.comparison import Rows, Side, budget_line, label_pairs, pairs_of, score_of, untested
from xlite.study.contestants import Contestant, configurations, final_of, judged_on
from xlite.tasks.target_spec import MULTICLASS, MULTILABEL
from xlite.train.summary import EvaluationSummary

NUM = 160


@pytest.fixture
def rows() -> Rows:
    rng = np.random.default_rng(0)
    targets = (rng.random((NUM, 3)) < 0.4).astype(np.float32)
    targets[:, 2] = 0
    targets[:5, 2] = 1
    return Rows(targets, np.array([f"p{i // 2}" for i in range(NUM)]), ("a", "b", "rare"), MULTILABEL)


def side(name: str, rows: Rows, *, skill: float, seeds: int = 1) -> Side:
    """Answers that are noise but for `skill` of the truth."""
    rng = np.random.default_rng(sum(map(ord, name)))
    noise = [rng.random(rows.targets.shape) for _ in range(seeds)]
    return Side(name, tuple((skill * rows.targets + (1 - skill) * each) for each in noise))


def test_the_better_one_is_named_the_same_twice_differs_by_exactly_nothing(rows):
    good, poor = side("good", rows, skill=0.3), side("poor", rows, skill=0.0)
    again = Side("again", good.answers)
    pairs = {(pair.first, pair.second): pair for pair in pairs_of([good, poor, again], rows)}
    same, better = pairs["good", "again"], pairs["good", "poor"]
    assert (same.difference.mean, same.difference.low, same.difference.high) == (0, 0, 0)
    assert same.p == 1 and same.verdict == "tied"
    assert better.verdict == "good is better" and 0 < better.difference.low < better.difference.mean
    assert pairs["poor", "again"].verdict == "again is better"
    assert better.p == pytest.approx(min(1, 3 * better.difference.p))  # the smallest of three
    found = score_of(good, rows)
    expected = MULTILABEL.evaluate(good.answers[0], rows.targets, rows.labels).scalars["auc_macro"]
    assert found.mean == pytest.approx(expected) and found.low < found.mean < found.high


def test_labels_are_corrected_for_their_number_and_rare_ones_are_not_tested(rows):
    good, poor = side("good", rows, skill=0.5), side("poor", rows, skill=0.0)
    pairs = label_pairs(good, poor, rows)
    assert [pair.label for pair in pairs] == ["a", "b"] and untested(rows) == ["rare"]
    assert all(pair.verdict == "good is better" and pair.p >= pair.difference.p for pair in pairs)
    assert [pair.verdict for pair in label_pairs(good, Side("again", good.answers), rows)] == ["tied"] * 2


def test_of_two_patients_nobody_is_better():
    targets = np.array([[0.0], [1.0], [0.0], [1.0]], dtype=np.float32)
    rows = Rows(targets, np.array(["p", "p", "q", "q"]), ("a",), MULTILABEL)
    right, wrong = Side("right", (targets,)), Side("wrong", (1 - targets,))
    (pair,) = pairs_of([right, wrong], rows)  # 1 - 0 in every resample: no variance
    assert (pair.difference.mean, pair.p, pair.verdict) == (1, 1, "tied")
    assert np.isnan([pair.difference.low, pair.difference.high]).all() and not label_pairs(right, wrong, rows)


def test_seeds_of_a_side_are_averaged_and_their_spread_counts(rows):
    one, other = side("one", rows, skill=0.3, seeds=3), side("other", rows, skill=0.28, seeds=2)
    (pair,) = pairs_of([one, other], rows)
    assert pair.difference.mean == pytest.approx(score_of(one, rows).mean - score_of(other, rows).mean)
    assert pair.verdict == "tied"


def test_classes_of_the_parts_of_an_example_are_compared_too():
    rng = np.random.default_rng(0)
    targets = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (60, 4))]
    targets[0, 2] = np.nan
    rows = Rows(targets, np.array([f"p{i}" for i in range(60)]), ("x", "y", "z"), MULTICLASS)
    noise = rng.random(targets.shape)
    good, poor = Side("good", (np.nan_to_num(targets) + noise,)), Side("poor", (noise,))
    assert pairs_of([good, poor], rows)[0].verdict == "good is better"
    assert [pair.verdict for pair in label_pairs(good, poor, rows)] == ["good is better"] * 3


def test_budgets_that_differ_by_more_than_a_tenth_are_said():
    assert budget_line("epochs", {"a": 10, "b": 11}) == "Same epochs within 10%"
    assert budget_line("epochs", {"a": 10, "b": 12}) == "Not the same epochs: a 10, b 12"
    assert budget_line("epochs", {"a": 10, "b": 12, "c": None}).endswith("(not known of c)")  # type: ignore[union-attr]
    assert budget_line("epochs", {"a": 10, "b": None}) is None


def contestant(name: str, dataset: Dataset, *, seed: int = 0, split: str = "", spec=MULTILABEL, **config) -> Contestant:
    about = {
        "config": {"train.seed": seed, **config},
        "split_hash": split or dataset.split_hash,
        "weights_sha256": name,
    }
    return Contestant(name, None, (about,), dataset, True, spec, None, "same")  # type: ignore[arg-type]


def test_of_different_splits_only_patients_stay_that_none_has_seen(tiny_dataset):
    data = replace(tiny_dataset, groups=np.array([f"p{i // 2}" for i in range(200)]))
    parts = {"train": np.arange(0, 150), "val": np.arange(150, 181), "test": np.arange(181, 200)}
    other = replace(data, parts=parts, split_hash="other")
    rows, ids, notes = judged_on([contestant("a", data), contestant("b", other)], "test")
    # 170..199 of a; b has seen up to 180, and with it the patient of 181
    assert ids.tolist() == sorted(f"image{i}" for i in range(182, 200)) and len(np.unique(rows.groups)) == 9
    assert "compared on 18 of 30 images (9 patients)" in notes[0]
    rows, ids, notes = judged_on([contestant("a", data), contestant("b", data)], "val")
    assert ids.tolist() == sorted(f"image{i}" for i in range(140, 170)) and not notes
    everything = replace(data, split_hash="all", parts={**parts, "train": np.arange(200), "test": np.arange(170, 200)})
    with pytest.raises(InputError, match="no test image of all is left"):
        judged_on([contestant("a", data), contestant("b", everything)], "test")
    with pytest.raises(InputError, match=r"its folds were trained on it.*use --part test"):
        judged_on([contestant("a", data), contestant("b", data, split="split-fold1of3-seed0")], "val")
    healthy = replace(data, targets=np.where(np.arange(200)[:, None] < 170, data.targets, 0))
    with pytest.raises(InputError, match="auc_macro is undefined on the 30 test images left"):
        judged_on([contestant("a", healthy), contestant("b", healthy)], "test")
    alone = replace(data, groups=np.full(200, "p"))
    with pytest.raises(InputError, match="are of one patient"):
        judged_on([contestant("a", alone), contestant("b", alone)], "test")


def test_labels_are_matched_by_name_and_what_one_lacks_is_said(tiny_dataset):
    fewer = replace(tiny_dataset, labels=("c", "x", "a"), targets=tiny_dataset.targets[:, [2, 1, 0]])
    rows, _, notes = judged_on([contestant("one", tiny_dataset), contestant("two", fewer)], "test")
    assert rows.labels == ("a", "c") and notes == ["two has no b: left out", "one has no x of two: left out"]
    np.testing.assert_array_equal(rows.targets[:, 0].sum(), tiny_dataset.targets[170:, 0].sum())
    with pytest.raises(InputError, match="have no label in common"):
        judged_on([contestant("one", tiny_dataset), contestant("two", replace(fewer, labels=("d", "e", "f")))], "test")
    with pytest.raises(InputError, match="multilabel targets, two multiclass: they do not compare"):
        judged_on([contestant("one", tiny_dataset), contestant("two", tiny_dataset, spec=MULTICLASS)], "test")
    with pytest.raises(InputError, match="the same images have other labels"):
        judged_on(
            [contestant("one", tiny_dataset), contestant("two", replace(fewer, targets=1 - fewer.targets))], "test"
        )


def test_students_that_differ_in_the_seed_alone_are_seeds_of_one_configuration(tiny_dataset):
    students = [
        *(contestant("a", tiny_dataset, rate=1), contestant("b", tiny_dataset, rate=1, seed=1)),
        *(contestant("c", tiny_dataset, rate=2), contestant("a", tiny_dataset, rate=1)),
    ]
    named = configurations(students)
    assert {name: [each.name for each in seeds] for name, seeds in named.items()} == {
        "a": ["a", "b"], "c": ["c"], "a again": ["a"],
    }  # fmt: skip


@pytest.mark.parametrize("trained_on", ["another teacher", None])
def test_students_of_another_study_or_of_none_are_no_seeds(tiny_dataset, trained_on):
    one, two = (contestant(name, tiny_dataset, seed=seed, rate=1) for seed, name in enumerate(("one", "two")))
    assert list(configurations([one, two])) == ["one"]
    assert list(configurations([one, replace(two, trained_on=trained_on)])) == ["one", "two"]
    if trained_on is None:
        assert list(configurations([replace(each, trained_on=None) for each in (one, two)])) == ["one", "two"]


def test_a_package_is_the_promotion_that_it_names_not_the_last(tmp_path):
    def final(identity: str, trial: int) -> TrialResult:
        test = EvaluationSummary(metrics={}, per_label={})
        return TrialResult(promotion=PromotionRecord(identity, trial, "f1", test, (None, None), 1))

    with Ledger.open(sqlite_url(tmp_path / "study.db"), "s", create=True) as ledger:
        ledger.add_final(final("of3", 3), value=0.6)
        ledger.add_final(final("of5", 5), value=0.7)
        found = {}
        for about in ('{"identity": "of3"}', '{"identity": "of5"}', '{"identity": "cut off"}', "{}"):
            (tmp_path / "metrics.json").write_text(about)
            row = final_of(tmp_path, ledger)
            found[about] = row and row.promotion and row.promotion.promoted_from
    assert list(found.values()) == [3, 5, None, 5]

"""The patient-clustered bootstrap and differences that rest on it, against DeLong, formulas and by hand."""

import numpy as np
import pytest
from scipy import stats

from xlite.errors import InputError
from xlite.metrics.differences import Difference, holm, paired_difference
from xlite.metrics.resampling import patient_weights, resampled
from xlite.metrics.weighted import weighted_macro_auc
from xlite.tasks.target_spec import TARGET_SPECS


def patients(num_rows, rows_each):
    return np.array([f"patient{i // rows_each:03d}" for i in range(num_rows)])


def random_case(seed, *, num_rows):
    """Probabilities full of ties against four labels."""
    rng = np.random.default_rng(seed)
    return rng.random((num_rows, 4)).round(1), (rng.random((num_rows, 4)) < 0.3).astype(np.float32)


def one_label(seed, *, num_rows, auc_shift=1.0, rows_each=1):
    """Scores and truth of one label; a patient's rows share its label and half the variance of its scores."""
    rng = np.random.default_rng(seed)
    num = num_rows // rows_each
    truth = np.repeat(rng.random(num) < 0.3, rows_each)
    scores = np.repeat(rng.normal(size=num), rows_each) + rng.normal(size=num_rows) + auc_shift * truth
    return scores[:, None], truth[:, None].astype(float)


def mean_of(values):
    return lambda weights: (weights @ values) / weights.sum(axis=-1)


def test_as_many_patients_are_drawn_as_there_are_each_with_all_its_rows():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    weights = np.concatenate(list(patient_weights(groups, num_resamples=500, seed=0)))
    assert weights.shape == (500, 6)
    for name in "abc":
        assert (weights[:, groups == name] == weights[:, groups == name][:, :1]).all()
    times = weights[:, [0, 1, 3]]
    assert (times.sum(axis=1) == 3).all()
    assert times.mean(axis=0) == pytest.approx(np.ones(3), abs=0.1)
    assert (times == 0).mean() == pytest.approx((2 / 3) ** 3, abs=0.03)


def test_the_draws_do_not_depend_on_how_they_are_cut_into_chunks(monkeypatch):
    groups = patients(300, 3)
    whole = np.concatenate(list(patient_weights(groups, num_resamples=50, seed=3)))
    monkeypatch.setattr("xlite.metrics.resampling._CHUNK_CELLS", 7 * 300)
    chunks = list(patient_weights(groups, num_resamples=50, seed=3))
    assert [len(chunk) for chunk in chunks] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


@pytest.mark.parametrize("kind", TARGET_SPECS)
def test_with_weights_of_one_a_score_is_the_metric_itself_to_the_bit(kind):
    """So that a trial need not compute the other metrics of its training part."""
    target_spec, rng = TARGET_SPECS[kind], np.random.default_rng(3)
    for num_rows in (40, 701):
        logits = rng.normal(size=(num_rows, 15)).astype(np.float32).round(1)
        targets = np.eye(15, dtype=np.float32)[rng.integers(14, size=num_rows)]  # of one label there is none
        answers = target_spec.probabilities(logits)
        value = target_spec.resampled_score(answers, targets)(np.ones(num_rows))
        assert value == target_spec.judge(answers, targets, list("abcdefghijklmno")).scalars[target_spec.score]


def test_each_image_ten_times_over_is_no_new_evidence():
    """By patient the spread stays, by image it shrinks by root 10."""
    probs, targets = random_case(8, num_rows=60)
    ten_probs, ten_targets = np.repeat(probs, 10, 0), np.repeat(targets, 10, 0)

    def spread(p, t, groups):
        return resampled(weighted_macro_auc(p, t), groups, num_resamples=300, seed=0).std()

    single = spread(probs, targets, patients(60, 1))
    assert spread(ten_probs, ten_targets, patients(600, 10)) == pytest.approx(single, rel=1e-9)
    assert spread(ten_probs, ten_targets, patients(600, 1)) == pytest.approx(single / 10**0.5, rel=0.2)


def structural_components(scores, truth):
    """DeLong, DeLong, Clarke-Pearson 1988: V10 of each positive, V01 of each negative."""
    above = (scores[truth][:, None] > scores[~truth]) + 0.5 * (scores[truth][:, None] == scores[~truth])
    return above.mean(axis=1), above.mean(axis=0)


def delong_variance(scores, truth, groups):
    """Of the AUC, by patient (Obuchowski 1997): the sums of each patient's components, positive and negative."""
    v10, v01 = structural_components(scores, truth)
    names, group_of_row = np.unique(groups, return_inverse=True)
    share = np.zeros(len(scores))
    share[truth], share[~truth] = (v10 - v10.mean()) / len(v10), (v01 - v01.mean()) / len(v01)
    return (np.bincount(group_of_row, share) ** 2).sum() * len(names) / (len(names) - 1)


def test_delong_by_hand():
    """Positives 3, 1; negatives 2, 1, 0: V10 = (1, 1/2), V01 = (1/2, 3/4, 1), so AUC = 3/4; each row a patient."""
    scores, truth = np.array([3.0, 1, 2, 1, 0]), np.array([True, True, False, False, False])
    v10, v01 = structural_components(scores, truth)
    assert v10.tolist() == [1, 0.5] and v01.tolist() == [0.5, 0.75, 1]
    value = weighted_macro_auc(scores[:, None], truth[:, None].astype(float))(np.ones(5))
    assert value == v10.mean() == v01.mean() == 0.75
    by_hand = (2 * 0.25**2 / 2**2 + 2 * 0.25**2 / 3**2) * 5 / 4
    assert delong_variance(scores, truth, np.arange(5)) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("rows_each", [1, 3])
def test_the_bootstraps_standard_error_is_delongs(rows_each):
    scores, targets = one_label(1, num_rows=900, rows_each=rows_each)
    groups = patients(900, rows_each)
    values = resampled(weighted_macro_auc(scores, targets), groups, num_resamples=2000, seed=0)
    error = delong_variance(scores[:, 0], targets[:, 0] == 1, groups) ** 0.5
    assert values.std() == pytest.approx(error, rel=0.06)
    if rows_each == 3:
        assert error > 1.3 * delong_variance(scores[:, 0], targets[:, 0] == 1, np.arange(900)) ** 0.5


def test_a_difference_of_two_models_has_delongs_standard_error():
    scores, targets = one_label(2, num_rows=600, rows_each=2)
    other = scores + 2 * np.random.default_rng(9).normal(size=scores.shape)
    groups, truth = patients(600, 2), targets[:, 0] == 1
    parts = [structural_components(each[:, 0], truth) for each in (scores, other)]
    share = np.zeros(600)
    for sign, (v10, v01) in zip((1, -1), parts, strict=True):
        share[truth] += sign * (v10 - v10.mean()) / len(v10)
        share[~truth] += sign * (v01 - v01.mean()) / len(v01)
    error = (share.reshape(300, 2).sum(axis=1) ** 2).sum() ** 0.5
    done = paired_difference(
        *([weighted_macro_auc(each, targets)] for each in (scores, other)), groups, num_resamples=2000, seed=0
    )
    assert done.mean == pytest.approx(parts[0][0].mean() - parts[1][0].mean(), rel=1e-12)
    assert (done.high - done.low) / (2 * stats.t(299).ppf(0.975)) == pytest.approx(error, rel=0.06)
    assert done.p < 0.05 and done.low > 0


def test_a_difference_of_means_is_the_paired_t_test():
    rng = np.random.default_rng(4)
    first, second = rng.normal(0.1, 1, 400), rng.normal(0, 1, 400)
    done = paired_difference([mean_of(first)], [mean_of(second)], np.arange(400), num_resamples=4000, seed=0)
    expected = stats.ttest_rel(first, second)
    assert done.mean == pytest.approx((first - second).mean())
    assert (done.low, done.high) == pytest.approx(tuple(expected.confidence_interval()), abs=0.01)
    assert done.p == pytest.approx(expected.pvalue, abs=0.03)


def test_seeds_that_differ_widen_a_difference_and_patients_that_all_agree_do_not_hide_it():
    groups = np.arange(50)
    first, second = ([mean_of(np.full(50, value)) for value in values] for values in ((0.7, 0.8, 0.9), (0.6, 0.7, 0.8)))
    done = paired_difference(first, second, groups, seed=0)
    expected = stats.ttest_ind([0.7, 0.8, 0.9], [0.6, 0.7, 0.8], equal_var=False)
    assert done.mean == pytest.approx(0.1) and done.p == pytest.approx(expected.pvalue)
    assert (done.low, done.high) == pytest.approx(tuple(expected.confidence_interval()))
    alone = paired_difference(first, second[1:2], groups, seed=0)
    assert alone.mean == pytest.approx(0.1) and alone.p == pytest.approx(stats.ttest_1samp([0.7, 0.8, 0.9], 0.7).pvalue)


def test_folds_with_patients_of_their_own_are_a_paired_t_test_over_folds():
    rng = np.random.default_rng(5)
    folds = [np.arange(num) for num in (30, 40, 50)]
    first, second = ([rng.normal(mean, 1, len(fold)) for fold in folds] for mean in (0.4, 0.0))
    done = paired_difference([mean_of(v) for v in first], [mean_of(v) for v in second], folds, seed=0)
    expected = stats.ttest_rel([v.mean() for v in first], [v.mean() for v in second])
    assert done.p == pytest.approx(expected.pvalue) and done.low == pytest.approx(expected.confidence_interval().low)


def test_what_has_no_difference_or_no_interval_is_said():
    model, groups = mean_of(np.arange(10.0)), np.arange(10)
    assert paired_difference([model], [model], groups, seed=0) == Difference(0.0, 0.0, 0.0, p=1.0)
    with pytest.raises(InputError, match="all rows are of one patient"):
        paired_difference([model], [model], np.zeros(10), seed=0)
    one_class = weighted_macro_auc(np.ones((10, 1)), np.ones((10, 1)))
    with pytest.raises(InputError, match="undefined"), np.errstate(all="ignore"):
        paired_difference([one_class], [one_class], groups, seed=0)


def test_holm_by_hand_and_never_above_one():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []

"""Thresholds for a wanted sensitivity or precision: what is promised, from whom, and what is said where nothing is."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom, norm

from xlite.metrics.wanted import ScoredRows, Wanted, candidates, wanted_thresholds

NAN = float("nan")


def drawn(num, prevalence, seed, *, per_patient=1):
    """Binormal scores, positives two standard deviations above negatives; the truth of a threshold is known."""
    rng = np.random.default_rng(seed)
    truth = rng.random(num) < prevalence
    return ScoredRows(
        expit(rng.normal(2.0 * truth, 1))[:, None], truth[:, None].astype(float), np.arange(num) // per_patient
    )


def chosen(text, validation, held_out=None):
    found, notes = wanted_thresholds(Wanted.named(text), validation, held_out, ("a",))
    return found["a"], notes


def test_a_sensitivity_is_guaranteed_by_the_exact_binomial_test():
    validation, held_out = drawn(500, 0.2, 0), drawn(300, 0.2, 1)
    found, notes = chosen("sensitivity=0.9", validation, held_out)
    assert (found.basis, found.confidence, found.patients, notes) == ("guarantee", 0.9, 300, ())
    scores, truth = held_out.probs[:, 0], held_out.targets[:, 0] == 1
    assert found.positives == found.held_out_positives == truth.sum()

    def passes(cut):  # P(so few missed | sensitivity 0.9) <= 0.1
        return binom.cdf((truth & (scores < cut)).sum(), truth.sum(), 0.1) <= 0.1

    cuts = candidates(validation.probs[:, 0], validation.targets[:, 0] == 1)
    first_failure = next(cut for cut in cuts if not passes(cut))
    assert found.threshold == cuts[cuts < first_failure].max()


def test_a_precision_is_guaranteed_by_the_exact_binomial_test():
    found, _ = chosen("precision=0.5", drawn(600, 0.2, 0), held_out := drawn(600, 0.2, 1))
    assert found.basis == "guarantee"
    decided = held_out.probs[:, 0] >= found.threshold
    wrong = (decided & (held_out.targets[:, 0] == 0)).sum()
    assert binom.cdf(wrong, decided.sum(), 0.5) <= 0.1


@pytest.mark.parametrize("text", ["sensitivity=0.8", "precision=0.5"])
def test_the_guarantee_is_missed_at_most_as_often_as_it_says(text):
    """300 new studies each; the standard deviation of this count at 10% is 5.2."""
    wanted, missed, found_any = Wanted.named(text), 0, 0
    for seed in range(300):
        found, _ = chosen(text, drawn(150, 0.3, 2 * seed), drawn(150, 0.3, 2 * seed + 1))
        z = np.log(found.threshold / (1 - found.threshold))
        sensitivity, false_positives = norm.sf(z - 2), norm.sf(z)
        precision = 0.3 * sensitivity / (0.3 * sensitivity + 0.7 * false_positives)
        true = sensitivity if wanted.metric == "sensitivity" else precision
        found_any += found.basis == "guarantee"
        missed += found.basis == "guarantee" and true < wanted.target
    assert found_any > 200 and missed <= 30 + 3 * 5.2


def test_without_held_out_patients_it_is_an_estimate_from_validation():
    found, notes = chosen("sensitivity=0.9", validation := drawn(500, 0.2, 0))
    again, _ = chosen("sensitivity=0.9", validation, validation)
    assert (found.basis, found.threshold, found.held_out_positives) == ("estimate", again.threshold, None)
    assert notes == (
        "sensitivity 0.9 is not guaranteed with 0 held-out positives; its threshold is an estimate (90% confidence) "
        "from validation, which selection used: a",
    )


def test_21_positives_cannot_guarantee_what_22_can():
    """0.9^21 = 0.109: even if none was missed, a sensitivity below 0.9 is not ruled out at 90%."""
    validation = drawn(500, 0.2, 0)
    for num, basis in ((21, "estimate"), (22, "guarantee")):
        truth = np.r_[np.ones(num), np.zeros(100)]
        held_out = ScoredRows(np.where(truth == 1, 0.999, 0.001)[:, None], truth[:, None], np.arange(num + 100))
        found, _ = chosen("sensitivity=0.9", validation, held_out)
        assert (found.basis, found.held_out_positives) == (basis, num)
    found, (note,) = chosen(
        "sensitivity=0.9", validation, ScoredRows(*(x[:121] for x in vars(drawn(200, 0.0, 0)).values()))
    )
    assert found.basis == "estimate" and "cannot be guaranteed with 0 held-out positives" in note


def test_where_validation_allows_no_estimate_it_is_what_validation_shows():
    """Nine positives: the highest cut that eight pass has a sensitivity of 8 / 9, below 0.9, so all nine must."""
    probs = np.r_[np.linspace(0.3, 0.9, 9), np.linspace(0, 0.5, 91)][:, None]
    validation = ScoredRows(probs, np.r_[np.ones(9), np.zeros(91)][:, None], np.arange(100))
    found, (note,) = chosen("sensitivity=0.9", validation)
    assert found.basis == "observed" and found.confidence is None and "just reaches it" in note
    assert (probs[:9] >= found.threshold).all() and probs[probs < found.threshold].max() > 0.29
    one_class, (note,) = chosen("precision=0.5", ScoredRows(probs, np.zeros((100, 1)), np.arange(100)))
    assert (one_class.basis, one_class.threshold) == ("default", 0.5) and "one class" in note


def test_a_patient_counts_once_with_the_first_image_whose_label_is_known():
    answers = ScoredRows(
        np.array([[0.1], [0.2], [0.3], [0.4], [0.5]]),
        np.array([[NAN], [1.0], [0.0], [1.0], [NAN]]),
        np.array(["p1", "p1", "p2", "p1", "p3"]),
    )
    scores, truth = answers.of_label(0)
    assert scores.tolist() == [0.2, 0.3] and truth.tolist() == [True, False]
    many = drawn(900, 0.2, 1, per_patient=3)
    found, _ = chosen("sensitivity=0.9", drawn(500, 0.2, 0), many)
    assert found.patients == 300 and found.positives == many.targets[::3].sum()

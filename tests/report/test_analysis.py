"""A study's analysis finds what was put into its rows, and concludes nothing from too few of them."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from xlite.ledger import CandidateRecord, Ledger, PromotionRecord, StudyManifest, TrialRecord, TrialResult, sqlite_url
from xlite.metrics.multilabel import DeadLabels
from xlite.report import importance
from xlite.report.analysis import CURVES, IMPORTANCE, REPORT, SENSITIVITY, analyse, describe_rows, study_rows
from xlite.report.distillation import (
    MIN_PAIRS,
    alpha_sensitivity,
    distillation_section,
    pairs_of,
    sensitivity_section,
    temperature_sensitivity,
)
from xlite.report.importance import MIN_TRIALS, importance_section, importances
from xlite.report.intervals import difference_estimate, mean_estimate, shuffled_groups_p
from xlite.report.promotion import luck_section
from xlite.report.sections import StudyRows, markdown_table
from xlite.report.training import (
    collapse_section,
    folds_section,
    gap_section,
    hours_section,
    teacher_section,
    turning_section,
)
from xlite.storage.files import write_json
from xlite.train.summary import NO_RUN, EvaluationSummary, RunSummary

ALPHA, TEMPERATURE, RATE, BACKBONE = "distill.alpha", "distill.temperature", "optim.learning_rate", "model.backbone"


def row(
    number: int,
    value: float | None,
    state: Any = "complete",
    *,
    summary: RunSummary = NO_RUN,
    reason: str = "",
    left_out: bool = False,
    **keys: Any,
) -> TrialRecord:
    """Keys as alpha=, temperature=, rate=, backbone=."""
    names = {"alpha": ALPHA, "temperature": TEMPERATURE, "rate": RATE, "backbone": BACKBONE}
    overrides = {names.get(key, key): item for key, item in keys.items()}
    more: Any = {"overrides": overrides, "summary": summary, "reason": reason, "left_out": left_out}
    return TrialRecord(number, "search", state, value, **more)


def study(*rows: TrialRecord, **more: Any) -> StudyRows:
    return StudyRows("s", "auc_macro", rows, **more)


def pairs(num: int, effect: float) -> list[TrialRecord]:
    """`num` configurations of different value, each with and without a teacher that adds exactly `effect`."""
    rows = []
    for i in range(num):
        alone = 0.6 + 0.03 * i
        rows.append(row(2 * i, alone, alpha=0.0, rate=1e-3 * (i + 1)))
        rows.append(row(2 * i + 1, alone + effect, alpha=0.5, temperature=4.0, rate=1e-3 * (i + 1)))
    return rows


@pytest.mark.parametrize(("effect", "word"), [(0.02, "Yes: distillation raises"), (-0.02, "No: distillation lowers")])
def test_an_exact_effect_of_the_teacher_is_found_in_pairs(effect: float, word: str) -> None:
    section = distillation_section(study(*pairs(6, effect)))
    assert section.conclusion.startswith(word)
    assert f"{effect:+.4f} [{effect:+.4f}, {effect:+.4f}] (95% interval, 6 pairs)" in section.conclusion


def test_pairs_see_the_effect_where_the_plain_comparison_is_misled() -> None:
    unlucky = [row(100 + i, 0.4, alpha=0.5, temperature=4.0, backbone=f"weak{i}") for i in range(8)]
    section = distillation_section(study(*pairs(6, 0.02), *unlucky))
    assert section.conclusion.startswith("Yes") and "6 pairs" in section.conclusion
    assert "an association, not an effect" in section.markdown() and ": -0." in section.markdown()


def test_two_trials_are_refused_a_conclusion() -> None:
    section = distillation_section(study(*pairs(1, 0.02)))
    assert section.conclusion.startswith("not enough trials: 1 pair, 1 trial with a teacher and 1 without")
    for word in ("Yes", "No:", "raises", "higher", "["):
        assert word not in section.conclusion


def test_one_pair_less_than_the_minimum_gives_no_paired_verdict() -> None:
    few, enough = (distillation_section(study(*pairs(num, 0.02))) for num in (MIN_PAIRS - 1, MIN_PAIRS))
    assert few.conclusion.startswith("not enough trials") and enough.conclusion.startswith("Yes")


def test_opposite_effects_are_undecided() -> None:
    rows = [*pairs(6, 0.02), *(row(50 + r.number, r.value, **{**r.overrides, "s": 1}) for r in pairs(6, -0.02))]
    section = distillation_section(study(*rows))
    assert section.conclusion.startswith("Undecided") and "12 pairs" in section.conclusion


def test_a_pair_agrees_in_every_key_but_alpha_and_temperature() -> None:
    alone = row(0, 0.6, alpha=0.0, rate=1e-3)
    assert not pairs_of(study(alone, row(1, 0.7, alpha=0.5, temperature=4.0, rate=2e-3)))
    assert not pairs_of(study(alone, row(1, 0.7, alpha=0.5, rate=1e-3, **{"distill.focal_weight": 1.0})))
    assert not pairs_of(study(alone, row(1, 0.7, rate=1e-3)))
    assert len(pairs_of(study(alone, row(1, 0.7, alpha=0.5, rate=1e-3), base={"distill.temperature": 2.0}))) == 1
    twice = pairs_of(study(alone, *(row(i, 0.6 + i / 10, alpha=0.5, temperature=i, rate=1e-3) for i in (1, 2))))
    assert [pair.difference for pair in twice] == [pytest.approx(0.15)]


def test_without_pairs_groups_are_compared_and_called_an_association() -> None:
    rng = np.random.default_rng(0)
    taught = [row(i, 0.72 + 0.002 * rng.normal(), alpha=0.5, rate=i / 1000) for i in range(1, 9)]
    alone = [row(10 + i, 0.70 + 0.002 * rng.normal(), alpha=0.0, rate=i / 999) for i in range(1, 9)]
    section = distillation_section(study(*taught, *alone))
    assert "trials with a teacher are higher: +0.0" in section.conclusion and "association" in section.conclusion


def test_stopped_trials_enter_no_mean_and_are_named() -> None:
    rows = pairs(6, 0.02)
    stopped = [row(90, 0.99, "pruned", alpha=0.5), row(91, 0.01, "pruned", alpha=0.0)]
    plain, section = distillation_section(study(*rows)), distillation_section(study(*rows, *stopped))
    assert section.conclusion == plain.conclusion
    assert "2 stopped trials (1 with a teacher, 1 without)" in section.markdown()
    assert "the 2 pruned" in describe_rows(study(*rows, *stopped))
    for sensitivity in (alpha_sensitivity, temperature_sensitivity):
        np.testing.assert_array_equal(sensitivity(study(*rows, *stopped)).values, sensitivity(study(*rows)).values)


def test_intervals_cover_the_truth_also_for_five_values() -> None:
    rng = np.random.default_rng(7)
    covered = [
        interval.low <= 0.3 <= interval.high
        for interval in (mean_estimate(rng.normal(0.3, 1, 5), seed=i) for i in range(300))
    ]
    assert 0.90 <= np.mean(covered) <= 0.99
    differences = [difference_estimate(rng.normal(1, 1, 8), rng.normal(0, 2, 6), seed=i) for i in range(300)]
    assert 0.90 <= np.mean([d.low <= 1 <= d.high for d in differences]) <= 0.99


def test_the_permutation_test_is_level_under_chance_and_small_for_a_difference() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat([0, 1, 2], 6)
    chance = [shuffled_groups_p(rng.normal(size=18), groups, num_shuffles=200, seed=i) for i in range(200)]
    assert 0.01 <= np.mean(np.array(chance) <= 0.05) <= 0.10
    assert shuffled_groups_p(groups + 0.1 * rng.normal(size=18), groups) < 0.01
    assert shuffled_groups_p(np.ones(18), groups) == 1


def temperatures(height: float, num: int = 40) -> list[TrialRecord]:
    """Trials over 1 to 16; those from 4 to 8 are higher by `height`."""
    rng = np.random.default_rng(5)
    rows = []
    for i, temperature in enumerate(2 ** rng.uniform(0, 4, num)):
        better = height * (4 <= temperature < 8)
        rows.append(row(i, 0.7 + better + 0.005 * rng.normal(), alpha=0.5, temperature=float(temperature)))
    return rows


def test_a_best_temperature_is_found_and_chance_is_not() -> None:
    found = temperature_sensitivity(study(*temperatures(0.05)))
    assert [one.name for one in found.bins] == ["1 to 2", "2 to 4", "4 to 8", "8 to 16"]
    section = sensitivity_section(study(), [found], "")
    assert "temperature: the ranges differ" in section.conclusion and "highest in 4 to 8: 0.75" in section.conclusion
    by_chance = sensitivity_section(study(), [temperature_sensitivity(study(*temperatures(0.0)))], "")
    assert "no difference between ranges beyond chance" in by_chance.conclusion
    few = sensitivity_section(study(), [temperature_sensitivity(study(*temperatures(0.05, num=6)))], "")
    assert "temperature: not enough trials" in few.conclusion and "too few" in few.markdown()


def test_temperature_counts_only_with_a_teacher_and_alpha_0_stands_by_itself() -> None:
    rows = [row(0, 0.5, alpha=0.0, temperature=4.0), row(1, 0.6, alpha=0.1, temperature=4.0), row(2, 0.7, alpha=0.3)]
    assert temperature_sensitivity(study(*rows)).values.tolist() == [0.6]
    rows += [row(3, 0.8, alpha=0.25), row(4, 0.9, alpha=1.0)]
    bins = {one.name: one.values.tolist() for one in alpha_sensitivity(study(*rows)).bins}
    assert bins == {"0": [0.5], "above 0 to 0.25": [0.6, 0.8], "above 0.25 to 0.5": [0.7], "above 0.75 to 1": [0.9]}


def trials(num: int, effect: float) -> list[optuna.trial.FrozenTrial]:
    """Random trials; backbone "x" adds `effect`, the rest is noise of 0.01. Temperature exists in some only."""
    rng = np.random.default_rng(1)
    out = []
    for _ in range(num):
        chosen: dict[str, Any] = {BACKBONE: str(rng.choice(["x", "y", "z"])), RATE: float(rng.uniform(1e-3, 1e-2))}
        chosen["model.dropout"] = float(rng.uniform(0, 0.4))
        ranges = {BACKBONE: CategoricalDistribution(["x", "y", "z"]), RATE: FloatDistribution(1e-3, 1e-2)}
        ranges["model.dropout"] = FloatDistribution(0, 0.4)
        if rng.random() < 0.7:
            chosen[TEMPERATURE], ranges[TEMPERATURE] = float(rng.uniform(1, 16)), FloatDistribution(1, 16)
        value = 0.7 + effect * (chosen[BACKBONE] == "x") + 0.01 * rng.normal()
        out.append(optuna.trial.create_trial(params=chosen, distributions=ranges, value=value))
    return out


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "NUM_RESAMPLES", 20)


@pytest.mark.usefixtures("few_resamples")
def test_the_parameter_that_decides_stands_out() -> None:
    found = importances(trials(20, 0.05))
    assert found is not None and found.conditional == (TEMPERATURE,)
    first = found.parameters[0]
    assert first.key == BACKBONE and first.share > max(0.8, found.chance) and first.low <= first.share <= first.high
    assert sum(one.share for one in found.parameters) == pytest.approx(1)
    section = importance_section(found, 20, "")
    assert section.conclusion.startswith("Above what chance reaches") and "only some trials" in section.markdown()


@pytest.mark.usefixtures("few_resamples")
def test_equal_values_of_collapsed_trials_are_no_answer_and_no_crash() -> None:
    def collapsed(last: float) -> list[optuna.trial.FrozenTrial]:
        return [
            optuna.trial.create_trial(
                value=last if i == 15 else 1 / 3, user_attrs={"overrides": {ALPHA: 0.1 * (i % 4), RATE: 1e-3 * (i + 1)}}
            )
            for i in range(16)
        ]

    assert importances(collapsed(1 / 3)) is None
    found = importances(collapsed(0.5))
    assert found is not None and all(np.isfinite(one.share) for one in found.parameters)


@pytest.mark.usefixtures("few_resamples")
def test_noise_makes_no_parameter_stand_out() -> None:
    section = importance_section(importances(trials(20, 0.0)), 20, "")
    assert section.conclusion.startswith("None stands out") and "chance" in section.conclusion


@pytest.mark.usefixtures("few_resamples")
def test_a_range_may_depend_on_another_parameter() -> None:
    rng, rows = np.random.default_rng(0), []
    for number in range(20):
        ranges: dict[str, Any] = {RATE: FloatDistribution(1e-4, (1e-3, 1e-2)[number % 2], log=True)}
        chosen = {RATE: ranges[RATE].high, "model.dropout": float(rng.uniform(0, 0.4))}
        ranges["model.dropout"] = FloatDistribution(0, 0.4)
        rows.append(optuna.trial.create_trial(params=chosen, distributions=ranges, value=chosen[RATE]))
    found = importances(rows)
    assert found is not None and found.parameters[0].key == RATE


@pytest.mark.usefixtures("few_resamples")
def test_a_grid_s_keys_are_choices() -> None:
    grid = [(alpha, rate) for alpha in (0.0, 0.3, 0.6, 0.9) for rate in (1e-4, 1e-3, 1e-2, 1e-1)]
    rows = [
        optuna.trial.create_trial(value=alpha, user_attrs={"overrides": {ALPHA: alpha, RATE: rate, "train.seed": 1}})
        for alpha, rate in grid
    ]
    found = importances(rows)
    assert found is not None and [one.key for one in found.parameters] == [ALPHA, RATE]
    assert found.parameters[0].share > 0.9


def test_importance_needs_trials_and_something_to_compare() -> None:
    assert importance_section(None, MIN_TRIALS - 1, "").conclusion == "not enough trials: 15 complete trials, 16 needed"
    same = [optuna.trial.create_trial(value=0.5, user_attrs={"overrides": {ALPHA: 0.5}}) for _ in range(MIN_TRIALS)]
    assert importances(same) is None
    assert "nothing to compare" in importance_section(None, MIN_TRIALS, "").conclusion


def test_students_are_measured_against_the_teacher() -> None:
    rows = [row(i, 0.80 - i / 100) for i in range(6)]
    section = teacher_section(study(*rows, teacher="resnet18", teacher_value=0.79))
    assert section.conclusion.startswith(
        "The best student (trial 0) differs from the teacher by +0.0100; the mean of 6 trials -0.0"
    )
    assert "resnet18" in section.markdown() and "Above the teacher: 1 of 6" in section.markdown()
    few = teacher_section(study(*rows[:2], teacher_value=0.79))
    assert "mean" not in few.conclusion and "not enough trials" in few.markdown()
    assert teacher_section(study(*rows)).conclusion.startswith("unknown")


def test_the_gap_and_its_widest_trial() -> None:
    rows = [row(i, 0.7, summary=RunSummary(gap=0.05 + i / 100)) for i in range(6)]
    section = gap_section(study(*rows, row(9, 0.7), row(10, 0.6, "pruned", summary=RunSummary(gap=9.0))))
    assert "+0.0750 [" in section.conclusion and "over 6 trials; training is ahead" in section.conclusion
    assert "trial 5: +0.1000" in section.markdown()
    assert gap_section(study(*rows[:2])).conclusion.startswith("not enough trials: 2 complete trials")


def test_where_validation_turned() -> None:
    turning = [row(i, 0.7, summary=RunSummary(curve=(0.5, 0.7, 0.68, 0.66))) for i in range(5)]
    section = turning_section(study(*turning), "")
    assert "In 5 of 5 trials" in section.conclusion and "median 2 of 4" in section.conclusion
    assert "0.0400 [0.0400, 0.0400] below the best" in section.conclusion and "more epochs" not in section.markdown()
    rising = turning_section(study(*(row(i, 0.7, summary=RunSummary(curve=(0.5, 0.6, 0.7))) for i in range(5))), "")
    assert "In 0 of 5" in rising.conclusion and "more epochs may give more" in rising.markdown()
    assert turning_section(study(*turning[:2]), "").conclusion.startswith("not enough trials")


def test_collapses_are_counted_by_loss_and_failures_by_reason() -> None:
    dead, nearly = (
        RunSummary(best_epoch=1, dead_labels=DeadLabels(("a",) * num, 14, exclusive=False)) for num in (13, 1)
    )
    rows = [
        row(0, 0.7, summary=dead, **{"loss.name": "focal"}),
        row(1, 0.7, "pruned", summary=dead, **{"loss.name": "focal"}),
        row(2, 0.7, summary=nearly, **{"loss.name": "bce"}),
        row(3, 0.7, summary=RunSummary(best_epoch=1), **{"loss.name": "focal"}),
        row(4, None, "failed", reason="the loss is nan"),
        row(5, None, "failed", reason="the loss is nan"),
        row(6, None, "failed", reason="left out: 9M parameters", left_out=True),
    ]
    section = collapse_section(study(*rows))
    assert section.conclusion == "2 of 4 judged trials collapsed, 2 of 7 trials failed"
    text = section.markdown()
    assert "13 of 14 labels are decided alike for every image |" in text
    assert "focal 2 of 3" in text and "| 2 | 4, 5 | the loss is nan |" in text and "1 trial left out" in text


def test_hours_count_threads_and_shares_of_a_gpu() -> None:
    final = TrialRecord(0, "final", "complete", 0.7, summary=RunSummary(seconds=3600.0, device="H100"))
    cpu = [
        row(0, 0.7, summary=RunSummary(seconds=1800.0, device="cpu"), **{"train.threads": 4}),
        row(1, None, "failed"),
    ]
    gpu = [row(i, 0.7, "pruned", summary=RunSummary(seconds=3600.0, device="H100")) for i in range(4)]
    assert hours_section(study(*cpu)).conclusion == "2.00 CPU-core-hours (cpu, 1 run)"
    shared = hours_section(study(*gpu, finals=(final,), gpu_share=0.25))
    assert shared.conclusion == "2.00 GPU-hours (H100, 5 runs)"
    assert "share of a GPU is unknown" in hours_section(study(*gpu)).markdown()
    assert hours_section(study(row(0, 0.7))).conclusion.startswith("unknown")


def test_folds_give_mean_and_spread_and_are_passed_over_where_absent() -> None:
    test = EvaluationSummary()
    promotion = PromotionRecord("id", 3, "f1", test, (0.6, 0.8), reads_of_test=1, folds=(0.70, 0.72, 0.74))
    final = TrialRecord(0, "final", "complete", 0.72, promotion=promotion)
    section = folds_section(study(finals=(final,)))
    assert section is not None
    assert "auc_macro 0.7200, standard deviation 0.0200 over 3 folds" in section.conclusion
    assert folds_section(study(finals=(TrialRecord(0, "final", "complete", 0.7),))) is None


def test_search_retrained_and_test_values_stand_side_by_side() -> None:
    records = (
        CandidateRecord(5, 0.78, (0.75, 0.77), "tied"),
        CandidateRecord(3, 0.80, (0.74, 0.76), "chosen", (0.01, -0.02, 0.04)),
    )
    promotion = PromotionRecord(
        "id", 3, "f1", EvaluationSummary(), (0.6, 0.8), 2, seeds=(42, 43), candidates=records, test_values=(0.70, 0.72)
    )
    section = luck_section(study(finals=(TrialRecord(0, "final", "complete", 0.74, promotion=promotion),)))
    assert section is not None
    assert section.conclusion == (
        "promotion 0, trial 3: auc_macro 0.8000 in the search, 0.7500 ± 0.0141 retrained, 0.7100 ± 0.0141 on test "
        "(2 seeds; test was read 2 times)"
    )
    assert "| 3 | 0.8000 | 0.7500 ± 0.0141 | +0.0100 [-0.0200, +0.0400] | chosen |" in section.markdown()
    assert luck_section(study()) is None


def test_bars_in_a_cell_do_not_break_a_table() -> None:
    assert markdown_table(("a",), [("x|y",)]).splitlines()[-1] == "| x\\|y |"


@pytest.mark.usefixtures("few_resamples")
def test_a_ledger_becomes_a_report_with_pictures(tmp_path: Path) -> None:
    def space(trial: optuna.Trial) -> dict[str, Any]:
        return {
            ALPHA: trial.suggest_float(ALPHA, 0, 1, step=0.5),
            TEMPERATURE: trial.suggest_float(TEMPERATURE, 1, 16, log=True),
            RATE: trial.suggest_categorical(RATE, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]),
        }

    url = sqlite_url(tmp_path / "study.db")
    with Ledger.open(
        url, "kd", create=True, metadata={"metric": "auc_macro", "config": {"train.threads": 2}}
    ) as ledger:
        for i in range(8):
            for alpha in (0.0, 0.5):
                rate = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1][i]
                ledger.enqueue({ALPHA: alpha, TEMPERATURE: 4.0, RATE: rate})
                proposal = ledger.ask(space)
                value = 0.6 + 0.01 * i + 0.04 * alpha
                summary = RunSummary(curve=(0.5, value, value - 0.01), gap=0.1, seconds=1800, device="cpu")
                ledger.report(proposal.number, 2, value)
                ledger.finish(proposal.number, "complete", value=value, result=TrialResult(summary=summary))
        ledger.ask(space)
        described = {"teacher": {"name": "densenet121", "value": 0.69}, "shares": {"gpus_per_trial": 0.0}}
        write_json(tmp_path / "study.json", described)
        read, trials = study_rows(ledger, StudyManifest.read(tmp_path)), ledger.complete_trials()
    done = analyse(read, trials, tmp_path / "analysis")
    text = (tmp_path / "analysis" / REPORT).read_text()
    assert text == done.text
    assert "**Yes: distillation raises the value by +0.0200 [+0.0200, +0.0200] (95% interval, 8 pairs)**" in text
    assert "17 trials: 16 complete, 1 running; 0 promotions." in text
    assert "Of only 2 parameters" in text
    assert "16.00 CPU-core-hours" in text and "densenet121" in text and "folds" not in text
    for name in (SENSITIVITY, IMPORTANCE, CURVES):
        assert f"]({name})" in text and (tmp_path / "analysis" / name).read_bytes().startswith(b"\x89PNG")

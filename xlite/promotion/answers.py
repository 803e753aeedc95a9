"""What the promoted models answer: judged on each part, thresholds chosen, written beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from torch import nn

from xlite.data.dataset import Dataset
from xlite.data.held_out import HELD_OUT
from xlite.device import choose_device
from xlite.metrics.curves import curves
from xlite.metrics.intervals import MetricIntervals
from xlite.models.artifact import load_model
from xlite.promotion.choose import Chosen
from xlite.promotion.decide import DecisionRule, choose_rule
from xlite.promotion.judge import Judged, ask, by_repeat, judge, mean_over, together, values_of
from xlite.storage.files import read_json_object, write_json
from xlite.study.members import Member
from xlite.tasks.task import Task
from xlite.train.summary import EvaluationSummary, summary_of


@dataclass(frozen=True)
class Answers:
    """What the promoted models answer, and what follows from it.

    Attributes:
        train, validation: of each model on its own parts; test: of the models' mean logits. Train and test are
            calibrated; validation is too, by calibrations and thresholds chosen on other patients (but for ranks, see
            `DecisionRule.on_validation`). With repeats, its answers are the means over them.
        rule: calibration and thresholds, chosen on validation and on held-out patients.
        answered: test as the models answered it.
        intervals: of every metric on test; validation_intervals: on validation, of those without thresholds.
        fold_values: the validation metric of each model, as it answered; so, too, the next two.
        test_values: the test metric with each seed.
        repeats: of folds dealt several times, the validation metric of each time by itself.
    """

    train: Judged
    validation: Judged
    test: Judged
    rule: DecisionRule
    answered: Judged
    intervals: MetricIntervals
    validation_intervals: MetricIntervals
    fold_values: tuple[float, ...]
    test_values: tuple[float, ...]
    repeats: tuple[float, ...] = ()


def answers_of(
    task: Task,
    models: Sequence[nn.Module],
    members: Sequence[Member],
    *,
    read: Callable[[], None],
    chosen: Chosen | None,
    method: str,
    seed: int,
) -> Answers:
    """Judge the models, choose thresholds on validation. `read` is called before test is read."""
    spec, device, dataset = task.target_spec, choose_device("fp32"), members[0].dataset
    pairs = list(zip(models, members, strict=True))
    train = together([judge([model], spec, member.dataset, "train", device) for model, member in pairs], spec)
    parts = [judge([model], spec, member.dataset, "val", device) for model, member in pairs]
    held_out = partial(ask, models, spec, dataset.unsealed(), HELD_OUT, device) if HELD_OUT in dataset.parts else None
    repeats = by_repeat(parts, [member.repeat for member in members], spec)
    rule = choose_rule(
        method, mean_over(repeats, spec), spec, held_out, num_models=len(models), num_repeats=len(repeats)
    )
    validation = rule.on_validation()
    read()
    answered = judge(models, spec, dataset.unsealed(), "test", device)
    test = rule.decided(answered)
    by_seed = [
        answered,
        *(_judge_seed(each, members, dataset, task) for each in (chosen.other_seeds if chosen else ())),
    ]
    return Answers(
        rule.calibrated(train),
        validation,
        test,
        rule,
        answered,
        test.intervals(spec, rule.thresholds, seed=seed),
        rule.validation_intervals(seed=seed),
        tuple(part.evaluation.scalars[task.metric] for part in parts),
        tuple(each.evaluation.scalars[task.metric] for each in by_seed),
        values_of(repeats, task.metric),
    )


def _judge_seed(folder: Path, members: Sequence[Member], dataset: Dataset, task: Task) -> Judged:
    """The same configuration's models with another seed, on test."""
    device = choose_device("fp32")
    models = [device.move(load_model(folder / f"{member.stem}.safetensors")[0]) for member in members]
    return judge(models, task.target_spec, dataset.unsealed(), "test", device)


def write_results(
    folder: Path,
    task: Task,
    members: Sequence[Member],
    epochs: Sequence[int],
    answers: Answers,
    *,
    reads: int,
    chosen: Chosen | None,
    identity: str,
) -> tuple[str, ...]:
    """Write thresholds, reliability, curves and metrics .json; what a person is told of calibration and thresholds.

    Args:
        folder: holds the models already.
        identity: of the promotion.
    """
    weights = {
        f"{member.stem}.safetensors": read_json_object(folder / f"{member.stem}.json")["weights_sha256"]
        for member in members
    }
    of_validation, of_test, lines = answers.rule.write(folder, answers.answered, weights=weights)
    validation, test = summary_of(answers.validation.evaluation), summary_of(answers.test.evaluation)
    interval = answers.intervals.scalars[task.metric]
    test_about = {
        "interval_95": [interval.low, interval.high],
        "intervals_95": answers.intervals.to_json(),
        "reads_of_test_in_this_study": reads,
    }
    seen = {"note": "epoch and thresholds were chosen on this part", **answers.validation_intervals.to_json()}
    if (are := task.target_spec.answers_are) is not None:
        told, thresholds = answers.test, answers.rule.thresholds
        drawn = curves(told.answers, told.targets, told.labels, thresholds, exclusive=are == "classes")
        write_json(folder / "curves.json", drawn)
    write_json(
        folder / "metrics.json",
        {
            "identity": identity,
            "metric": task.metric,
            "models": list(weights),
            "epoch": epochs[0] if len(epochs) == 1 else list(epochs),
            "train": summary_of(answers.train.evaluation).to_json(),
            "validation": {
                **validation.to_json(),
                "intervals_95": seen,
                "at_thresholds": _decided(validation),
                **of_validation,
                **_spread(answers.repeats),
            },
            "test": {**test.to_json(), **test_about, "at_thresholds": _decided(test), **of_test},
            **(chosen.to_json(answers.test_values) if chosen else {}),
        },
    )
    return lines


def _spread(repeats: Sequence[float]) -> dict[str, Any]:
    """{"repeats": values, their mean and standard deviation}; {} without."""
    if not repeats:
        return {}
    return {"repeats": {"values": list(repeats), "mean": fmean(repeats), "sd": stdev(repeats)}}


def _decided(summary: EvaluationSummary) -> dict[str, Any]:
    """F1, precision and recall at chosen thresholds, under their plain names; empty values where there are none."""

    def plain(values: Mapping[str, Any]) -> dict[str, Any]:
        ending = "_at_thresholds"
        return {name.removesuffix(ending): value for name, value in values.items() if name.endswith(ending)}

    per_label = {label: plain(values) for label, values in summary.per_label.items()}
    return {"scalars": plain(summary.metrics), "per_label": per_label}

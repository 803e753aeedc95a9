"""The target spec: several labels at once, one class of several, ordered grades, or your own kind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from xlite.config import RunConfig
from xlite.data.split import Split, check_split
from xlite.data.stratify import row_targets
from xlite.data.table import Table
from xlite.errors import InputError
from xlite.losses.objectives import canonical_objective, class_objective, multilabel_objective
from xlite.metrics.classes import argmax_thresholds, evaluate_classes
from xlite.metrics.columns import CLASS_COLUMNS, CLASS_METRICS, LABEL_COLUMNS, LABEL_METRICS, MetricColumns
from xlite.metrics.decisions import cross_fitted, decide, with_decisions
from xlite.metrics.intervals import MetricIntervals, metric_intervals, score_interval
from xlite.metrics.multilabel import Evaluation, evaluate_multilabel
from xlite.metrics.resampling import NUM_RESAMPLES, Weighted
from xlite.metrics.thresholds import choose_thresholds
from xlite.metrics.wanted import ScoredRows, Wanted, wanted_thresholds
from xlite.metrics.weighted import (
    WeightedMetrics,
    weighted_balanced_accuracy,
    weighted_classes,
    weighted_macro_auc,
    weighted_multilabel,
)
from xlite.tasks.binary_targets import (
    class_weights,
    label_row,
    label_weights,
    log_odds,
    log_priors,
    made_up_classes,
    made_up_labels,
    prevalence,
    sigmoid,
    softmax,
)


class Objective(Protocol):
    """The training loss of one run."""

    def __call__(self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None) -> dict[str, Tensor]:
        """{"loss": what is minimised, and each of its terms by name}; scalars. Shapes (B, ..., L)."""

    def supervised(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss without distillation, for validation."""


@dataclass(frozen=True)
class TargetSpec:
    """Everything that depends on the kind of targets: (N, L), or (N, H, L) of examples with H parts; NaN is unknown.

    Attributes:
        kind: its name, recorded with studies and models.
        losses: valid values of `loss.name`; the first is the default.
        make_objective: (configuration, training targets) -> loss.
        probabilities: logits -> the model's answers, of the same shape.
        evaluate: (answers, targets, labels) -> metrics.
        metric: the scalar of `evaluate` that selection uses.
        direction: whether a high or a low metric is better.
        bootstrap: (answers, targets) -> (weights of the rows, (N,) or (R, N) -> `metric`, a number or (R,)).
        weighted: (answers, targets, labels, decisions by their names' ending) -> every metric as a function of weights;
            None: only `metric` gets an interval.
        initial_bias: training targets -> (L,) initial bias of the last layer.
        sample_weights: (targets, sampler name) -> (N,) weights; None draws every row once.
        choose_thresholds: (answers, targets, labels, method=) -> thresholds by label, and notes.
        strata: targets -> (N, K) of 0, 1 or NaN, for stratified splits, subsets and folds.
        check_split: (table, split) -> notes on labels that a part cannot teach or measure; InputError if no label can.
        made_up: (num, shape of one example's targets) -> (num, *shape) targets that a probe trains on.
        columns: the metrics in leaderboards and TensorBoard.
        label_row: (train, validation, test) of one label, or their macro averages -> title -> text, a row of the
            promotion's table.
        answers_are: what the answers are probabilities of, independent labels or exclusive classes, and so how a
            promotion calibrates them; None leaves them as they are.
        metrics: further scalars of a trial's validation that `--objectives` may name, and whether a high or a low one
            is better.
        describe_values: known targets (M,) of one label, at least one -> text, a cell of `prepare_data`'s table.
    """

    kind: str
    losses: tuple[str, ...]
    make_objective: Callable[[RunConfig, np.ndarray], Objective]
    probabilities: Callable[[np.ndarray], np.ndarray]
    evaluate: Callable[[np.ndarray, np.ndarray, Sequence[str]], Evaluation]
    metric: str
    bootstrap: Callable[[np.ndarray, np.ndarray], Weighted]
    initial_bias: Callable[[np.ndarray], list[float]]
    sample_weights: Callable[[np.ndarray, str], np.ndarray | None]
    choose_thresholds: Callable[..., tuple[dict[str, float], tuple[str, ...]]]
    strata: Callable[[np.ndarray], np.ndarray]
    check_split: Callable[[Table, Split], Sequence[str]]
    made_up: Callable[[int, tuple[int, ...]], np.ndarray]
    columns: MetricColumns
    label_row: Callable[[Mapping[str, float], Mapping[str, float], Mapping[str, float]], dict[str, str]]
    describe_values: Callable[[np.ndarray], str]
    direction: Literal["maximize", "minimize"] = "maximize"
    weighted: Callable[..., WeightedMetrics] | None = None
    answers_are: Literal["labels", "classes"] | None = None
    metrics: Mapping[str, Literal["max", "min"]] = field(default_factory=dict)

    @property
    def score(self) -> str:
        """The scalar of `judge` that selection maximises; "neg_<metric>" where a low metric is wanted.

        Early stopping, ASHA, the samplers and the leaderboard all maximise: `judge` is the one place that negates.
        """
        return self.metric if self.direction == "maximize" else f"neg_{self.metric}"

    def judge(self, answers: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Evaluation:
        """`evaluate`, with `score` among the scalars."""
        evaluation = self.evaluate(answers, targets, labels)
        if self.direction == "maximize":
            return evaluation
        return replace(evaluation, scalars={**evaluation.scalars, self.score: -evaluation.scalars[self.metric]})

    def at_thresholds(
        self,
        evaluation: Evaluation,
        answers: np.ndarray,
        targets: np.ndarray,
        labels: Sequence[str],
        *,
        thresholds: Mapping[str, float],
    ) -> Evaluation:
        """`evaluation` with the metrics of decisions at these thresholds; unchanged if there are none."""
        if not thresholds:
            return evaluation
        return with_decisions(evaluation, decide(answers, thresholds, labels), targets, labels)

    def cross_fit(
        self,
        evaluation: Evaluation,
        answers: np.ndarray,
        targets: np.ndarray,
        labels: Sequence[str],
        *,
        groups: np.ndarray,
        method: str = "f1",
        estimate: bool = True,
    ) -> Evaluation:
        """`evaluation` with the metrics of decisions at thresholds chosen on other groups' rows.

        Args:
            groups: (N,) the group of each row.
            method: of `choose_thresholds`, or a wanted metric as "sensitivity=0.9".
            estimate: how a wanted metric is reached, see `wanted_thresholds`.
        """
        wanted = Wanted.named(method)

        def choose(probs: np.ndarray, truth: np.ndarray, of: np.ndarray) -> Mapping[str, float]:
            if wanted is None:
                return self.choose_thresholds(probs, truth, labels, method=method)[0]
            found, _ = wanted_thresholds(wanted, ScoredRows(probs, truth, of), None, labels, estimate=estimate)
            return {label: one.threshold for label, one in found.items()}

        decisions = cross_fitted(answers, targets, labels, groups, choose)
        return evaluation if decisions is None else with_decisions(evaluation, decisions, targets, labels)

    def resampled_score(self, answers: np.ndarray, targets: np.ndarray) -> Weighted:
        """`score` as a function of row weights >= 0, (N,) or (R, N)."""
        metric, sign = self.bootstrap(answers, targets), 1 if self.direction == "maximize" else -1
        return lambda weights: sign * metric(weights)

    def intervals(
        self,
        answers: np.ndarray,
        targets: np.ndarray,
        labels: Sequence[str],
        *,
        groups: np.ndarray,
        thresholds: Mapping[str, float],
        seed: int,
        num_resamples: int = NUM_RESAMPLES,
    ) -> MetricIntervals:
        """95% intervals of every metric, averages and labels; those of decisions at `thresholds`, if there are any.

        Without `weighted` only `score` has one.

        Args:
            groups: (N,) the group (patient) of each row; they are drawn, with all their rows.
        """
        found = MetricIntervals({}, {})
        if self.weighted is not None:
            decisions = {"_at_thresholds": decide(answers, thresholds, labels)} if thresholds else {}
            metrics = self.weighted(answers, targets, labels, decisions)
            found = metric_intervals(metrics, groups, num_resamples=num_resamples, seed=seed)
        if self.score in found.scalars:
            return found
        score = self.resampled_score(answers, targets)
        interval = score_interval(score, groups, num_resamples=num_resamples, seed=seed)
        return replace(found, scalars={**found.scalars, self.score: interval})

    def check_loss(self, name: str) -> None:
        """Raises InputError if `loss.name` is not for these targets."""
        if name not in self.losses:
            raise InputError(f"loss.name={name}: {self.kind} targets take {', '.join(self.losses)}")

    def objective(self, config: RunConfig, targets: np.ndarray) -> Objective:
        """The loss of a configuration, its weights counted from the training targets.

        Raises:
            InputError: the loss is not for these targets, or its weights do not fit them.
        """
        self.check_loss(config.loss.name)
        return self.make_objective(config, targets)

    def canonical(self, config: RunConfig) -> RunConfig:
        """`config` with what `make_objective` does not read at its defaults."""
        return canonical_objective(self.make_objective, config)


MULTILABEL = TargetSpec(
    kind="multilabel",
    losses=("bce", "weighted_bce", "focal", "bce_focal"),
    make_objective=multilabel_objective,
    probabilities=sigmoid,
    evaluate=evaluate_multilabel,
    metric="auc_macro",
    bootstrap=weighted_macro_auc,
    weighted=weighted_multilabel,
    initial_bias=log_odds,
    sample_weights=label_weights,
    choose_thresholds=choose_thresholds,
    strata=row_targets,
    check_split=check_split,
    made_up=made_up_labels,
    columns=LABEL_COLUMNS,
    metrics=LABEL_METRICS,
    label_row=label_row,
    describe_values=prevalence,
    answers_are="labels",
)
MULTICLASS = replace(
    MULTILABEL,
    kind="multiclass",
    losses=("cross_entropy", "coral"),
    make_objective=class_objective,
    probabilities=softmax,
    evaluate=evaluate_classes,
    metric="balanced_accuracy",
    bootstrap=weighted_balanced_accuracy,
    weighted=weighted_classes,
    initial_bias=log_priors,
    sample_weights=class_weights,
    choose_thresholds=argmax_thresholds,
    columns=CLASS_COLUMNS,
    metrics=CLASS_METRICS,
    made_up=made_up_classes,
    answers_are="classes",
)
ORDINAL = replace(
    MULTICLASS,
    kind="ordinal",
    evaluate=partial(evaluate_classes, ordinal=True),
    weighted=partial(weighted_classes, ordinal=True),
    metrics={**CLASS_METRICS, "kappa_quadratic": "max"},
)
TARGET_SPECS: Mapping[str, TargetSpec] = {spec.kind: spec for spec in (MULTILABEL, MULTICLASS, ORDINAL)}

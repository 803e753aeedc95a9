"""Promotion: the winner trained on all training data, its epoch chosen on validation, tested once, packaged."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from xlite.config import RunConfig, flatten, identity_values, shorten_warmup
from xlite.data.dataset import Dataset
from xlite.device import Device, choose_device
from xlite.errors import InputError
from xlite.ledger import Ledger, PromotionRecord, TestRead, TrialRecord, TrialResult
from xlite.metrics.multilabel import Evaluation, bootstrap_interval
from xlite.models.artifact import load_model, remove_spares
from xlite.models.cost import count_cost
from xlite.models.latency import measure_latencies
from xlite.models.limits import Cost
from xlite.promotion.choose import Chosen
from xlite.promotion.judge import Judged, judge, together
from xlite.promotion.reads import check_reads
from xlite.promotion.train import made, run_folder, still_there
from xlite.storage.files import fingerprint, write_json
from xlite.storage.locks import locked
from xlite.study.members import STEM, Member
from xlite.tasks.task import Task
from xlite.train.checkpoint import remove_checkpoints
from xlite.train.hparams import end_run
from xlite.train.resumable import EpochResult
from xlite.train.summary import EvaluationSummary, summary_of


@dataclass(frozen=True)
class Promotion:
    """A finished promotion.

    Attributes:
        folder: holds each model's .safetensors and .json (enough to rebuild it), metrics.json and thresholds.json.
        epochs: the epoch chosen for each model.
        train, validation: of each model on its own parts, all models together.
        test: of the models' mean logits.
        interval: 95% bootstrap interval of the test metric, groups (patients) resampled.
        reads_of_test: how often the study's test part has been read, this time included.
        chosen: how the configuration came out among several; None for one alone.
        test_values: on test, of this configuration with each seed.
    """

    folder: Path
    epochs: tuple[int, ...]
    train: Evaluation
    validation: Evaluation
    test: Evaluation
    thresholds: dict[str, float]
    interval: tuple[float, float]
    reads_of_test: int
    chosen: Chosen | None
    test_values: tuple[float, ...]


def promotion_config(base: RunConfig, winner: TrialRecord, *, epochs: int) -> RunConfig:
    """The winner's configuration over a new budget; threads as in the search, since they are part of the result."""
    changes = {**shorten_warmup(flatten(base), epochs=epochs), **winner.overrides, "train.epochs": epochs}
    return base.override(changes, source=f"trial {winner.number}")


def promote(
    config: RunConfig,
    task: Task,
    members: Sequence[Member],
    ledger: Ledger,
    *,
    winner: TrialRecord,
    folder: Path,
    threshold_method: Literal["f1", "youden"] = "f1",
    again: bool = False,
    chosen: Chosen | None = None,
    on_epoch: Callable[[int, EpochResult], None] | None = None,
) -> Promotion:
    """Retrain, choose epochs and thresholds on validation, then read the test split once.

    Epochs are chosen by validation in the precision of training. Thresholds and all metrics are those of the models in
    float32, in which `xlite.predictor` runs them.

    Args:
        members: one with the full training part, or one for each of `folds`.
        folder: `promoted/` of the study; each file is replaced whole.
        again: read test although another promotion or comparison has.
        chosen: how `winner` came out among retrained candidates; None: by its trial alone.
        on_epoch: called with the member's number and its epoch. A model that an ended process began is resumed.

    Raises:
        InputError: another process promotes into `folder`, or test was read before and not `again`.
    """
    identity = chosen.identity if chosen else promotion_identity(config, members, winner, threshold_method)
    check_reads(ledger, identity, again=again)
    try:
        with locked(folder, waiting=None):
            promotion = _promote(
                config,
                task,
                members,
                ledger,
                winner=winner,
                folder=folder,
                method=threshold_method,
                identity=identity,
                chosen=chosen,
                on_epoch=on_epoch,
            )
            for member in members:
                remove_checkpoints(folder, member.stem)  # not before it is recorded: a killed promotion resumes
            return promotion
    except BlockingIOError:
        raise InputError(f"{folder}: another process promotes there; wait for it") from None


def _promote(
    config: RunConfig,
    task: Task,
    members: Sequence[Member],
    ledger: Ledger,
    *,
    winner: TrialRecord,
    folder: Path,
    method: Literal["f1", "youden"],
    identity: str,
    chosen: Chosen | None,
    on_epoch: Callable[[int, EpochResult], None] | None,
) -> Promotion:
    recorded = any(row.promotion and row.promotion.identity == identity for row in ledger.finals())
    device, summaries = choose_device(config.train.precision), []
    for number, member in enumerate(members):
        tell = partial(on_epoch, number) if on_epoch else None
        there = still_there(config, member, folder) if recorded else None
        summaries.append(
            there or made(config, task, member, device=device, winner=winner, folder=folder, on_epoch=tell)
        )
    as_used = choose_device("fp32")
    models = [as_used.move(load_model(folder / f"{member.stem}.safetensors")[0]) for member in members]
    read = partial(ledger.add_test_read, TestRead.now(identity, f"promotion of trial {winner.number}"))
    answers = _answers(task, models, members, read=read, chosen=chosen, method=method, seed=config.train.seed)
    reads = len(ledger.test_reads())
    epochs = tuple(summary.best_epoch for summary in summaries)
    _write_results(folder, task, members, epochs, answers, method=method, reads=reads, chosen=chosen)
    _remove_earlier(folder, {member.stem for member in members})
    test = answers.test.evaluation
    _record_runs(folder, members, winner, epochs, _test_scalars(test, task.target_spec.columns.per_label))
    if not recorded:
        cost = _cost(config, members[0].dataset, models, as_used, searched=winner.cost)
        promotion = PromotionRecord(
            identity,
            winner.number,
            method,
            summary_of(test),
            answers.interval,
            reads,
            answers.fold_values if len(members) > 1 else (),
            chosen.seeds if chosen else (),
            chosen.records if chosen else (),
            answers.test_values if chosen else (),
        )
        result = _result(summaries, answers, cost, promotion, seconds=chosen.seconds if chosen else 0.0)
        ledger.add_final(result, value=answers.validation.evaluation.scalars[task.metric])
    parts = (answers.train.evaluation, answers.validation.evaluation, test)
    return Promotion(folder, epochs, *parts, answers.thresholds, answers.interval, reads, chosen, answers.test_values)


@dataclass(frozen=True)
class _Answers:
    """What the promoted models answer, and what follows from it.

    Attributes:
        train, validation: of each model on its own parts; test: of the models' mean logits.
        thresholds, notes: chosen on validation.
        interval: 95% bootstrap interval of the test metric.
        fold_values: the validation metric of each model.
        test_values: the test metric with each seed.
    """

    train: Judged
    validation: Judged
    test: Judged
    thresholds: dict[str, float]
    notes: tuple[str, ...]
    interval: tuple[float, float]
    fold_values: tuple[float, ...]
    test_values: tuple[float, ...]


def _answers(
    task: Task,
    models: Sequence[nn.Module],
    members: Sequence[Member],
    *,
    read: Callable[[], None],
    chosen: Chosen | None,
    method: Literal["f1", "youden"],
    seed: int,
) -> _Answers:
    """Judge the models, choose thresholds on validation. `read` is called before test is read."""
    spec, device, dataset = task.target_spec, choose_device("fp32"), members[0].dataset
    pairs = list(zip(models, members, strict=True))
    train = together([judge([model], spec, member.dataset, "train", device) for model, member in pairs], spec)
    parts = [judge([model], spec, member.dataset, "val", device) for model, member in pairs]
    validation = together(parts, spec).cross_fitted(spec)
    thresholds, notes = spec.choose_thresholds(validation.answers, validation.targets, validation.labels, method=method)
    read()
    test = judge(models, spec, dataset.unsealed(), "test", device).at_thresholds(spec, thresholds)
    by_seed = [test, *(_judge_seed(each, members, dataset, task) for each in (chosen.other_seeds if chosen else ()))]
    interval = bootstrap_interval(
        spec.resampled_score(test.answers, test.targets), test.groups, num_resamples=500, seed=seed
    )
    return _Answers(
        train,
        validation,
        test,
        thresholds,
        notes,
        interval,
        tuple(part.evaluation.scalars[task.metric] for part in parts),
        tuple(each.evaluation.scalars[task.metric] for each in by_seed),
    )


def _write_results(
    folder: Path,
    task: Task,
    members: Sequence[Member],
    epochs: Sequence[int],
    answers: _Answers,
    *,
    method: str,
    reads: int,
    chosen: Chosen | None,
) -> None:
    """Write thresholds.json and metrics.json."""
    told = {"method": method, "thresholds": answers.thresholds, "notes": list(answers.notes)}
    write_json(folder / "thresholds.json", told)
    validation, test = summary_of(answers.validation.evaluation), summary_of(answers.test.evaluation)
    test_about = {"interval_95": list(answers.interval), "reads_of_test_in_this_study": reads}
    write_json(
        folder / "metrics.json",
        {
            "metric": task.metric,
            "models": [f"{member.stem}.safetensors" for member in members],
            "epoch": epochs[0] if len(epochs) == 1 else list(epochs),
            "train": summary_of(answers.train.evaluation).to_json(),
            "validation": {**validation.to_json(), "at_thresholds": _decided(validation)},
            "test": {**test.to_json(), **test_about, "at_thresholds": _decided(test)},
            **(chosen.to_json(answers.test_values) if chosen else {}),
        },
    )


def _result(
    summaries: Sequence[RunSummary], answers: _Answers, cost: Cost, promotion: PromotionRecord, *, seconds: float
) -> TrialResult:
    """The ledger's record; `seconds`: of trainings beside those of `summaries`."""
    seconds += sum(summary.seconds for summary in summaries)
    device_seconds = sum(summary.device_seconds or 0.0 for summary in summaries) or None
    judged = vars(summary_of(answers.validation.evaluation))
    return TrialResult(
        summary=replace(summaries[0], **judged, seconds=seconds, device_seconds=device_seconds),
        cost=cost,
        notes=tuple(dict.fromkeys(note for summary in summaries for note in summary.step_notes)),
        promotion=promotion,
    )


def _judge_seed(folder: Path, members: Sequence[Member], dataset: Dataset, task: Task) -> Judged:
    """The same configuration's models with another seed, on test."""
    device = choose_device("fp32")
    models = [device.move(load_model(folder / f"{member.stem}.safetensors")[0]) for member in members]
    return judge(models, task.target_spec, dataset.unsealed(), "test", device)


def _decided(summary: EvaluationSummary) -> dict[str, Any]:
    """F1, precision and recall at chosen thresholds, under their plain names; empty values where there are none."""

    def plain(values: Mapping[str, Any]) -> dict[str, Any]:
        ending = "_at_thresholds"
        return {name.removesuffix(ending): value for name, value in values.items() if name.endswith(ending)}

    per_label = {label: plain(values) for label, values in summary.per_label.items()}
    return {"scalars": plain(summary.metrics), "per_label": per_label}


def _test_scalars(test: Evaluation, per_label: str) -> dict[str, float]:
    """What TensorBoard shows of the test part: averages, and one metric of each label."""
    labels = {f"test_{per_label}/{label}": row[per_label] for label, row in test.per_label.items() if per_label in row}
    return {f"test/{name}": value for name, value in test.scalars.items()} | labels


def _record_runs(
    folder: Path, members: Sequence[Member], winner: TrialRecord, epochs: Sequence[int], scalars: Mapping[str, float]
) -> None:
    """Write how each model's run ended, and the test metrics of all models together."""
    by_run = {run_folder(folder, member.stem): epoch for member, epoch in zip(members, epochs, strict=True)}
    for run, epoch in {folder: max(epochs), **by_run}.items():
        end_run(run, winner.overrides, state="promoted", epoch=epoch, scalars=scalars if run == folder else {})


def _remove_earlier(folder: Path, kept: Set[str]) -> None:
    """Remove models, checkpoints and curves of an earlier promotion, which metrics.json no longer speaks of."""
    runs = {STEM: folder, **{run.name: run for run in folder.glob(f"{STEM}_*/")}}
    for stem in runs.keys() - kept:
        for file in runs[stem].glob("events.*"):
            file.unlink()
    for path in folder.glob(f"{STEM}*"):
        stem = path.name.partition(".")[0]
        if path.suffix in (".safetensors", ".json") and stem not in kept:
            remove_spares(folder, stem)
            path.unlink()


def _cost(
    config: RunConfig, dataset: Dataset, models: Sequence[nn.Module], device: Device, *, searched: Cost | None
) -> Cost:
    """Of all the models together: that is what it takes to use them. `searched`: what the search measured."""
    spec, num = dataset.input_spec, len(models)
    cost = count_cost(config.model, len(dataset.labels), spec.channels, spec.image_size)
    (latency,) = measure_latencies(
        models[:1],
        device.inputs(spec, *spec.example()),
        device=device.torch_device,
        threads=config.train.threads,
        known_reference_ms=searched.reference_ms if searched else None,
    )
    return Cost(
        cost.num_params * num,
        cost.size_mb * num,
        latency.latency_ms * num,
        latency.latency_spread_ms * num,
        latency.reference_ms,
    )


def promotion_identity(config: RunConfig, members: Sequence[Member], winner: TrialRecord, method: str) -> str:
    """16 hex digits over what a promotion is a function of: the same again is no new reading of test."""
    splits = [(member.stem, member.dataset.split_hash) for member in members]
    parts = [identity_values(flatten(config)), winner.number, method, splits]
    return fingerprint(parts)

"""Promotion: the winner trained on all training data, its epoch chosen on validation, tested once, packaged."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from xlite.config import RunConfig, flatten, identity_values, shorten_warmup
from xlite.data.dataset import Dataset
from xlite.device import Device, choose_device
from xlite.errors import InputError
from xlite.ledger import Ledger, PromotionRecord, TestRead, TrialRecord, TrialResult
from xlite.metrics.intervals import MetricIntervals
from xlite.metrics.multilabel import Evaluation
from xlite.models.artifact import load_model, remove_spares
from xlite.models.cost import count_cost
from xlite.models.latency import measure_latencies
from xlite.models.limits import Cost
from xlite.package.manifest import remove_package
from xlite.promotion.answers import Answers, answers_of, write_results
from xlite.promotion.choose import Chosen
from xlite.promotion.reads import check_reads
from xlite.promotion.train import made, run_folder, still_there
from xlite.storage.files import fingerprint
from xlite.storage.locks import locked
from xlite.study.members import STEM, Member
from xlite.study.model_costs import latency_target
from xlite.tasks.task import Task
from xlite.train.checkpoint import checkpoint_files, remove_checkpoints
from xlite.train.hparams import end_run
from xlite.train.resumable import EpochResult
from xlite.train.summary import RunSummary, summary_of


@dataclass(frozen=True)
class Promotion:
    """A finished promotion.

    Attributes:
        folder: holds each model's .safetensors and .json (enough to rebuild it), metrics.json, thresholds.json with the
            calibration, and reliability.json.
        epochs: the epoch chosen for each model.
        train, validation: of each model on its own parts, all models together.
        test: of the models' mean logits.
        intervals: 95% intervals of every test metric, groups (patients) resampled.
        reads_of_test: how often the study's test part has been read, this time included.
        chosen: how the configuration came out among several; None for one alone.
        test_values: on test, of this configuration with each seed.
        lines: what a person is told of calibration and thresholds.
        repeats: of folds dealt several times, the validation metric of each time by itself.
    """

    folder: Path
    epochs: tuple[int, ...]
    train: Evaluation
    validation: Evaluation
    test: Evaluation
    thresholds: dict[str, float]
    intervals: MetricIntervals
    reads_of_test: int
    chosen: Chosen | None
    test_values: tuple[float, ...]
    lines: tuple[str, ...]
    repeats: tuple[float, ...] = ()


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
    threshold_method: str = "f1",
    again: bool = False,
    chosen: Chosen | None = None,
    latency_device: str | None = None,
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
        latency_device: where the models are timed, see `latency_target`.
        on_epoch: called with the member's number and its epoch. A model that an ended process began is resumed.

    Raises:
        InputError: another process promotes into `folder`, or test was read before and not `again`.
    """
    identity = chosen.identity if chosen else promotion_identity(config, members, winner, threshold_method)
    check_reads(ledger, identity, again=again)
    try:
        with locked(folder, waiting=None):
            remove_package(folder)  # its models are replaced: no package until all is written
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
                latency_device=latency_device,
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
    method: str,
    identity: str,
    chosen: Chosen | None,
    latency_device: str | None,
    on_epoch: Callable[[int, EpochResult], None] | None,
) -> Promotion:
    recorded = any(row.promotion and row.promotion.identity == identity for row in ledger.finals())
    device, summaries = choose_device(config.train.precision), []
    for number, member in enumerate(members):
        tell = partial(on_epoch, number) if on_epoch else None
        begun = any(file.exists() for file in checkpoint_files(folder, member.stem))  # gone once all is recorded
        whole = recorded and not begun
        there = still_there(config, member, folder) if whole else None
        summaries.append(
            there or made(config, task, member, device=device, winner=winner, folder=folder, on_epoch=tell)
        )
    as_used = choose_device("fp32")
    models = [as_used.move(load_model(folder / f"{member.stem}.safetensors")[0]) for member in members]
    read = partial(ledger.add_test_read, TestRead.now(identity, f"promotion of trial {winner.number}"))
    answers = answers_of(task, models, members, read=read, chosen=chosen, method=method, seed=config.train.seed)
    reads = len(ledger.test_reads())
    epochs = tuple(summary.best_epoch for summary in summaries)
    lines = write_results(folder, task, members, epochs, answers, reads=reads, chosen=chosen, identity=identity)
    _remove_earlier(folder, {member.stem for member in members})
    test = answers.test.evaluation
    _record_runs(folder, members, winner, epochs, _test_scalars(test, task.target_spec.columns.per_label))
    if not recorded:
        timed = latency_target(latency_device, as_used, config.train.threads)
        cost = _cost(config, members[0].dataset, models, *timed, searched=winner.cost)
        interval = answers.intervals.scalars[task.metric]
        promotion = PromotionRecord(
            identity,
            winner.number,
            method,
            summary_of(test),
            (interval.low, interval.high),
            reads,
            answers.fold_values if len(members) > 1 else (),
            chosen.seeds if chosen else (),
            chosen.records if chosen else (),
            answers.test_values if chosen else (),
        )
        result = _result(summaries, answers, cost, promotion, seconds=chosen.seconds if chosen else 0.0)
        ledger.add_final(result, value=answers.validation.evaluation.scalars[task.metric])
    parts = (answers.train.evaluation, answers.validation.evaluation, test)
    return Promotion(
        folder,
        epochs,
        *parts,
        answers.rule.thresholds,
        answers.intervals,
        reads,
        chosen,
        answers.test_values,
        lines,
        answers.repeats,
    )


def _result(
    summaries: Sequence[RunSummary], answers: Answers, cost: Cost, promotion: PromotionRecord, *, seconds: float
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
    config: RunConfig,
    dataset: Dataset,
    models: Sequence[nn.Module],
    device: Device,
    threads: int,
    *,
    searched: Cost | None,
) -> Cost:
    """Of all the models together: that is what it takes to use them. `searched`: what the search measured."""
    spec, num = dataset.input_spec, len(models)
    cost = count_cost(config.model, len(dataset.labels), spec.channels, spec.image_size)
    (latency,) = measure_latencies(
        [device.move(models[0])],
        device.inputs(spec, *spec.example()),
        device=device.torch_device,
        threads=threads,
        known_reference_ms=searched.reference_ms if searched else None,
    )
    return Cost(
        cost.num_params * num,
        cost.size_mb * num,
        latency.latency_ms * num,
        latency.latency_spread_ms * num,
        latency.reference_ms,
        latency.latency_median_ms * num,
        latency.latency_p95_ms * num,
    )


def promotion_identity(config: RunConfig, members: Sequence[Member], winner: TrialRecord, method: str) -> str:
    """16 hex digits over what a promotion is a function of: the same again is no new reading of test."""
    splits = [(member.stem, member.dataset.split_hash) for member in members]
    parts = [identity_values(flatten(config)), winner.number, method, splits]
    return fingerprint(parts)

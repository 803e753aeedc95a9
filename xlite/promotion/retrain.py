"""Candidates trained again with several seeds and judged on validation, so that luck is seen before one is promoted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.ledger import TrialRecord
from xlite.models.artifact import load_model
from xlite.promotion.judge import Judged, by_repeat, judge, mean_over
from xlite.promotion.train import made, run_folder, still_there
from xlite.storage.files import read_json_object, write_json
from xlite.study.members import Member, Trained
from xlite.tasks.task import Task
from xlite.train.checkpoint import remove_checkpoints
from xlite.train.hparams import end_run
from xlite.train.resumable import EpochResult
from xlite.train.summary import RunSummary


@dataclass(frozen=True)
class Candidate:
    """A configuration that may be promoted.

    Attributes:
        trial: which found it.
        config: of its final training; `train.seed` is that of the models that ship.
        members: the models to train for it, see `study.members`.
    """

    trial: TrialRecord
    config: RunConfig
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Seeded:
    """A candidate's models with one seed.

    Attributes:
        folder: holds them.
        validation: all of them on their own validation parts.
        summaries: of their runs; seconds that were counted with a trial are left out.
    """

    seed: int
    folder: Path
    validation: Judged
    summaries: tuple[RunSummary, ...]


@dataclass(frozen=True)
class Retrained:
    """A candidate with each seed, in the order of the seeds."""

    candidate: Candidate
    by_seed: tuple[Seeded, ...]

    def values(self, metric: str) -> tuple[float, ...]:
        """The validation metric with each seed."""
        return tuple(each.validation.evaluation.scalars[metric] for each in self.by_seed)

    @property
    def seconds(self) -> float:
        """Spent on training, beyond the search."""
        return sum(summary.seconds for each in self.by_seed for summary in each.summaries)

    def shipped(self) -> tuple[Member, ...]:
        """The members with the first seed's models, as trained."""
        folder = self.by_seed[0].folder
        return tuple(
            replace(member, trained=_trained(folder, member.stem, spent=True)) for member in self.candidate.members
        )


def retrain(
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    task: Task,
    *,
    folder: Path,
    on_epoch: Callable[[int, EpochResult], None] | None = None,
) -> list[Retrained]:
    """Train each candidate's models with each seed: of initial weights, order of batches and dropout.

    Data, split, teacher and augmented views are the same for all. What an ended process trained is kept, and what it
    began is resumed.

    Args:
        seeds: the first is that of the models that ship, fixed before anything is known of the others.
        folder: of the trainings, one folder for each candidate and seed.
        on_epoch: called with how many trainings have ended, and the epoch of the one that runs.
    """
    num_ended, out = 0, []
    for candidate in candidates:
        by_seed = []
        for seed in seeds:
            place = folder / f"trial_{candidate.trial.number:05d}_seed_{seed}"
            summaries = []
            for member in candidate.members:
                done = num_ended
                tell = (lambda kept, done=done: on_epoch(done, kept)) if on_epoch else None
                summaries.append(_one(candidate, member, seed, task, place, tell))
                num_ended += 1
            by_seed.append(Seeded(seed, place, _validated(candidate, task, place), tuple(summaries)))
        out.append(Retrained(candidate, tuple(by_seed)))
    return out


def _one(
    candidate: Candidate,
    member: Member,
    seed: int,
    task: Task,
    place: Path,
    on_epoch: Callable[[EpochResult], None] | None,
) -> RunSummary:
    """Train one model, unless it is there; returns its run's summary."""
    own_seed = candidate.config.train.seed
    config = candidate.config.override({"train.seed": seed}, source=f"seed {seed}")
    file = _trained(place, member.stem, spent=False).summary
    if file.is_file() and still_there(config, member, place) is not None:
        return RunSummary.from_json(read_json_object(file), source=str(file))
    place.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)  # of an earlier training in this place: until this one ends nothing is there
    summary = made(
        config,
        task,
        member if seed == own_seed else replace(member, trained=None),
        device=choose_device(config.train.precision),
        winner=candidate.trial,
        folder=place,
        views_seed=None if seed == own_seed else own_seed,
        on_epoch=on_epoch,
    )
    end_run(
        run_folder(place, member.stem),
        candidate.trial.overrides,
        state="complete",
        epoch=summary.best_epoch,
        scalars={},
    )
    write_json(file, summary.to_json())
    remove_checkpoints(place, member.stem)
    return summary


def count_once(retrained: Sequence[Retrained]) -> None:
    """Their seconds are in a record now, and are not counted again with another promotion that uses them."""
    for each in retrained:
        for seeded in each.by_seed:
            for member, summary in zip(each.candidate.members, seeded.summaries, strict=True):
                spent = replace(summary, seconds=0.0, seconds_by_kind={}, device_seconds=None)
                write_json(_trained(seeded.folder, member.stem, spent=False).summary, spent.to_json())


def _validated(candidate: Candidate, task: Task, place: Path) -> Judged:
    """A candidate's models in `place` on their own validation parts, together."""
    device, spec = choose_device("fp32"), task.target_spec
    judged = []
    for member in candidate.members:
        model = device.move(load_model(place / f"{member.stem}.safetensors")[0])
        judged.append(judge([model], spec, member.dataset, "val", device))
    return mean_over(by_repeat(judged, [member.repeat for member in candidate.members], spec), spec)


def _trained(folder: Path, stem: str, *, spent: bool) -> Trained:
    return Trained(folder, stem, folder / f"{stem}.run.json", run_folder(folder, stem), spent)

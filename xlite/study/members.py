"""The models that a promotion trains: one on all the training data, or one for each fold."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xlite.console import Console
from xlite.data.dataset import Dataset
from xlite.data.split import deal
from xlite.distill.bank import Bank
from xlite.distill.teacher import Teacher
from xlite.errors import InputError
from xlite.ledger import TrialRecord
from xlite.models.origins import Origins
from xlite.study.job import TrialFolders
from xlite.study.options import Study
from xlite.study.teacher import num_views, obtain_bank, obtain_teacher
from xlite.tasks.prepare import Prepared
from xlite.tasks.target_spec import TargetSpec

STEM = "model"


@dataclass(frozen=True)
class Trained:
    """A model that is there already: `<stem>.safetensors` and `.json` in `folder`.

    Attributes:
        summary: JSON file, of its run.
        curves: its TensorBoard run.
        spent: its seconds are counted elsewhere, with a trial.
    """

    folder: Path
    stem: str
    summary: Path
    curves: Path
    spent: bool


@dataclass(frozen=True)
class Member:
    """One model of what is promoted.

    Attributes:
        stem: of its files in `promoted/`.
        dataset: its own training and validation parts.
        bank: its teacher's answers to the first.
        num_views: the study's; a winner without distillation sees as many, without a bank.
        origins: the study's.
        trained: the model where it is there already. A trial's student that saw all of the training part for just as
            many epochs is one: training is a function of configuration, data and seed, so that it would come out the
            same again.
        repeat: which dealing of the folds it is of, from 0.
    """

    stem: str
    dataset: Dataset
    bank: Bank | None
    trained: Trained | None = None
    num_views: int | None = None
    origins: Origins | None = None
    repeat: int = 0


def folds(dataset: Dataset, target_spec: TargetSpec, num_folds: int, *, seed: int, repeat: int = 0) -> list[Dataset]:
    """Train and validation parts pooled and dealt into folds: each data set validates on one and trains on the others.

    Groups stay whole and `target_spec.strata` keep their shares. All other parts are the same in all. Another `repeat`
    (from 0) deals anew.

    Raises:
        InputError: fewer groups than folds.
    """
    pool = np.sort(np.concatenate([dataset.parts["train"], dataset.parts["val"]]))
    strata, again = target_spec.strata(dataset.targets[pool]), [repeat] if repeat else []
    fold = deal(strata, dataset.groups[pool], num_folds, seed=[seed, num_folds, *again], option="--folds")
    name = f"-repeat{repeat + 1}" if repeat else ""
    return [
        replace(
            dataset,
            parts={**dataset.parts, "train": pool[fold != k], "val": pool[fold == k]},
            split_hash=f"{dataset.split_hash}-fold{k + 1}of{num_folds}-seed{seed}{name}",
        )
        for k in range(num_folds)
    ]


def members_of(
    study: Study,
    prepared: Prepared,
    teacher: Teacher | None,
    console: Console,
    *,
    winner: TrialRecord,
    epochs: int,
    num_folds: int,
    num_seeds: int = 1,
) -> list[Member]:
    """The models to train for `winner`: one on the whole training part, or one for each fold of each repeat.

    The student of a winner that has seen all the training data for `epochs` is taken as it is, for the study's seed. A
    fold's teacher has not seen that fold.

    Raises:
        InputError: folds with a teacher from a file, which has seen rows that it would be judged on.
    """
    trained = _trained(study, prepared, winner, epochs) if num_folds == 1 else None
    if trained and num_seeds == 1:
        return [Member(STEM, prepared.full, None, trained)]
    distill = study.base.override(winner.overrides, source=f"trial {winner.number}").distill
    views = num_views(study.options.max_epochs)
    if num_folds == 1:
        bank = None
        if distill.needs_teacher and teacher is not None:
            bank = obtain_bank(study, teacher, prepared.full, console)
        return [Member(STEM, prepared.full, bank, trained, views, study.origins)]
    if study.options.teacher_files and distill.needs_teacher:
        raise InputError("--folds with --teacher: that teacher has seen the folds it would be judged on; use --folds 1")
    members = []
    deals = [
        (repeat, dataset)
        for repeat in range(study.options.num_repeats)
        for dataset in folds(prepared.full, study.task.target_spec, num_folds, seed=study.options.seed, repeat=repeat)
    ]
    for number, (repeat, dataset) in enumerate(deals, start=1):
        bank = None
        if distill.needs_teacher:
            bank = obtain_bank(study, obtain_teacher(study, dataset, console).teacher, dataset, console)
        members.append(Member(f"{STEM}_{number}", dataset, bank, num_views=views, origins=study.origins, repeat=repeat))
    return members


def promotion_seconds(
    study: Study, prepared: Prepared, winner: TrialRecord, *, num_folds: int, num_seeds: int = 1
) -> float:
    """Expected time of training what is promoted, from the winner's own epochs; without the teachers of folds."""
    epochs, summary = study.options.promote_epochs, winner.summary
    if not summary.epochs:
        return 0.0
    is_there = num_folds == 1 and _trained(study, prepared, winner, epochs) is not None
    share_searched = len(prepared.search.parts["train"]) / len(prepared.full.parts["train"])
    num_models = num_folds * study.options.num_repeats if num_folds > 1 else 1
    one_s = summary.seconds / summary.epochs / share_searched * epochs * num_models
    return one_s * (num_seeds - is_there)


def _trained(study: Study, prepared: Prepared, winner: TrialRecord, epochs: int) -> Trained | None:
    """The winner's student where training it again on all the data would give the same one."""
    folders = TrialFolders(study.options.folder)
    folder, run = folders.of(winner.number), folders.run(winner.number, winner.overrides)
    same = prepared.search is prepared.full and epochs == study.options.max_epochs and winner.state == "complete"
    whole = all((folder / name).is_file() for name in ("student.safetensors", "student.json", "trial.json"))
    curves = run if run.exists() else folder
    return Trained(folder, "student", folder / "trial.json", curves, spent=True) if same and whole else None

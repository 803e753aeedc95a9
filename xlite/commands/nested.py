"""Nested cross-validation: a whole search for each outer fold, whose promoted winner is judged on that fold alone."""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlite.commands import cli
from xlite.console import Console, FittedTable, SilentConsole
from xlite.errors import InputError

if TYPE_CHECKING:
    from xlite.metrics.resampling import Interval
    from xlite.promotion.judge import Judged
    from xlite.tasks.target_spec import TargetSpec

FILE, TABLE = "nested.json", "nested.csv"
_FREE = (
    *("study", "results", "storage", "data", "cache_dir", "adopt", "dry_run", "time_budget", "promote_reserve"),
    *("gpus_per_trial", "max_concurrent", "mps", "hang_limit", "niceness", "address", "again"),
)
"""Options that may change while a nested run continues: they say where and how fast, not what."""


@dataclass(frozen=True)
class OuterFold:
    """What the search of one outer fold came to.

    Attributes:
        study: its name.
        trial: the winner's number.
        validation: the promoted winner's score there, on rows that chose it.
        judged: its answers on the outer fold.
        target_spec: of the study.
    """

    study: str
    trial: int
    validation: float
    judged: "Judged"
    target_spec: "TargetSpec"

    @property
    def score(self) -> float:
        """On the outer fold."""
        return self.judged.evaluation.scalars[self.target_spec.score]


def run_nested(arguments: argparse.Namespace, search: Callable[[argparse.Namespace], int]) -> int:
    """Search once an outer fold, then tell the scores; a fold that has been judged is not run again.

    Args:
        search: `xlite tune` of one study, with the outer fold as `arguments.outer`; returns its exit code.
    """
    check_options(arguments)
    console, num_folds = Console(), arguments.outer_folds
    name = cli.default_study_name() if arguments.study is None else arguments.study
    results = arguments.results
    folder = cli.study_folder(results, name)
    values = asked(arguments)
    check_same(folder, values)
    studies = {f"{name}-outer{fold}of{num_folds}": (fold, num_folds) for fold in range(1, num_folds + 1)}
    to_run = [study for study in studies if not is_judged(results / study, arguments.storage)]
    if not arguments.dry_run:
        remember(folder, values)
    for study, outer in studies.items():
        if study not in to_run:
            console.say(f"Outer fold {outer[0]} of {num_folds} has been judged: {study} is not run again")
            continue
        first = study == to_run[0]
        own = {"study": study, "outer": outer, "nested": name, "num_searches": len(to_run) if first else 1}
        if not first:
            own["niceness"] = 0  # it has been added
        code = search(argparse.Namespace(**{**vars(arguments), **own}))
        if code or arguments.dry_run:
            return code
        if not is_judged(results / study, arguments.storage):
            console.say(f"Outer fold {outer[0]} of {num_folds} is not judged yet: the same command continues")
            return 0
    tell([outer_fold(results / study, arguments.storage) for study in studies], folder / TABLE, console)
    return 0


def check_options(arguments: argparse.Namespace) -> None:
    """Refuse what would let a selection see an outer fold, or leaves nothing to judge.

    Raises:
        InputError: names the option.
    """
    num_folds = arguments.outer_folds
    if num_folds < 2:
        raise InputError(f"--outer-folds {num_folds}: at least 2 are needed, or leave it out")
    refused = {
        "--no-promote": (arguments.no_promote, "an outer fold judges the promoted winner"),
        "--promote front": (arguments.promote == "front", "an outer fold judges one promoted student"),
        "--split official": (arguments.split == "official", "outer folds deal all the data anew"),
        "--teacher": (bool(arguments.teacher), "that teacher has seen the folds it would be judged on"),
        "--warm-start": (arguments.warm_start is not None, "those configurations were chosen on data of every fold"),
        "--adopt": (arguments.adopt, "each outer fold is a study of its own"),
    }
    for option, (given, reason) in refused.items():
        if given:
            raise InputError(f"--outer-folds with {option}: {reason}; leave one out")


def asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """What decides the numbers of every outer fold, as JSON values by option name."""
    values = {name: value for name, value in vars(arguments).items() if name not in _FREE}
    return json.loads(json.dumps(values, default=str))  # as read again: lists for tuples


def check_same(folder: Path, values: Mapping[str, Any]) -> None:
    """Refuse to continue a nested run as another one; one whose first search never began has nothing to continue.

    Raises:
        InputError: names every option that differs.
    """
    from xlite.ledger import StudyManifest
    from xlite.storage.files import read_json_object

    if StudyManifest.read(folder) is not None:
        raise InputError(f"study {folder.name} is a search without outer folds; choose another --study")
    begun = any(folder.parent.glob(f"{folder.name}-outer*of*/study.json"))
    if not begun or not (folder / FILE).exists():
        return
    before = read_json_object(folder / FILE)
    changed = [
        f"--{name.replace('_', '-')} was {before.get(name)!r} and is now {values[name]!r}"
        for name in values
        if before.get(name) != values[name]
    ]
    if changed:
        raise InputError(f"study {folder.name}: {'; '.join(changed)}. Use another --study, or the values it began with")


def remember(folder: Path, values: Mapping[str, Any]) -> None:
    """Keep what was asked, for `check_same`."""
    from xlite.storage.files import write_json

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, values)


def is_judged(root: Path, storage: str | None) -> bool:
    """Whether the study in `root` has promoted its winner, and so judged it on its outer fold."""
    from xlite.ledger import StudyManifest, open_to_read
    from xlite.study.contestants import final_of

    if StudyManifest.read(root) is None or not (root / "promoted" / "metrics.json").exists():
        return False
    with open_to_read(root, storage) as ledger:
        return final_of(root / "promoted", ledger) is not None


def outer_fold(root: Path, storage: str | None) -> OuterFold:
    """The winner of the study in `root` on its outer fold; the same models on the same rows are no new reading."""
    from xlite.commands.reopen import Places, reopen
    from xlite.predictor import load
    from xlite.promotion.judge import judge
    from xlite.study.contestants import final_of

    opened = reopen(root, SilentConsole(), Places(storage=storage))
    with opened.ledger as ledger:
        final = final_of(root / "promoted", ledger)
    assert final is not None and final.promotion is not None and final.value is not None
    spec = opened.study.task.target_spec
    package = load(root / "promoted", target_spec=spec)
    judged = judge(package.models, spec, opened.prepared.full.unsealed(), "test", package.device)
    return OuterFold(root.name, final.promotion.promoted_from, final.value, judged, spec)


def tell(folds: list[OuterFold], file: Path, console: Console) -> None:
    """A row for each outer fold, and the mean of all with its interval; the same in `file`."""
    import numpy as np

    from xlite.storage.files import write_text
    from xlite.storage.text import csv_text

    score = folds[0].target_spec.score
    columns = ("outer fold", "study", "trial", "patients", "examples", "validation", "outer")
    rows = [
        (
            *(str(number), fold.study, str(fold.trial), str(len(np.unique(fold.judged.groups)))),
            *(str(len(fold.judged.groups)), f"{fold.validation:.4f}", f"{fold.score:.4f}"),
        )
        for number, fold in enumerate(folds, start=1)
    ]
    scores = [fold.score for fold in folds]
    mean, sd = float(np.mean(scores)), float(np.std(scores, ddof=1))
    interval = pooled_interval(folds)
    low, high = ("" if end is None else f"{end:.4f}" for end in (interval.low, interval.high))
    told = f"95% interval {low} to {high}" if low else f"no interval ({interval.note})"
    table = FittedTable(
        {title: "text" if title == "study" else "number" for title in columns},
        dropped_first=("study",),
        complete_in=file.name,
        title=f"{score}, each winner on the outer fold that its search never saw",
    )
    for row in rows:
        table.add_row(*row)
    console.show(table)
    console.say(
        f"{len(folds)} outer folds: {score} {mean:.4f}, spread (SD) {sd:.4f}, {told} "
        "(mean over the folds, patients resampled)"
    )
    total = ("all", "", "", "", str(sum(len(fold.judged.groups) for fold in folds)), "", f"{mean:.4f}")
    spread = ("sd", "low", "high")
    ends = [("", "", ""), (f"{sd:.4f}", low, high)]
    lines = [(*columns, *spread), *((*row, *ends[0]) for row in rows), (*total, *ends[1])]
    write_text(file, csv_text(lines))


def pooled_interval(folds: list[OuterFold]) -> "Interval":
    """95% bootstrap interval of the mean score of the folds; the patients of all folds are resampled together."""
    import numpy as np

    from xlite.metrics.intervals import score_interval

    scores = [fold.target_spec.resampled_score(fold.judged.answers, fold.judged.targets) for fold in folds]
    ends = np.cumsum([len(fold.judged.groups) for fold in folds])[:-1]

    def mean(weights: np.ndarray) -> np.ndarray:
        parts = np.split(weights, ends, axis=-1)
        return np.mean([score(own) for score, own in zip(scores, parts, strict=True)], axis=0)

    groups = np.concatenate([fold.judged.groups for fold in folds])
    return score_interval(mean, groups, num_resamples=1000, seed=0)

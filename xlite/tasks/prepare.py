"""From a folder of raw files to a Dataset: read, cache pixels, leave out unreadable files, split, subset.

A picture that several examples show is in one part of a split only, unless the split was stored without this rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xlite.config import DataConfig
from xlite.console import Console
from xlite.data.cache import PixelCache, open_or_build
from xlite.data.cache_build import PIXELS
from xlite.data.dataset import Dataset
from xlite.data.held_out import HELD_OUT, hold_out, unguaranteed
from xlite.data.preprocess import Preprocess
from xlite.data.preprocess_registry import described
from xlite.data.sources import ParsedDataset
from xlite.data.split import PARTS, Split, SplitStrategy, resolve_subset, subset
from xlite.data.split_apart import SplitTable, outer_fold, split_apart
from xlite.data.table import Table
from xlite.data.twins import nearly_identical, pictures_of, with_united_groups
from xlite.errors import InputError
from xlite.storage.files import write_text
from xlite.storage.text import csv_text
from xlite.tasks.task import Task
from xlite.tasks.understood import PictureFindings, write_findings

MAX_EXCLUDED_SHARE = 0.01


@dataclass(frozen=True)
class DataRequest:
    """Which data, and how to prepare it.

    Attributes:
        folder: the raw data set.
        data: the data section of the configuration.
        split: None: the data set's own if the task keeps it, else "patient".
        subset: "auto" or a share in (0, 1] of the training part to search on.
        cache_dir: for pixel caches and stored splits.
        allow_missing: accept that more than 1% of the images are missing or unreadable.
        guarantee_share: share of the training part in (0, 1) to hold out for thresholds' guarantees, or None.
        column_overrides: the user's choices of a table's columns by option name.
        outer: (fold from 1, number of folds): test is that outer fold of all the data; () takes the split as it is.
    """

    folder: Path
    data: DataConfig
    split: SplitStrategy | None
    seed: int
    subset: str
    cache_dir: Path
    allow_missing: bool = False
    guarantee_share: float | None = None
    column_overrides: Mapping[str, Any] = field(default_factory=dict)
    outer: tuple[int, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """The data of a study.

    Attributes:
        task: with its kind of targets resolved.
        table: the examples in use.
        split_kind: "patient", "official" or "image".
        full: with all training examples; search: with the subset that the search trains on, or the same object.
        subset_share: the share of the training part that `search` holds.
        preprocess: recorded with every model.
        split_file: the stored split.
        request: the request it answers.
        understood: JSON values: what was found in the data set; also stored in `cache_dir`.
    """

    task: Task
    table: Table
    split_kind: SplitStrategy
    full: Dataset
    search: Dataset
    subset_share: float
    preprocess: Preprocess
    split_file: Path
    request: DataRequest
    understood: Mapping[str, Any]

    @property
    def patients_are_known(self) -> bool:
        """Whether a patient, or another group, has several examples."""
        return len(set(self.table.groups.tolist())) < len(self.table)

    @property
    def split_basis(self) -> str:
        """What the split is by, in words."""
        if self.split_kind == "patient" and not self.patients_are_known:
            return "image, since no patient is known to have several"
        return self.split_kind


def prepare(task: Task, request: DataRequest, console: Console) -> Prepared:
    """Read, cache and split a data set; existing caches and splits are reused.

    Raises:
        InputError: the data cannot be used; the line names the file, row or key.
    """
    reading, task = read(task, request, console)
    preprocess = task.preprocess(request.data, reading)
    table, cache, rows = cache_examples(reading, preprocess, request, console)
    own = task.keeps_own_split and table.official is not None
    kind = request.split or ("official" if own and not request.outer else "patient")
    pictures = pictures_of(cache.hashes()[rows])
    strata = task.target_spec.strata(table.targets)
    patients = np.unique(table.groups, return_inverse=True)[1]
    alike = nearly_identical(pictures, patients, cache.pixels, rows)
    draw = partial(outer_fold, alike=alike, outer=request.outer) if request.outer else split_apart
    drawn = draw(table, pictures, strategy=kind, seed=request.seed, folder=request.cache_dir / "splits", strata=strata)
    drawn, held_out = _hold_out(task, drawn, pictures.number[drawn.rows], request, strata[drawn.rows], console)
    near = nearly_identical(pictures, drawn.part, cache.pixels, rows)
    findings = PictureFindings(table, pictures, drawn.part, near, alike)
    understood = _understood(task, reading, drawn, request) | {
        "unusable": len(reading.excluded) + len(cache.failures),
        "pictures": findings.counts(),
        "pixel_key": cache.key,
    }
    for line in write_findings(request.cache_dir, understood, findings, drawn.file):
        console.say(line)
    for note in task.target_spec.check_split(drawn.table, drawn.split):
        console.say(f"Note: {note}")
    full = _dataset(drawn.table, rows[drawn.rows], drawn.split, cache, preprocess)
    full = replace(full, parts={**full.parts, **held_out})
    share = resolve_subset(request.subset, len(drawn.split.train))
    search = full
    if share < 1:
        strata = strata[drawn.rows]
        search = full.with_train(subset(drawn.table, drawn.split.train, share, seed=request.seed, strata=strata))
    return Prepared(task, drawn.table, kind, full, search, share, preprocess, drawn.file, request, understood)


def cache_examples(
    reading: ParsedDataset, preprocess: Preprocess, request: DataRequest, console: Console
) -> tuple[Table, PixelCache, np.ndarray]:
    """The readable examples of a data set, their pixel cache, and each one's row there.

    Raises:
        InputError: as `prepare`.
    """
    check_excluded(reading, {}, request)
    with console.progress("Preparing images", "images") as progress:
        cache = open_or_build(
            reading.table.items,
            reading.table.ids,
            cache_dir=request.cache_dir,
            preprocess=preprocess,
            progress=progress,
        )
    table, rows = _leave_out(reading, cache, request, console)
    return table, cache, rows


def _hold_out(
    task: Task, drawn: SplitTable, pictures: np.ndarray, request: DataRequest, strata: np.ndarray, console: Console
) -> tuple[SplitTable, dict[str, np.ndarray]]:
    """The split without the held-out rows, and these as a part; no such part where none was asked for.

    Args:
        pictures: (n,) numbers of the rows in use; rows with the same one are held out together or not at all.

    Raises:
        InputError: exclusive classes, too few patients, or nothing can be learnt from what is left.
    """
    share = request.guarantee_share
    if share is None:
        return drawn, {}
    if task.target_spec.answers_are != "labels":
        raise InputError(f"--guarantee-share is for labels with thresholds; {task.target_spec.kind} targets have none")
    apart = with_united_groups(drawn.table, pictures)  # a split of an earlier version has them as they were
    split, rows = hold_out(apart, drawn.split, share, seed=request.seed, strata=strata)
    try:
        task.target_spec.check_split(drawn.table, split)
    except InputError as error:
        raise InputError(f"--guarantee-share {share:g}: {error}") from None
    patients = len(np.unique(drawn.table.groups[rows]))
    console.say(f"Held out for guarantees: {len(rows):,} of the training images, of {patients:,} patients")
    for note in unguaranteed(drawn.table, rows):
        console.say(f"Note: {note}")
    part = drawn.part.copy()
    part[drawn.rows[rows]] = len(PARTS)
    return replace(drawn, split=split, part=part), {HELD_OUT: rows}


def read(task: Task, request: DataRequest, console: Console) -> tuple[ParsedDataset, Task]:
    """Read the raw table and print its notes; the returned task has its kind of targets resolved.

    Raises:
        InputError: as `prepare`, or columns were given to a task that has none to choose.
    """
    if request.column_overrides and not task.takes_columns:
        raise InputError(
            f"--{next(iter(request.column_overrides))}: task {task.name} reads fixed columns; leave it out"
        )
    reading = task.read(
        request.folder,
        allow_missing=request.allow_missing,
        data=request.data,
        column_overrides=request.column_overrides,
    )
    for note in reading.notes:
        console.say(note)
    return reading, task.resolve_targets(reading.kind)


def _understood(task: Task, reading: ParsedDataset, drawn: SplitTable, request: DataRequest) -> dict[str, Any]:
    """What understood.json says of the folder and the split."""
    return {
        "task": task.name,
        "column_overrides": dict(request.column_overrides),
        "notes": list(reading.notes),
        "kind": task.target_spec.kind,
        "labels": list(drawn.table.labels),
        "groups": len(np.unique(drawn.table.groups)),
        "missing": len(reading.missing),
        "split": {"kind": drawn.split.strategy, "seed": drawn.split.seed, "file": drawn.file.name},
        "parts": {part: len(drawn.split.rows_of(part)) for part in PARTS},
    }


def _dataset(table: Table, rows: np.ndarray, split: Split, cache: PixelCache, preprocess: Preprocess) -> Dataset:
    return Dataset(
        pixel_file=cache.path / PIXELS,
        pixel_key=cache.key,
        rows=rows,
        ids=table.ids,
        groups=table.groups,
        targets=table.targets,
        labels=table.labels,
        parts={"train": split.train, "val": split.val, "test": split.test},
        split_hash=split.content_hash(table),
        input_spec=preprocess.input_spec.with_auxiliary(table.auxiliary),
        auxiliary=table.auxiliary,
        preprocess=described(preprocess),
    )


def check_excluded(reading: ParsedDataset, unreadable: Mapping[str, str], request: DataRequest) -> str:
    """What is left out, in words.

    Raises:
        InputError: more than 1% of the examples (or of the units that the reader counts), without `allow_missing`.
    """
    lost = {**dict.fromkeys(reading.missing, "missing"), **reading.excluded}
    num_units = reading.num_units or len(reading.table) + len(lost)
    what = f"{len(reading.missing):,} missing and {len(reading.excluded) + len(unreadable):,} unusable"
    share = len(lost) / num_units + len(unreadable) / len(reading.table)
    if share > MAX_EXCLUDED_SHARE and not request.allow_missing:
        name, reason = next(iter({**unreadable, **reading.excluded, **lost}.items()))
        raise InputError(
            f"{request.folder}: {what} of {num_units:,} examples (e.g. {name}: {reason}), above 1%. "
            "Fix the files, or continue without them with --allow-missing"
        )
    return f"{what} of {num_units:,} examples"


def _leave_out(
    reading: ParsedDataset, cache: PixelCache, request: DataRequest, console: Console
) -> tuple[Table, np.ndarray]:
    """The table without unreadable images, and each remaining row's row in the pixel file."""
    unreadable = {str(name): f"unreadable: {reason}" for name, reason in cache.failures.items()}
    excluded = {**dict.fromkeys(reading.missing, "missing"), **reading.excluded, **unreadable}
    rows = np.flatnonzero(cache.ok)
    if not excluded:
        return reading.table, rows
    listing = request.cache_dir / f"excluded-{cache.key}.csv"
    write_text(listing, csv_text([("image", "reason"), *excluded.items()]))
    if not len(rows):
        name, reason = next(iter(unreadable.items()))
        raise InputError(
            f"{request.folder}: none of the {len(reading.table):,} examples could be read, e.g. {name}: {reason}; see "
            f"{listing}"
        )
    try:
        what = check_excluded(reading, unreadable, request)
    except InputError as error:
        raise InputError(f"{error}; they are listed in {listing}") from None
    console.say(f"Left out {what}; they are listed in {listing}")
    return reading.table.take(rows), rows

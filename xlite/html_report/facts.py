"""What is known of a study, read from its ledger, study.json and promoted/: what a report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from xlite.errors import InputError
from xlite.ledger import Ledger, StudyManifest, TestRead, TrialRecord, knee_of, open_to_read
from xlite.report.analysis import rows_of
from xlite.report.leaderboard import leaderboard_of
from xlite.report.sections import StudyRows
from xlite.storage.files import read_json_object

PROMOTED = "promoted"
_PARTS = ("metrics", "thresholds", "reliability", "curves")


@dataclass(frozen=True)
class Package:
    """A promotion's folder.

    Attributes:
        name: "" of the study's only one, else the trial's number as its folder has it.
        metrics, thresholds, reliability, curves: what its .json files say; {} of a file that is not there.
    """

    folder: Path
    name: str
    metrics: Mapping[str, Any]
    thresholds: Mapping[str, Any]
    reliability: Mapping[str, Any]
    curves: Mapping[str, Any]

    @property
    def trial(self) -> str:
        """Of a member of a front ", trial 12", else ""."""
        return f", trial {int(self.name)}" if self.name else ""


@dataclass(frozen=True)
class Facts:
    """A study as it stands.

    Attributes:
        board: the leaderboard with every column.
        complete: its complete trials as Optuna's.
        ranges: that parameters were drawn from, in trials of any state.
    """

    folder: Path
    study: StudyRows
    manifest: StudyManifest | None
    metadata: Mapping[str, Any]
    board: pd.DataFrame
    complete: tuple[FrozenTrial, ...]
    ranges: Mapping[str, BaseDistribution]
    baselines: tuple[TrialRecord, ...]
    reads: tuple[TestRead, ...]
    packages: tuple[Package, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides what the study's numbers mean, flat; {} where nothing is recorded."""
        return self.manifest.settings if self.manifest and self.manifest.settings else self.metadata

    @property
    def package(self) -> Package | None:
        """Its package; of a front's the knee's where that is promoted, else the first."""
        knee = knee_of(self.study.rows, self.study.objectives)
        of_knee = (each for each in self.packages if knee is not None and each.name == f"{knee.number:05d}")
        return next(of_knee, next(iter(self.packages), None))

    @property
    def places(self) -> list[Path]:
        """Folders whose names a report leaves out."""
        manifest = self.manifest
        stored = [*manifest.options.values(), *manifest.request.values()] if manifest else []
        every = (one for value in stored for one in (value if isinstance(value, list) else [value]))
        found = [path for path in every if isinstance(path, Path)]
        return [self.folder, self.folder.resolve(), self.folder.parent, Path.home(), Path.cwd(), *found]


def read_facts(folder: Path, storage: str | None = None) -> Facts:
    """Read a study, also while it runs.

    Raises:
        InputError: there is none, its database or one of its files cannot be read.
    """
    with open_to_read(folder, storage) as ledger:
        return _facts(folder, ledger)


def _facts(folder: Path, ledger: Ledger) -> Facts:
    manifest = StudyManifest.of_study(folder)
    return Facts(
        folder=folder,
        study=rows_of(ledger, manifest),
        manifest=manifest,
        metadata=ledger.metadata,
        board=leaderboard_of(ledger),
        complete=tuple(ledger.complete_trials()),
        ranges=ledger.distributions(),
        baselines=tuple(ledger.baselines()),
        reads=tuple(ledger.test_reads()),
        packages=tuple(_packages(folder / PROMOTED)),
    )


def _packages(promoted: Path) -> Sequence[Package]:
    """The study's package, and those of a front, which have a folder each."""
    folders = [promoted, *sorted(path for path in promoted.glob("*/") if path.name.isdigit())]
    there = [path for path in folders if (path / "metrics.json").is_file()]
    return [_package(path, "" if path == promoted else path.name) for path in there]


def _package(folder: Path, name: str) -> Package:
    contents = {part: read_json_object(path) if (path := folder / f"{part}.json").is_file() else {} for part in _PARTS}
    return Package(folder, name, **contents)


def not_written_by_a_promotion(package: Package, error: Exception) -> InputError:
    """What is told of a package whose files hold something else."""
    return InputError(f"{package.folder}: its .json files are not what a promotion writes ({error!r}); promote again")

"""What the table of options is asserted with: each command, run up to where training would start."""

import shlex
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xlite.commands import (
    check_balance,
    package,
    prepare_data,
    promote,
    reopen,
    teacher_bank,
    train_baselines,
    train_one,
    train_teacher,
    tune_kd,
)
from xlite.commands import options as shared
from xlite.commands.main import COMMANDS
from xlite.config import RunConfig
from xlite.console import Console
from xlite.errors import InputError
from xlite.html_report import facts  # noqa: F401 - before leaderboard_of is replaced, or it keeps the replacement
from xlite.ledger import TrialRecord
from xlite.study.options import Study, StudyOptions
from xlite.study.plan import open_space, option_notes
from xlite.study.shares import Shares, plan_shares
from xlite.study.space import load_space
from xlite.study.warm_start import warm_up
from xlite.tasks import find_task

SAYING = (
    *(check_balance, package, prepare_data, promote, teacher_bank, train_baselines, train_one, train_teacher),
    tune_kd,
)


class Stopped(Exception):
    """Training would start now."""


class Told(Console):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def show(self, table: Any) -> None:
        if table != "":  # of a search that was left out
            super().show(table)


def module(command: str) -> Any:
    return import_module(f"xlite.commands.{COMMANDS[command].module}")


def parsed(command: str, text: str) -> Any:
    return module(command).parser().parse_args(shlex.split(text))


@dataclass
class Bench:
    """A folder with images (nih/), a space, a grid and the study "kd"; what commands say, and what they print."""

    home: Path
    told: Told
    patch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def run(self, command: str, text: str) -> int | None:
        return module(command).run(parsed(command, text))

    def data(self, text: str = "") -> str:
        return f"--data {self.home}/nih --cache-dir {self.home}/cache --image-size 16 {text}"

    def kd(self, text: str = "") -> str:
        return f"--study kd --results {self.home}/results {text}"

    def says(self, words: str) -> bool:
        return any(words in line for line in self.told.lines)

    def refuses(self, command: str, text: str, words: str) -> bool:
        return self.raises(lambda: self.run(command, text), words)

    def raises(self, act: Any, words: str) -> bool:
        with pytest.raises(InputError) as caught:
            act()
        return words in str(caught.value)

    def stopped_at(self, place: str, command: str, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a command hands to the function at `place`, which is not run."""

        def stop(*arguments: Any, **options: Any) -> None:
            raise Stopped(arguments, options)

        self.patch.setattr(place, stop)
        with pytest.raises(Stopped) as caught:
            self.run(command, text)
        arguments, options = caught.value.args
        return arguments, options

    def request(self, command: str, text: str = "") -> Any:
        """The data that a command asks for."""
        arguments = parsed(command, f"--data {self.home}/nih {text}")
        task = find_task(arguments.task)
        return shared.data_request(arguments, task, Console(), data=RunConfig().data, subset="1.0")

    # xlite tune, xlite baselines

    def asked(self, text: str) -> StudyOptions:
        arguments = parsed("tune", text)
        return tune_kd.resolve(arguments, "s", Path("/r/s"), "cpu")

    def baselines(self, text: str) -> StudyOptions:
        return train_baselines.resolve(parsed("baselines", text), "b", Path("/r/b"), "cpu")

    def baselines_at(self, text: str) -> Path:
        """The folder of the baselines that are planned."""
        (study, *_), _ = self.stopped_at("xlite.study.plan.plan_study", "baselines", self.data(text))
        return study.options.folder

    def dry(self, text: str) -> str:
        """What a dry run of a search says."""
        self.told.lines.clear()
        own = f"--results {self.home}/results --space {self.home}/space.py --max-epochs 2 --dry-run"
        assert self.run("tune", f"{self.data()} {own} {text}") == 0
        return "\n".join(self.told.lines)

    def promotion(self, text: str) -> dict[str, Any] | None:
        """The options of the promotion after a search, which is left out; None without one."""
        rows = [TrialRecord(number, "search", "complete", 0.5 - number / 10) for number in range(3)]
        winner, ledger = rows[0], SimpleNamespace(rows=lambda: rows, finals=list)
        result = SimpleNamespace(ledger=ledger, teacher=None, winner=winner, num_interrupted=0, num_left=0)
        calls: list[dict[str, Any]] = []
        self.patch.setattr("xlite.tune.study.run_study", lambda *_: result)
        self.patch.setattr("xlite.report.leaderboard.leaderboard_of", lambda ledger: None)
        self.patch.setattr("xlite.report.leaderboard.render", lambda frame, top: "")
        self.patch.setattr(
            "xlite.commands.promote.promote_and_tell",
            lambda *arguments, **options: calls.append({**options, "size": arguments[4]}),
        )
        own = f"--results {self.home}/results --space {self.home}/space.py --max-epochs 2"
        assert self.run("tune", f"{self.data()} {own} {text}") == 0
        return calls[0] if calls else None

    def shares(self, text: str, num_gpus: int = 0) -> Shares:
        return plan_shares(self.asked(text), num_cpus=4, num_gpus=num_gpus)

    def warm_start(self, text: str) -> None:
        study = SimpleNamespace(options=self.asked(text))
        space = load_space(self.home / "space.py", "multilabel")
        warm_up(None, SimpleNamespace(study=study, space=space), self.told)  # type: ignore[arg-type]

    def notes(self, text: str) -> list[str]:
        """What a search says of its options, on a machine of two CPUs."""
        options = self.asked(f"--space {self.home}/space.py {text}")
        task = find_task("chestxray14")
        study = Study(options, task, options.configure(task))
        space, configs = open_space(study)
        shares = plan_shares(options, num_cpus=2, num_gpus=0)
        return option_notes(study, space, configs, shares)

    # xlite train, xlite teacher

    def training(self, text: str) -> tuple[RunConfig, int, Path]:
        """Configuration, training images and folder that a single training starts with."""
        place = "xlite.train.retry.train_to_the_end"
        (run,), options = self.stopped_at(place, "train", self.data(f"--out {self.home}/one {text}"))
        return run.config, len(run.dataset.part("train")), options["folder"]

    def table(self) -> Path:
        """A table of answers that are logits."""
        file = self.home / "answers.csv"
        file.write_text("image,Effusion\n00000000_000.png,3.5\n")
        return file

    def teaching(self, text: str) -> tuple[RunConfig, Path]:
        """Configuration and folder that a teacher's training starts with."""
        place = "xlite.train.teacher.train_teacher"
        (config, *_), options = self.stopped_at(place, "teacher", self.data(f"--out {self.home}/t {text}"))
        return config, options["folder"]

    # xlite promote, xlite bank

    def opened(self, command: str, text: str) -> tuple[Path, reopen.Places]:
        """The folder in which a command opens a study, and what it takes from other places."""
        (folder, _, places), _ = self.stopped_at("xlite.commands.reopen.reopen", command, self.kd(text))
        return folder, places

    def promoting(self, text: str) -> tuple[int, dict[str, Any]]:
        """The best trial that is promoted from a study of three, the last the best, and the options."""
        arguments, options = self.promoted(text)
        size = arguments[-1]
        return size.trials[0].number, {**options, "size": size}

    def promoted(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What `xlite promote` hands on, of a study of three trials, the last the best."""
        rows = [TrialRecord(number, "search", "complete", 0.5 + number / 10) for number in range(3)]
        ledger = SimpleNamespace(rows=lambda: rows, finals=list)
        study = Study(self.asked("--promote-epochs 9 --folds 2"), find_task("chestxray14"), RunConfig())
        opened = SimpleNamespace(study=study, ledger=ledger, prepared=None)
        self.patch.setattr(reopen, "reopen", lambda *_, **__: opened)
        place = "xlite.commands.promote.promote_and_tell"
        return self.stopped_at(place, "promote", self.kd(text))

    def reported(self, command: str, text: str) -> bool:
        """Whether `xlite tune` or `xlite promote` writes a report at its end."""
        calls: list[tuple[Any, ...]] = []
        self.patch.setattr(module(command), "report_at_end", lambda *given: calls.append(given))
        if command == "tune":
            self.promotion(text)
            return bool(calls)
        self.promoted(text)  # up to the promotion; from here on it is left out
        self.patch.setattr("xlite.commands.promote.promote_and_tell", lambda *_, **__: None)
        self.run("promote", self.kd(text))
        return bool(calls)

    def repeating(self, text: str) -> int:
        """How often the folds of a promotion are dealt."""
        study, *_ = self.promoted(text)[0]
        return study.options.num_repeats

    def compared(self, text: str) -> list[int | None]:
        """How many rows of a bank are compared, where they are."""
        search = SimpleNamespace(part=lambda name: [])
        opened = SimpleNamespace(study=None, teacher_key="k", prepared=SimpleNamespace(search=search))
        self.patch.setattr(reopen, "reopen", lambda *_: opened)
        self.patch.setattr(reopen, "same_teacher", lambda *_: None)
        self.patch.setattr("xlite.study.teacher.obtain_bank", lambda *_: None)
        self.patch.setattr(teacher_bank, "tell", lambda *_: None)
        calls: list[int | None] = []

        def compare(*_: Any, num_rows: int | None, console: Console) -> None:
            calls.append(num_rows)
            raise Stopped

        self.patch.setattr(teacher_bank, "compare", compare)
        with suppress(Stopped):
            self.run("bank", self.kd(text))
        return calls

    def opens(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What `xlite compare` opens."""
        return self.stopped_at("xlite.commands.compare_open.open_students", "compare", f"a b {text}")

    def raises_usage(self, command: str, text: str, words: str) -> bool:
        """Whether the options are refused as they are parsed."""
        with pytest.raises(SystemExit):
            parsed(command, text)
        return words in self.capsys.readouterr().err

    def printed(self, command: str, text: str) -> str:
        """What a command prints about the study "kd"."""
        self.run(command, self.kd(text))
        return self.capsys.readouterr().out + "\n".join(self.told.lines)

"""The `xlite` command: one table of its commands, each imported only when it is run."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

import xlite
from xlite.commands import cli
from xlite.errors import EXIT_INPUT, InputError


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        module: of `xlite.commands`, with `parser()` and `run(arguments)`; `runners/<module>.py` runs it too.
        summary: one line for `xlite --help`.
        on_windows: works on native Windows; what searches, trains or writes caches does not.
    """

    module: str
    summary: str
    on_windows: bool = False


COMMANDS = {
    "tune": Command("tune_kd", "search for the best distilled student, rank, retrain and test the winner"),
    "leaderboard": Command("leaderboard", "print the ranked trials of a study", on_windows=True),
    "analyze": Command("analyze", "what a study's trials show: does distillation help, what matters", on_windows=True),
    "report": Command("report", "write what a study searched and found as one HTML file", on_windows=True),
    "compare": Command("compare", "compare students on the same patients, paired, with what they cost"),
    "promote": Command("promote", "retrain a study's winner on all the training data, test and package it"),
    "package": Command("package", "write a promoted model's package again, copy or zip it"),
    "predict": Command("predict", "predict what images show with a packaged model, without PyTorch", on_windows=True),
    "explain": Command("explain", "draw where a promoted model looks", on_windows=True),
    "train": Command("train_one", "train one configuration without a search"),
    "teacher": Command("train_teacher", "train a teacher"),
    "baselines": Command("train_baselines", "train the baselines, without distillation"),
    "prepare": Command("prepare_data", "read, check, cache and split a data set"),
    "balance": Command("check_balance", "measure how often each sampler shows each label", on_windows=True),
    "bank": Command("teacher_bank", "build, find or check a study's teacher bank"),
    "export": Command("export", "make a package's model smaller, 8-bit or half precision, measured on validation"),
    "evaluate": Command("evaluate", "judge a promoted model on other data, with calibration, shift and subgroups"),
    "watch": Command("watch", "show a study in TensorBoard and Optuna's dashboard, also while it runs"),
    "check-gpu": Command("check_gpu", "try this machine's GPU in minutes: numbers, speed, sharing, a killed search"),
}


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the first of `words` names (default: the process's arguments) and exit with its code."""
    words = sys.argv[1:] if words is None else words
    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        print(_usage())
        sys.exit(0)
    if name == "--version":
        print(f"xlite {xlite.__version__}")
        sys.exit(0)
    if name not in COMMANDS:
        print(f"error: xlite has no command {name!r}; commands: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(EXIT_INPUT)
    command = COMMANDS[name]
    # Read when PyTorch loads its OpenMP, here and in Ray's workers: spinning threads keep each other from the cores of
    # a busy machine (benchmarks/waiting.py).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    module = import_module(f"xlite.commands.{command.module}")

    def run(arguments: Namespace) -> int | None:
        if sys.platform == "win32" and not command.on_windows:
            raise InputError(
                f"xlite {name} does not run on native Windows; run it in WSL2 (install with: wsl --install)"
            )
        return module.run(arguments)

    parser = module.parser()
    parser.prog = f"xlite {name}"
    cli.run(run, parser, words[1:])


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: xlite COMMAND [options]",
            "",
            "Hyper-parameter search for knowledge distillation of small medical-image classifiers.",
            "",
            *lines,
            "",
            "xlite COMMAND --help lists a command's options; xlite --version prints the version.",
            "Data and results are in the working directory, or in XLITE_HOME if it is set.",
        ]
    )

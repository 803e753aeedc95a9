"""Try this machine's GPU in minutes: right numbers, speed, sharing, a search killed and continued."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from xlite.commands import cli
from xlite.commands.options import home, shown
from xlite.console import Console, FittedTable
from xlite.errors import InputError
from xlite.gpu_check.run import Results, file_name, line_of, run_steps
from xlite.gpu_check.steps import STEPS, Step

RESULTS = Path("benchmarks") / "results" / "gpu"
_BY_NAME = {step.name: step for step in STEPS}


def parser() -> argparse.ArgumentParser:
    """Options of `xlite check-gpu`."""
    out = cli.parser(
        "Try every GPU path on this machine, each step in a process of its own with a time limit: some 8 minutes on an "
        "H100. Exit 1 if a step failed. Needs no network; Ray and Optuna for the search alone."
    )
    out.add_argument(
        "--steps",
        nargs="+",
        type=_step,
        metavar="NAME",
        help="these only, in the check's order (default: all but the extra ones; --list names them)",
    )
    out.add_argument("--list", action="store_true", help="list the steps and stop")
    out.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu: the same code at toy sizes, to see that it runs"
    )
    out.add_argument(
        "--out",
        type=cli.output_file,
        metavar="FILE",
        help=f"what is found, as JSON, rewritten with every number (default: <card>.json in {RESULTS}/ in a checkout "
        "and on a GPU, else gpu_check_<card>.json here)",
    )
    return out


def run(arguments: argparse.Namespace) -> int:
    """Run the steps and print a table; 1 if one failed."""
    console = Console()
    if arguments.list:
        console.show(_listed())
        return 0
    chosen = arguments.steps or [step for step in STEPS if not step.extra]
    with tempfile.TemporaryDirectory(prefix="xlite-check") as place:
        return _check([step for step in STEPS if step in chosen], arguments, Path(place), console)


def _check(steps: Sequence[Step], arguments: argparse.Namespace, folder: Path, console: Console) -> int:
    """The card first, which names the file, then the others."""
    first = Results(folder / "card.json", {})
    run_steps([_BY_NAME["card"]], arguments.device, folder / "first", first, lambda line: None)
    found = first.steps["card"]
    if found.result == "passed over":
        raise InputError(f"{found.summary}; --device cpu runs the same code at toy sizes")
    console.say(line_of("card", found))
    about = {number["what"]: number["value"] for number in found.numbers}
    card = str(about.get("card", arguments.device))
    file = arguments.out or _default_file(card, on_gpu=arguments.device == "cuda")
    results = Results(file, {"card": card, "device": arguments.device})
    if arguments.steps:
        results.keep_earlier(found)
    results.steps["card"] = found
    if about:
        others = [step for step in steps if step.name != "card"]
        run_steps(others, arguments.device, folder, results, console.say)
    console.show(_table(results))
    console.say(f"Written: {shown(file)}")
    return 1 if results.failed else 0


def _default_file(card: str, *, on_gpu: bool) -> Path:
    name, results = file_name(card), home() / RESULTS
    return results / name if on_gpu and results.parent.is_dir() else home() / f"gpu_check_{name}"


def _table(results: Results) -> FittedTable:
    table = FittedTable({"step": "text", "result": "text", "s": "number", "found": "text"}, dropped_first=[])
    for name, found in results.steps.items():
        first_line = found.summary.partition("\n")[0]
        table.add_row(name, found.result, f"{found.seconds:.0f}", first_line)
    return table


def _listed() -> FittedTable:
    columns = {"step": "text", "limit, s": "number", "expected, s": "number", "needs": "text", "shows": "text"}
    usual = [step for step in STEPS if not step.extra]
    table = FittedTable(
        columns,  # type: ignore[arg-type]
        dropped_first=[],
        note=f"{sum(step.expected_s for step in usual):.0f} s expected on an H100, an estimate, and at most "
        f"{sum(step.limit_s for step in usual):.0f} s; extra steps run when named",
    )
    for step in STEPS:
        needs = [*(["a GPU"] if step.gpu_only else []), *step.needs, *(["--steps"] if step.extra else [])]
        table.add_row(step.name, f"{step.limit_s:.0f}", f"{step.expected_s:.0f}", ", ".join(needs), step.shows)
    return table


def _step(text: str) -> Step:
    if text not in _BY_NAME:
        raise argparse.ArgumentTypeError(f"no step {text!r}; steps: {', '.join(_BY_NAME)}")
    return _BY_NAME[text]

"""Write docs/reference/commands.md and configuration.md from the code: `python docs/make_reference.py`."""

import argparse
import ast
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from xlite.commands.main import COMMANDS
from xlite.commands.options import home
from xlite.config import RunConfig
from xlite.study.plan import FIXED_KEYS
from xlite.tasks import TASKS
from xlite.tasks.target_spec import TARGET_SPECS

FOLDER = Path(__file__).resolve().parent / "reference"
SPACES = FOLDER.parents[1] / "search_spaces"
FIXED_INTRO = "All trials share these; a search space cannot vary them. Set them with the option for them, or `--set`:"
DEFAULTS_INTRO = (
    "What `xlite tune` does on your own data where nothing else is asked for; with phantoms, where that differs."
)
KINDS = {"cpu": "CPU", "cpu_pretrained": "CPU, [pretrained weights](../weights.md)", "cuda": "GPU"}
SPACES_INTRO = "These come with X-Lite. [How to write one](../tutorials/space.md)."
NOTICE = "<!-- Written by docs/make_reference.py; change the code, then run it again. -->"
COMMANDS_INTRO = """\
`xlite COMMAND [options]` runs a command. `xlite COMMAND --help` prints what this page says. From a checkout,
`python runners/FILE.py [options]` does the same.

- A time is written with its unit: `8h`, `30m`, `90s`, `1h30m`. A count may end in `k`, `M` or `G`: `500k`, `6M`.
- Options cannot be abbreviated.
- Where a default is "the task's", [a table](configuration.md#defaults-of-the-tasks) has it.
- Data and results lie in the working directory, or in the folder that the environment variable `XLITE_HOME` names.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | a training failed; `bank --check`, `predict --self-test`: no match; `export`: every graph loses too much; \
`check-gpu`: a step failed; `watch`: a server ended |
| 2 | bad input, a full disk, or a file or database that cannot be used; one line on stderr says which |
| 3 | `predict`, `explain`: files that cannot be read were passed over |
| 130 | stopped by Ctrl-C; the same command continues |
"""
CONFIGURATION_INTRO = """\
A run is described by the keys below. A value comes from the last of these that sets it:

1. the default in the table,
2. the task's defaults for the device, and the study's own epochs, seed and threads,
3. the search space, for each trial,
4. `--set KEY=VALUE` on the command line, which fixes a key that the space searches.

`xlite tune`, `xlite train` and `xlite teacher` take `--set`. A wrong key is refused, and the right ones are named.
Epochs, seed and threads have options of their own.
"""


def pages() -> dict[Path, str]:
    """Each page's file and text."""
    return {FOLDER / "commands.md": commands_page(), FOLDER / "configuration.md": configuration_page()}


def commands_page() -> str:
    """Every command with its options, from its argparse parser."""
    overview = [(f"[`xlite {name}`](#xlite-{name})", command.summary) for name, command in COMMANDS.items()]
    on_windows = ", ".join(f"`{name}`" for name, command in COMMANDS.items() if command.on_windows)
    windows = f"On native Windows only {on_windows} run; the others need WSL2 there."
    parts = ["# Commands", NOTICE, COMMANDS_INTRO.strip(), table(("command", "what it does"), overview), windows]
    owners: dict[tuple[str, tuple[tuple[str, ...], ...]], str] = {}  # the first command that has a group
    for name, command in COMMANDS.items():
        parser = import_module(f"xlite.commands.{command.module}").parser()
        parts += [f"## xlite {name}", f"{parser.description} Also `python runners/{command.module}.py`."]
        shared: dict[str, list[str]] = {}
        for title, rows in option_groups(parser):
            owner = owners.setdefault((title, tuple(rows)), name)
            if owner == name:
                parts.append(table((title, "meaning", "default"), rows))
            else:
                shared.setdefault(owner, []).append(f"*{title}*")
        parts += [f"{', '.join(titles)}: as for [`xlite {owner}`](#xlite-{owner})." for owner, titles in shared.items()]
    return "\n\n".join(parts) + "\n"


def option_groups(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """(title, rows) of each group that has options besides --help. argparse has no public way to list them."""
    for group in parser._action_groups:
        rows = [option_row(action) for action in group._group_actions if action.dest != "help"]
        if rows:
            yield group.title or "options", rows


def option_row(action: argparse.Action) -> tuple[str, str, str]:
    """An option with its value, its meaning and its default."""
    value = "" if action.nargs == 0 else "|".join(action.choices) if action.choices else str(action.metavar)
    words = [", ".join(action.option_strings), value, "..." if action.nargs in ("+", "*") else ""]
    required = " (required)" if action.required and action.nargs != "*" else ""
    option = f"`{' '.join(filter(None, words))}`{required}"
    meaning, _, said = ((action.help or "") % vars(action)).partition(" (default: ")
    said = said.removesuffix(")")
    return option, meaning, (f"`{said}`" if "<" in said else said) or default_of(action)


def default_of(action: argparse.Action) -> str:
    """The default as typed, empty where there is none. Paths are relative to `home()`."""
    default: Any = action.default
    if default in (None, False, [], ()):
        return ""
    if isinstance(default, Path):
        default = default.relative_to(home()).as_posix()
    return f"`{default}`"


def configuration_page() -> str:
    """Every configuration key, from the JSON schema of RunConfig."""
    schema = RunConfig.model_json_schema()
    parts = ["# Configuration", NOTICE, CONFIGURATION_INTRO.strip()]
    for section, reference in schema["properties"].items():
        model = schema["$defs"][reference["$ref"].rsplit("/", 1)[-1]]
        rows = [key_row(f"{section}.{key}", values) for key, values in model["properties"].items()]
        parts += [f"## {section}", model["description"]]
        parts.append(table(("key", "values", "default", "meaning"), rows))
    kinds = [(kind, ", ".join(f"`{loss}`" for loss in spec.losses), spec.metric) for kind, spec in TARGET_SPECS.items()]
    parts += ["## Losses by kind of target", table(("targets", "`loss.name`, the default first", "metric"), kinds)]
    fixed = ", ".join(f"`{key}`" for key in FIXED_KEYS)
    parts += ["## Keys with one value for a study", f"{FIXED_INTRO} {fixed}."]
    parts += ["## Defaults of the tasks", DEFAULTS_INTRO, table(DEFAULTS_HEADER, list(default_rows()))]
    spaces = [(f"`{path.stem}`", first_line(path)) for path in sorted(SPACES.glob("*.py"))]
    parts += ["## Search spaces", SPACES_INTRO, table(("`--space`", "what is searched"), spaces)]
    return "\n\n".join(parts) + "\n"


DEFAULTS_HEADER = (
    *("task", "device", "`--image-size`", "`--space`", "`--trials`", "`--max-epochs`", "`--promote-epochs`"),
    *("`--folds`", "teacher", "its epochs"),
)


def default_rows() -> Iterator[tuple[str, ...]]:
    """Each task's defaults on each kind of device."""
    for name, task in TASKS.items():
        for kind, defaults in task.defaults.items():
            own = defaults.budget
            demo = own if kind == "cpu_pretrained" else defaults.demo_budget  # phantoms never start from weights
            space, backbone = defaults.space.removesuffix(".py"), defaults.teacher.get("model.backbone", "lines")
            yield (
                *(f"`{name}`", KINDS[kind], str(defaults.config["data.image_size"]), f"`{space}`"),
                or_phantoms(own.num_trials, demo.num_trials),
                or_phantoms(own.max_epochs, demo.max_epochs),
                or_phantoms(own.promote_epochs, demo.promote_epochs),
                or_phantoms(defaults.folds, 1),
                f"`{backbone}`",
                or_phantoms(own.teacher_epochs, demo.teacher_epochs),
            )


def or_phantoms(own: int, demo: int) -> str:
    """A default for own data, and that for phantoms where it differs."""
    return str(own) if own == demo else f"{own}; phantoms {demo}"


def first_line(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]


def key_row(key: str, values: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """One key as a row."""
    default = values["default"]
    shown = "none" if default is None else default if isinstance(default, str) else json.dumps(default)
    return f"`{key}`", type_of(values), f"`{shown}`", values.get("description", "")


def type_of(values: Mapping[str, Any]) -> str:
    """Type and range of a JSON schema in words."""
    if "enum" in values:
        return ", ".join(f"`{value}`" for value in values["enum"])
    if "anyOf" in values:
        return " or ".join("none" if each["type"] == "null" else type_of(each) for each in values["anyOf"])
    name = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    ranges = [f"{sign} {values[limit]:,.10g}" for limit, sign in limits.items() if limit in values]
    return ", ".join([name[values["type"]], *ranges])


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")

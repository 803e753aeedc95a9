"""Search spaces: Python files with `space(trial)` and BASELINE, or CONFIGURATIONS."""

import ast
import hashlib
import inspect
import json
import runpy
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from xlite.errors import InputError, SpaceError
from xlite.tasks.target_spec import TARGET_SPECS

Propose = Callable[[optuna.Trial], dict[str, Any]]


@dataclass(frozen=True)
class SearchSpace:
    """What may be searched.

    Attributes:
        propose: define-by-run; returns dotted configuration keys. Raises SpaceError where the file's code fails.
        first: configurations that are run before any is sampled: BASELINE, or all of a grid.
        is_grid: every one of `first` runs to its end and nothing else is run.
        code_hash: 16 hex digits of the file's parsed code, without comments, docstrings and layout. Files that it
            imports are not part of it.
        earlier_hashes: of the file's bytes, by which 0.1.0 identified a space, and those that it names in CONTINUES:
            hashes of former versions of the file, whose studies it continues.
    """

    path: Path
    propose: Propose
    first: tuple[Mapping[str, Any], ...]
    is_grid: bool
    code_hash: str
    earlier_hashes: tuple[str, ...]

    def changed(self, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> "SearchSpace":
        """The same space with every configuration changed after it is chosen."""
        first = tuple(map(change, self.first))
        if self.is_grid:
            return replace(self, propose=_grid_proposal(self.path, first), first=first)
        return replace(self, propose=lambda trial: change(self.propose(trial)), first=first)

    def identified_with(self, values: Mapping[str, Any]) -> "SearchSpace":
        """The same space with `values` as a part of its hashes."""
        if not values:
            return self
        code_hash, *earlier = (
            _digest(json.dumps([own, dict(values)], sort_keys=True)) for own in (self.code_hash, *self.earlier_hashes)
        )
        return replace(self, code_hash=code_hash, earlier_hashes=tuple(earlier))


def load_space(path: Path, kind: str) -> SearchSpace:
    """Run a space file and take what it defines.

    Args:
        kind: of the targets. A space for several kinds has `space(trial, target_kind)` and BASELINE by kind.

    Raises:
        InputError: no such file, it does not run, or it defines neither form.
    """
    if not path.is_file():
        known = ", ".join(sorted(p.name for p in path.parent.glob("*.py"))) if path.parent.is_dir() else "none"
        raise InputError(f"--space {path}: no such file; in that folder: {known}")
    try:
        names = runpy.run_path(str(path))
    except Exception as error:
        raise InputError(f"{path}: it cannot be run: {type(error).__name__}: {error}") from None
    content = path.read_bytes()
    hashes = _digest(_code(content)), (hashlib.sha256(content).hexdigest()[:16], *names.get("CONTINUES", ()))
    if "CONFIGURATIONS" in names:
        configurations = names["CONFIGURATIONS"]
        if isinstance(configurations, Mapping):
            configurations = configurations.get(kind, ())
        grid = tuple(configurations) if isinstance(configurations, Iterable) else ()
        if not grid or not all(isinstance(c, Mapping) for c in grid):
            raise InputError(
                f"{path}: CONFIGURATIONS must be a list of dicts, not empty, or such lists by kind ({kind} here)"
            )
        return SearchSpace(path, _grid_proposal(path, grid), grid, True, *hashes)
    baseline, space = names.get("BASELINE"), names.get("space")
    if isinstance(baseline, Mapping) and baseline and set(baseline) <= {*TARGET_SPECS, kind}:
        baseline = baseline.get(kind)
        if baseline is None:
            raise InputError(f"{path}: BASELINE has none for {kind} targets, which the data has; add one")
    if not callable(space) or not isinstance(baseline, Mapping):
        raise InputError(f"{path}: define `space(trial) -> dict` and the dict BASELINE, or a list CONFIGURATIONS")
    if len(inspect.signature(space).parameters) == 2:
        space = partial(space, target_kind=kind)
    return SearchSpace(path, _guarded(path, space), (baseline,), False, *hashes)


def _guarded(path: Path, space: Callable[[optuna.Trial], Any]) -> Propose:
    """`space`, whose errors name file, line and trial."""

    def propose(trial: optuna.Trial) -> dict[str, Any]:
        try:
            chosen = space(trial)
        except Exception as error:
            frames = traceback.walk_tb(error.__traceback__)
            lines = [f", line {line}" for frame, line in frames if frame.f_code.co_filename == str(path)]
            where = f"{path}{''.join(lines[-1:])}, trial {trial.number}"
            raise SpaceError(f"{where}: space(trial) failed: {type(error).__name__}: {error}") from error
        if not isinstance(chosen, dict):
            raise SpaceError(f"{path}: space(trial) must return a dict, but got {type(chosen).__name__}")
        return chosen

    return propose


def _grid_proposal(path: Path, grid: tuple[Mapping[str, Any], ...]) -> Propose:
    keys = list(grid[0])
    for number, configuration in enumerate(grid):
        if set(configuration) != set(keys):
            odd = sorted(set(configuration) ^ set(keys))
            raise InputError(f"{path}: CONFIGURATIONS[{number}] and [0] differ in keys: {', '.join(odd)}")
        for key, value in configuration.items():
            if not isinstance(value, str | int | float | None):
                raise InputError(f"{path}: CONFIGURATIONS[{number}] has {key}={value!r}; write text, a number or None")
    values = {key: sorted({c[key] for c in grid}, key=repr) for key in keys}

    def propose(trial: optuna.Trial) -> dict[str, Any]:
        return {key: trial.suggest_categorical(key, values[key]) for key in keys}

    return propose


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code(source: bytes) -> str:
    """The parsed code without docstrings. Not `ast.dump`, whose text differs between versions of Python."""

    def shape(node: Any) -> Any:
        if isinstance(node, list):
            return [shape(each) for each in node]
        if not isinstance(node, ast.AST):
            return node
        fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
        if "body" in fields and isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            fields["body"] = node.body[ast.get_docstring(node) is not None :]
        return [type(node).__name__, {name: shape(value) for name, value in fields.items()}]

    return json.dumps(shape(ast.parse(source)), default=repr)

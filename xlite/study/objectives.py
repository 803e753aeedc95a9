"""`--objectives` as typed: names and directions, checked against what a task measures."""

from collections.abc import Sequence
from typing import Literal

from xlite.errors import InputError
from xlite.ledger.objectives import COSTS, Objective
from xlite.tasks.target_spec import TARGET_SPECS, TargetSpec
from xlite.tasks.task import Task

ALIASES = {"auc": "auc_macro"}


def check_before_data(texts: Sequence[str], task: Task) -> None:
    """`resolve_objectives` before data is read, so of any kind of targets that the task may turn out to have.

    Raises:
        InputError: no kind has these objectives; the line is on the first one.
    """
    specs = [task.declared_target_spec] if task.declared_target_spec else list(TARGET_SPECS.values())
    errors = []
    for spec in specs:
        try:
            resolve_objectives(texts, spec)
            return
        except InputError as error:
            errors.append(error)
    raise errors[0]


def resolve_objectives(texts: Sequence[str], target_spec: TargetSpec) -> tuple[str, ...]:
    """Each as "name:direction", the score first; () of none. Gives its own results back unchanged.

    Args:
        texts: names of metrics on validation, or of costs; ":max" or ":min" may follow.

    Raises:
        InputError: a name is unknown, doubled or alone; its direction is unknown, or contradicts the known one; the
            first is not the score.
    """
    if not texts:
        return ()
    found = [_objective(text.strip(), target_spec) for text in texts]
    names = [each.name for each in found]
    given = f"--objectives {','.join(texts)}"
    if names[0] != target_spec.score:
        raise InputError(
            f"{given}: begin with {target_spec.metric}, the score of these targets, which early stopping follows"
        )
    if doubled := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{given}: {doubled[0]} is there twice; name each once")
    if len(names) == 1:
        raise InputError(f"{given}: a search has that objective anyway; name another one too, e.g. latency_ms")
    return tuple(map(str, found))


def _objective(text: str, target_spec: TargetSpec) -> Objective:
    known = _known_directions(target_spec)
    name, colon, direction = text.partition(":")
    name = ALIASES.get(name, name) if name not in known else name
    if name not in known:
        first, *others = dict.fromkeys([target_spec.metric, *COSTS, *known])
        raise InputError(
            f"--objectives {text}: {target_spec.kind} targets have no such metric; choices: {first} (the first one), "
            f"then {', '.join(name for name in others if name != target_spec.score)}"
        )
    wanted = known[name]
    if colon and direction not in ("max", "min"):
        raise InputError(f"--objectives {text}: write {name}:max or {name}:min")
    if wanted is None and not colon:
        raise InputError(
            f"--objectives {text}: whether it is to be high or low is not known; write :max or :min behind"
        )
    if wanted and colon and direction != wanted:
        raise InputError(
            f"--objectives {text}: {name} is to be {'high' if wanted == 'max' else 'low'}; leave out :{direction}"
        )
    if name in (target_spec.metric, target_spec.score):
        return Objective(target_spec.score, "max")
    return Objective(name, "min" if (wanted or direction) == "min" else "max")


def _known_directions(target_spec: TargetSpec) -> dict[str, Literal["max", "min"] | None]:
    """Everything that can be an objective; None: its direction has to be given."""
    return {
        target_spec.score: "max",
        **dict.fromkeys(COSTS, "min"),
        **dict.fromkeys(target_spec.columns.validation_scalars()),
        **target_spec.metrics,
        target_spec.metric: "max" if target_spec.direction == "maximize" else "min",
    }

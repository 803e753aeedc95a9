"""What the text in one cell of a label table means: unknown, yes or no, a number, a list of names, a part."""

import ast
import json
import math
import re
from collections.abc import Iterable, Sequence

PARTS = (
    dict.fromkeys(("train", "training", "trn", "development", "internal_train"), "train")
    | dict.fromkeys(("val", "valid", "validate", "validation", "dev", "tune", "tuning", "internal_validation"), "val")
    | dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), "test")
    | dict.fromkeys(("external", "external_test", "external test", "external_validation", "test_external"), "test")
)
"""Words for the parts of a split, in lower case."""

UNKNOWN = frozenset(("", "na", "nan", "n/a", "<na>", "n.a.", "null", "nat", "?", "-", "--"))
"""Words for "not known", in lower case; people's further ones come with --unknown."""
BLANK_GROUPS = UNKNOWN | frozenset(("unknown", "unk", "none", "missing", "anonymous", "anonymized", "anonymised"))
"""What stands in a patient column where the patient is not known."""
UNCERTAIN = frozenset(("-1", "-1.0"))
"""Read uncertain, as in CheXpert and MIMIC-CXR."""

_FLAGS = dict.fromkeys(
    ("0", "0.0", "false", "no", "n", "f", "nein", "falsch", "absent", "negative", "neg", "negativ", "non", "faux"), 0.0
) | dict.fromkeys(
    ("1", "1.0", "true", "yes", "y", "t", "ja", "wahr", "present", "positive", "pos", "positiv", "oui", "vrai"), 1.0
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
SEPARATORS = ("|", ";", ",", "+", "/", "&", " ")
"""What joins names, the clearest first."""


def is_unknown(text: str) -> bool:
    """Whether a cell means "not known"."""
    return text.lower() in UNKNOWN


def flag(text: str) -> float | None:
    """0.0 or 1.0, NaN if `text` means unknown, None if it is something else."""
    lower = text.lower()
    return math.nan if lower in UNKNOWN else _FLAGS.get(lower)


def is_number(text: str) -> bool:
    """Whether `text` is a decimal number."""
    return _NUMBER.fullmatch(text) is not None


def plain_number(text: str) -> str:
    """A number as people write it: "1.0" and "01" are "1"; other text as it is."""
    if not is_number(text) or len(text) > 15:
        return text
    value = float(text)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def with_decimal_points(texts: Sequence[str]) -> list[str]:
    """A column with "1,5" written "1.5", if all its numbers have such a comma or none; else the column as it is."""
    known = [text for text in texts if text.lower() not in UNKNOWN]
    if not all(_DECIMAL_COMMA.fullmatch(text) or is_number(text) for text in known):
        return list(texts)
    return [text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text for text in texts]


def is_list(text: str) -> bool:
    """Whether a cell is a list as Python, JSON or numpy write it."""
    return len(text) > 1 and text[0] + text[-1] in ("[]", "()", "{}")


def names_of_list(text: str) -> list[str]:
    """The names in a cell that `is_list`: of Python ('a', 'b'), JSON ("a", "b"), numpy ('a' 'b'), or bare (a, b)."""
    inner = text[1:-1].strip()
    if not inner:
        return []
    if quoted := [a or b for a, b in _QUOTED.findall(inner)]:
        if not re.sub(r"[\s,]", "", _QUOTED.sub("", inner)):
            return _stripped(quoted)
        for parse in (ast.literal_eval, json.loads):  # escaped quotes
            try:
                return _stripped(map(str, parse(text)))
            except (ValueError, SyntaxError, TypeError):
                continue
    return _stripped(inner.split(","))


def split_names(text: str, separators: str) -> list[str]:
    """The names in a cell of a list, or of text joined by any of `separators`; stripped, none empty."""
    return names_of_list(text) if is_list(text) else _stripped(re.split(f"[{re.escape(separators)}]", text))


def _stripped(names: Iterable[str]) -> list[str]:
    return [name for text in names if (name := text.strip())]


def group_key(text: str) -> str:
    """One form for the ways a patient's number is written: "007" and "7", "P01 " and "p01"."""
    folded = text.strip().casefold()
    if re.fullmatch(r"\d+(\.0+)?", folded):
        return folded.split(".")[0].lstrip("0") or "0"
    return folded

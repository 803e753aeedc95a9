"""Text from data sets and users, made safe for CSV files, spreadsheets, terminals and folder names."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from xlite.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# Control characters, line and paragraph separators, bidirectional overrides, lone surrogates.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_text(rows: Iterable[Sequence[object]], *, escaped: bool = False) -> str:
    """Rows as CSV, lines ending in "\\n". Text cells go through `escape_cell`, numbers stay as they are.

    Args:
        escaped: text cells have been escaped already, and numbers formatted.
    """
    lines = []
    for row in rows:
        line = io.StringIO(newline="")
        cells = [escape_cell(cell) if isinstance(cell, str) and not escaped else cell for cell in row]
        # The writer quotes cells that hold its own line ending; with \r\n that includes a lone \r.
        csv.writer(line, lineterminator="\r\n").writerow(cells)
        lines.append(line.getvalue().removesuffix("\r\n"))
    return "".join(f"{line}\n" for line in lines)


def escape_cell(text: str) -> str:
    """`text` with an apostrophe in front if a spreadsheet would run it as a formula, or if it begins with one."""
    return "'" + text if text.startswith((*_FORMULA_STARTS, "'")) else text


def unescape_cell(cell: str) -> str:
    """The inverse of `escape_cell`."""
    return cell.removeprefix("'")


def has_control_characters(text: str) -> bool:
    """Whether `text` holds characters that control a terminal, break a line or change the direction of writing."""
    return _CONTROLS.search(text) is not None


def escape_control_characters(text: str) -> str:
    """`text` with each control character written as an escape such as \\x1b."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def single_line(text: str) -> str:
    """`text` on one line, whitespace collapsed, control characters escaped."""
    return escape_control_characters(" ".join(text.split()))


def checked_name(name: str, label: str) -> str:
    """Return `name` if it is safe as a folder name.

    Args:
        label: what the name is, for the message, e.g. "study name".

    Raises:
        InputError: it is empty, too long, or holds other characters than letters, digits, ".", "_" and "-".
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{label} {name!r}: use letters, digits, '.', '_' and '-' only, starting with a letter or digit, "
            "at most 128"
        )
    return name

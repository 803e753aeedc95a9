"""Markdown that names from foreign data cannot break: tables, code, text without HTML, links or pictures."""

import html
import re
from collections.abc import Sequence

from xlite.storage.text import single_line

_SPECIAL = re.compile(r"([\\`*_{}\[\]|#~])")


def inert(text: object) -> str:
    """`text` on one line, shown as it is: neither HTML nor Markdown in it acts."""
    return _SPECIAL.sub(r"\\\1", html.escape(single_line(str(text)), quote=False))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; foreign text in them has to be `inert`."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def code_block(language: str, *lines: str) -> str:
    """Lines as code."""
    return "\n".join([f"```{language}", *lines, "```"])

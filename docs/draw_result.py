"""Draw docs/pictures/result.svg, the tables at the end of the log in docs/tutorials/first-run.md.

`python docs/draw_result.py` draws them; `xlite tune | tee run.txt; python docs/draw_result.py run.txt` takes a new log.
"""

import re
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

FOLDER = Path(__file__).resolve().parent
LOG, PICTURE = FOLDER / "tutorials" / "first-run.md", FOLDER / "pictures" / "result.svg"


def draw() -> str:
    """The picture as SVG text."""
    lines = tables(LOG.read_text(encoding="utf-8"))
    console = Console(record=True, width=max(map(len, lines)), file=StringIO(), legacy_windows=False)
    for line in lines:
        console.print(Text(line))
    svg = console.export_svg(title="xlite tune", theme=MONOKAI, unique_id="result")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # Rich names fonts on a server; none are loaded
    return svg.replace("Fira Code", "Menlo, Consolas, DejaVu Sans Mono")


def parts_of(page: str) -> tuple[str, str, str]:
    """What comes before the log, the log, and what comes after."""
    before, _, rest = page.partition("```text\n")
    log, _, after = rest.partition("```\n")
    return before + "```text\n", log, "```\n" + after


def tables(page: str) -> list[str]:
    """The lines of the log from its first table to its end; the log is the page's only text block."""
    _, log, _ = parts_of(page)
    lines = log.splitlines()
    return lines[next(number for number, line in enumerate(lines) if line.startswith("┏")) :]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        before, _, after = parts_of(LOG.read_text(encoding="utf-8"))
        LOG.write_text(before + Path(sys.argv[1]).read_text(encoding="utf-8") + after, encoding="utf-8")
    PICTURE.write_text(draw(), encoding="utf-8")

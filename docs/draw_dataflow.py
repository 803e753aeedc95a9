"""Draw docs/pictures/dataflow.svg: the packages of xlite/ and what passes between them.

`python docs/draw_dataflow.py`. The text in a box is the first docstring line of its package.
"""

import ast
import textwrap
from pathlib import Path
from xml.sax.saxutils import escape

REPO = Path(__file__).resolve().parents[1]
PICTURE = REPO / "docs" / "pictures" / "dataflow.svg"
BOXES = {
    # name: (column, row); several packages may share a box
    ("raw files",): (0, 0),
    ("data",): (1, 0),
    ("distill",): (2, 0),
    ("train",): (3, 0),
    ("models", "losses", "metrics"): (4, 0),
    ("tasks",): (1, 1),
    ("study",): (2, 1),
    ("tune",): (3, 1),
    ("gpu", "gpu_check"): (4, 1),
    ("predictor", "package"): (0, 2),
    ("promoted package",): (1, 2),
    ("promotion",): (2, 2),
    ("ledger",): (3, 2),
    ("samplers",): (4, 2),
    ("explain", "evaluate"): (0, 3),
    ("export",): (1, 3),
    ("leaderboard, reports",): (2, 3),
    ("report", "html_report"): (3, 3),
}
OUTSIDE = {
    "raw files": "Your images, volumes or scans, and a table of labels.",
    "promoted package": "model.onnx, weights, thresholds, test results, card, predict.py.",
    "leaderboard, reports": "leaderboard.csv, report.html, analysis.md, TensorBoard curves.",
}
ARROWS = (
    # from, to, what passes
    ("raw files", "data", "images, labels"),
    ("tasks", "data", "reader"),
    ("tasks", "study", "defaults"),
    ("data", "distill", "views"),
    ("distill", "train", "views, logits"),
    ("models", "train", "student"),
    ("study", "tune", "plan"),
    ("gpu", "tune", "shares"),
    ("tune", "train", "trial ⇅ epochs"),
    ("tune", "ledger", "results ⇅ proposals"),
    ("samplers", "ledger", "next trial"),
    ("ledger", "promotion", "winner"),
    ("promotion", "promoted package", ""),
    ("export", "promoted package", "ONNX, card"),
    ("promoted package", "predictor", "xlite.load"),
    ("predictor", "explain", "answers"),
    ("ledger", "report", "rows"),
    ("report", "leaderboard, reports", ""),
)
EVERYWHERE = ("commands", "config", "console", "cores", "device", "errors", "storage")
"""Used by all; not drawn."""

WIDTH, GAP_X, GAP_Y, MARGIN, LINE, CHARACTERS = 200, 96, 44, 16, 15, 28


def draw() -> str:
    """The picture as SVG text."""
    texts = {names: [line for name in names for line in box_lines(name)] for names in BOXES}
    heights = [max(len(texts[n]) for n, (_, r) in BOXES.items() if r == row) * LINE + 14 for row in range(4)]
    tops = [MARGIN + sum(heights[:row]) + row * GAP_Y for row in range(4)]
    places = {}
    for names, (column, row) in BOXES.items():
        x, height = MARGIN + column * (WIDTH + GAP_X), len(texts[names]) * LINE + 14
        places[names] = (x, tops[row] + (heights[row] - height) / 2, height)
    of = {name: places[names] for names in BOXES for name in names}
    footer = f"Used by all parts: {', '.join(EVERYWHERE)}. xlite/commands holds what `xlite COMMAND` runs."
    width, height = MARGIN * 2 + 5 * WIDTH + 4 * GAP_X, tops[-1] + heights[-1] + 40
    drawn = [arrow(of[start], of[end], label) for start, end, label in ARROWS]
    drawn += [box(places[names], texts[names], is_outside=names[0] in OUTSIDE) for names in BOXES]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="Helvetica, Arial, sans-serif" font-size="12">',
            "<title>How data flows through X-Lite</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *drawn,
            f'<text x="{MARGIN}" y="{height - 14}" fill="#555">{escape(footer)}</text>',
            "</svg>\n",
        ]
    )


def box_lines(name: str) -> list[str]:
    """Title and wrapped text of one package or thing."""
    if name in OUTSIDE:
        text = OUTSIDE[name]
    else:
        path = REPO / "xlite" / name / "__init__.py"
        path = path if path.exists() else path.parent.with_suffix(".py")
        text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]
    return [f"#{name}", *textwrap.wrap(text, CHARACTERS)]


def box(place: tuple[float, float, float], lines: list[str], *, is_outside: bool) -> str:
    """A rectangle with its lines; those that begin with # are titles."""
    x, y, height = place
    colours = 'fill="#fff6e0" stroke="#b58a2b"' if is_outside else 'fill="#eaf2fb" stroke="#3b6ea5"'
    out = [f'<rect x="{x}" y="{y:g}" width="{WIDTH}" height="{height:g}" rx="6" {colours}/>']
    for number, line in enumerate(lines):
        bold = ' font-weight="bold"' if line.startswith("#") else ""
        at = y + 18 + number * LINE
        out.append(f'<text x="{x + 8}" y="{at:g}"{bold}>{escape(line.removeprefix("#"))}</text>')
    return "\n".join(out)


def arrow(start: tuple[float, float, float], end: tuple[float, float, float], label: str) -> str:
    """A straight arrow between the facing sides of two boxes, with its label; ⇅ points both ways."""
    (x1, y1, h1), (x2, y2, h2) = start, end
    if x1 == x2:
        x1 = x2 = x1 + WIDTH / 2
        y1, y2 = (y1 + h1, y2) if y1 < y2 else (y1, y2 + h2)
        text = f'x="{x1 + 6:g}" y="{(y1 + y2) / 2 + 4:g}"'
    else:
        x1, x2 = (x1 + WIDTH, x2) if x1 < x2 else (x1, x2 + WIDTH)
        y1 = y2 = max(y1, y2) + min(h1, h2) / 2
        text = f'x="{(x1 + x2) / 2:g}" y="{y1 - 6:g}" text-anchor="middle"'
    both = ' marker-start="url(#tip)"' if "⇅" in label else ""
    line = f'<path d="M{x1:g},{y1:g} L{x2:g},{y2:g}" stroke="#555" fill="none" marker-end="url(#tip)"{both}/>'
    return f'{line}\n<text {text} fill="#333" font-size="11">{escape(label)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")

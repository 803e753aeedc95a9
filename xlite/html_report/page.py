"""The report's HTML: one file with its style, its script and Plotly inside, which asks the network for nothing."""

import base64
import gzip
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from xlite.html_report.parts import Figure, Section


def page(
    title: str, subtitle: str, tiles: Sequence[tuple[str, str, str]], sections: Sequence[Section], made: str
) -> str:
    """The whole page.

    Args:
        tiles: (what, value, more) of the figures at its top.
        made: a line on when and by what it was made.
    """
    environment = Environment(
        loader=PackageLoader("xlite.html_report", "."), autoescape=True, undefined=StrictUndefined
    )
    figures = [_drawn(block) for section in sections for block in section.blocks if isinstance(block, Figure)]
    return environment.get_template("report.html").render(
        title=title,
        subtitle=subtitle,
        tiles=tiles,
        sections=sections,
        figures=figures,
        plotly=plotly_gzipped() if figures else "",
        made=made,
    )


def _drawn(figure: Figure) -> dict[str, Any]:
    return _json({"data": figure.traces, "layout": figure.layout})


def _json(value: Any) -> Any:
    """The same as JSON holds it: null for NaN and infinities, which it does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, list | tuple) else value


@cache
def plotly_gzipped() -> str:
    """plotly.min.js as it came with the Python package, gzip in base64: 2 MB instead of 4.8."""
    spec = find_spec("plotly")  # not imported: all that is needed of it is this file
    assert spec is not None and spec.origin is not None
    script = Path(spec.origin).parent / "package_data" / "plotly.min.js"
    return base64.b64encode(gzip.compress(script.read_bytes(), 6, mtime=0)).decode("ascii")

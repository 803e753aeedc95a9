"""Lines and tables at the width of their terminal: numbers stay whole, and what has no room is named."""

import io
import re

import pytest
from rich.console import Console as RichConsole

from xlite.console import Console, FittedTable

WIDTHS = (60, 80, 100, 140)


def screen(width: int | None = None) -> tuple[Console, io.StringIO]:
    """A terminal of that width; None: a pipe."""
    out = io.StringIO()
    terminal = {"force_terminal": True, "width": width, "color_system": None} if width else {}
    return Console(RichConsole(file=out, soft_wrap=True, highlight=False, **terminal)), out


def shown(table: FittedTable, width: int | None = None) -> str:
    console, out = screen(width)
    console.show(table)
    return out.getvalue()


def wide_table() -> FittedTable:
    """Four columns that stay, 42 characters with the gaps between them, and eight more of 13."""
    more = [f"column {number}" for number in range(8)]
    table = FittedTable(
        {"name": "text", "value": "number", **dict.fromkeys(more, "number"), "kind": "text", "last": "number"},
        dropped_first=more,
        complete_in="all.csv",
        note="a note",
    )
    table.add_row("a" * 12, "0.12345678", *(f"0.{number}23456789" for number in range(8)), "some kind", "1.5")
    table.add_row("b", "", *["-"] * 8, "", "12.25")
    return table


@pytest.mark.parametrize(("width", "num_dropped"), [(60, 7), (80, 6), (100, 4), (140, 1), (146, 0)])
def test_columns_are_dropped_in_their_order_and_named(width: int, num_dropped: int) -> None:
    text = shown(wide_table(), width)
    dropped = [f"column {number}" for number in range(num_dropped)]
    named = re.search(r"No room for: (.*). All columns are in all.csv", " ".join(text.split()))
    assert (named[1].split(", ") if named else []) == dropped
    for number in range(8):
        assert (f"0.{number}23456789" in text) == (number >= num_dropped)
    assert "0.12345678" in text and "a" * 12 in text and "12.25" in text and "a note" in text
    assert max(map(len, text.splitlines())) <= width and "…" not in text


def test_a_pipe_gets_all_of_a_table_whatever_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = shown(wide_table())
    assert all(f"0.{number}23456789" in text for number in range(8)) and "No room" not in text
    assert len({len(line) for line in text.splitlines()[:-1]}) == 1  # every line as long as the frame


def test_text_is_folded_where_nothing_is_left_to_drop_and_numbers_never() -> None:
    table = FittedTable({"label": "text", "AUC": "number"}, dropped_first=())
    table.add_row("a very long label " * 3, "0.123456789")
    text = shown(table, 30)
    assert "0.123456789" in text and max(map(len, text.splitlines())) <= 30
    assert "".join(text.split()).count("long") == 3
    assert "0.123456789" in shown(table, 10)  # rather beyond the edge than cut


def test_a_column_that_may_go_goes_when_it_is_empty() -> None:
    table = FittedTable({"rank": "number", "test": "number"}, dropped_first=["test"], complete_in="all.csv")
    table.add_row("1", "")
    assert "test" not in shown(table, 100) and "No room" not in shown(table, 100)


def test_markup_and_control_characters_are_shown_as_they_are() -> None:
    table = FittedTable({"label": "text"}, dropped_first=())
    table.add_row("[bold]x[/bold]\x1b[2J\n:smile:")
    console, out = screen(80)
    console.say("[red]y[/red] :smile: \x1b[2J")
    assert "[bold]x[/bold]\\x1b[2J :smile:" in shown(table, 80)
    assert out.getvalue() == "[red]y[/red] :smile: \\x1b[2J\n"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_line_is_wrapped_between_words_on_a_terminal_only(width: int) -> None:
    line = "  a path /results/" + "x" * 150 + " " + " ".join(f"0.{number}" for number in range(10_000, 10_060))
    console, out = screen(width)
    console.say(line + "\n\nend")
    wrapped = out.getvalue()
    assert wrapped.split() == [*line.split(), "end"]
    assert all(len(part) <= width or part.startswith("/results/") for part in wrapped.splitlines())
    assert wrapped.startswith("  a path") and wrapped.endswith("\n\nend\n")
    piped, out = screen()
    piped.say(line)
    assert out.getvalue() == line + "\n"

"""The report in a real Chromium: it draws, sorts, filters, fits the window, is worked by keyboard, asks for nothing."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, chromium
from made_up import promoted, write_study

from xlite.html_report.write import write_report

EVIL = "<script>alert(1)</script>"
LINK = '<a href="https://example.org/">x</a>'
TIMEOUT_S = 30


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 20 trials; labels and reasons would run in a page that did not escape them."""
    home = tmp_path_factory.mktemp("report")
    folder = write_study(home / "kd", 20, reason=f"{EVIL} {LINK} in {home}/p7/00000123_000.png: unreadable")
    promoted(folder, (EVIL, LINK, "Effusion", "=cmd|' /C calc'!A0", "%{x}{{7*7}}"))
    write_report(folder, home / "report.html", why_not="not here")
    return home / "report.html"


def opened(browser: Browser, page: Path, *, width: int = 1440) -> None:
    """Load the page and wait until its charts are drawn."""
    browser.open(page, width=width)
    ends = time.monotonic() + TIMEOUT_S
    while not browser.run("return document.documentElement.dataset.drawn"):
        assert time.monotonic() < ends, (browser.console(), browser.run("return document.body.innerText.slice(0, 500)"))
        time.sleep(0.05)


def column(browser: Browser, name: str) -> list[str]:
    """The visible cells of a column of the leaderboard, from the top."""
    script = """
        const table = document.querySelector("#leaderboard table");
        const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
        const rows = [...table.tBodies[0].rows].filter(row => row.offsetParent !== null);
        return rows.map(row => row.cells[heads.indexOf(arguments[0])].textContent);"""
    return browser.run(script, name)


def press(browser: Browser, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(browser.driver).send_keys(key).perform()


@pytest.mark.parametrize("width", [1440, 375])
def test_every_chart_is_drawn_and_the_page_fits(browser: Browser, page: Path, width: int) -> None:
    opened(browser, page, width=width)
    figures = browser.run("return document.querySelectorAll('[data-figure]').length")
    drawn = browser.run("return document.querySelectorAll('[data-figure]:has(.main-svg)').length")
    assert figures >= 10 and drawn == figures
    assert browser.overflow() <= 0
    narrow = "return [...document.querySelectorAll('td, th')].filter(c => c.textContent && c.clientWidth < 20).length"
    assert browser.run(narrow) == 0, "no column is a letter wide"
    assert browser.console() == [] and browser.requests() == []
    assert page.stat().st_size < 5e6


def test_names_are_shown_and_not_run(browser: Browser, page: Path) -> None:
    opened(browser, page)  # an alert would raise here
    text = browser.run("return document.body.innerText")
    assert EVIL in text and LINK in text and "%{x}{{7*7}}" in text
    svg = browser.run("return [...document.querySelectorAll('svg')].map(one => one.textContent).join(' ')")
    assert EVIL in svg and LINK in svg
    assert browser.run("return document.querySelectorAll('a[href*=example]').length") == 0
    assert (
        browser.run("return document.querySelectorAll('script').length") == 4
    )  # plotly twice, figures, the page's own


def test_a_header_sorts_by_number_and_back(browser: Browser, page: Path) -> None:
    opened(browser, page)
    by_name = (
        'return [...document.querySelectorAll("#leaderboard th button")].find(b => b.textContent === arguments[0])'
    )
    button = browser.run(by_name, "learning rate")
    button.click()
    values = [float(cell) for cell in column(browser, "learning rate")]
    assert values == sorted(values) and len(set(values)) > 5
    button.click()
    assert [float(cell) for cell in column(browser, "learning rate")] == sorted(values, reverse=True)
    head = button.find_element("xpath", "..")
    assert head.get_attribute("aria-sort") == "descending"
    browser.run(by_name, "validation").click()
    cells = column(browser, "validation")
    assert cells.index("") == len([cell for cell in cells if cell]), "rows without a value come last"


def test_the_keyboard_reaches_a_header_and_sorts(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    active = "return document.activeElement.matches('#leaderboard th button') && document.activeElement.textContent"
    for _ in range(60):
        press(browser, Keys.TAB)
        if browser.run(active):
            break
    assert browser.run(active) == "rank"
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus is seen"
    press(browser, Keys.TAB, Keys.ENTER)
    trials = [int(cell) for cell in column(browser, "trial")]
    assert trials == sorted(trials)


def test_text_and_state_filter_together(browser: Browser, page: Path) -> None:
    opened(browser, page)
    everything = column(browser, "trial")
    browser.driver.find_element("css selector", "#leaderboard select").send_keys("pruned")
    pruned = column(browser, "state")
    assert set(pruned) == {"pruned"} and 0 < len(pruned) < len(everything)
    browser.driver.find_element("css selector", "#leaderboard input").send_keys("MHSA")
    assert set(column(browser, "attention")) == {"mhsa"} and len(column(browser, "trial")) < len(pruned)
    counted = browser.driver.find_element("css selector", "#leaderboard output").text
    assert counted == f"{len(column(browser, 'trial'))} of {len(everything)} rows"


def test_no_path_and_no_file_name_is_told(page: Path) -> None:
    text = page.read_text()
    assert "(path)" in text
    for secret in (str(page.parent), "00000123", "pytest-of"):
        assert secret not in text


def test_without_scripts_texts_and_tables_are_there(browser: Browser, page: Path) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(page)
        assert "mobilenetv3_small_050" in browser.driver.find_element("id", "leaderboard").text
        assert "need JavaScript" in browser.driver.find_element("tag name", "body").text
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})

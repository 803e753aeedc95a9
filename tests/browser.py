"""Debian's Chromium, headless, for tests of the pages that X-Lite writes and serves; skips where there is none."""

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = "chromium", "chromedriver"
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


class Browser:
    """A page in Chromium; `driver` is selenium's, for all that has no method here."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path | str, *, width: int = 1440, height: int = 900) -> None:
        """Load a file or an address, `width` CSS pixels wide; what the console said before is forgotten."""
        self.resize(width, height)
        self.console()
        self.driver.get(page.resolve().as_uri() if isinstance(page, Path) else page)

    def resize(self, width: int, height: int = 900) -> None:
        """Set the page's size; a window itself is never narrower than about 500 px."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def run(self, script: str, *arguments: Any) -> Any:
        """What `script`, the body of a function, returns."""
        return self.driver.execute_script(script, *arguments)

    def console(self) -> list[str]:
        """Errors and warnings of the console since the last call: of scripts, of files and addresses not loaded."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Addresses that the page asked for beside itself, those of data in the page aside."""
        asked = self.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
        return [address for address in asked if not address.startswith(("data:", "blob:"))]

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window: what a reader would have to scroll sideways."""
        return self.run("return document.scrollingElement.scrollWidth - window.innerWidth")

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the `whole` page, as PNG."""
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A headless Chromium with its profile in `folder`, ended with the block; skips where it is not installed."""
    paths = shutil.which(CHROMIUM), shutil.which(DRIVER)
    for name, path in zip((CHROMIUM, DRIVER), paths, strict=True):
        if path is None:
            pytest.skip(f"no {name} here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environment = {**os.environ, "HOME": str(folder), "no_proxy": "127.0.0.1,localhost"}
    service = webdriver.ChromeService(executable_path=paths[1], env=environment)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()  # ends the driver and the browser that it started, and no other

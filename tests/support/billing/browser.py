"""The billing page in a headless Chromium, over the API on a real port.

Chromium is Debian's, which `./sluice test` installs (tools/run_tests.py); Playwright drives it, and
its own browsers are not downloaded. axe-core is one of the tests' npm packages. Without one of them
the tests fail and print how to install it, and no test is skipped. Images of the pages that the
tests see are stored in SCREENSHOTS.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from cli.stack import paths
from local.parts import packages
from shared.http_api.server import ApiServer
from tests.support.billing.api import Api
from tools import foreign_programs
from tools.run_tests import NODE_PACKAGES

SCREENSHOTS: Final = paths.STATE / "test-output" / "billing-page"
_OPTIONS: Final = ("--no-sandbox", "--disable-dev-shm-usage", "--force-prefers-reduced-motion")
_TIMEOUT_MS: Final = 120_000


class Shown(Struct, frozen=True):
    """The page in a browser. `asked` are the addresses that the page requested; `faults` are the
    errors that it reported."""

    page: Page
    address: str
    asked: list[str]
    faults: list[str]

    def keep(self, name: str) -> Path:
        """Keep an image of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path, full_page=True)
        return path

    def violations(self) -> list[str]:
        """Return the faults that axe-core finds, each with its element."""
        source = foreign_programs.fetch_modules(NODE_PACKAGES) / "axe-core" / "axe.min.js"
        # The page's policy allows only its own scripts, so axe-core is run by evaluate().
        self.page.evaluate(source.read_text())
        found: Any = self.page.evaluate("async () => (await axe.run()).violations")
        return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Yield a headless Chromium. A thread may have only one at a time."""
    chromium = packages.find_program("chromium")
    assert chromium, "Chromium is missing: run `./sluice test`, or install Debian's chromium"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=str(chromium), args=list(_OPTIONS), timeout=_TIMEOUT_MS
        )
        yield browser
        browser.close()


@contextmanager
def shown_page(browser: Browser, api: Api, width: int = 1280, height: int = 900) -> Iterator[Shown]:
    """Yield the page of this API, in a window of this size."""
    server = ApiServer(api.app, "127.0.0.1", 0, "test")
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(_TIMEOUT_MS)
    page = context.new_page()
    shown = Shown(page, f"http://127.0.0.1:{server.port}/", [], [])
    page.on("request", lambda request: shown.asked.append(request.url))
    page.on("pageerror", lambda error: shown.faults.append(str(error)))
    page.on("console", lambda said: _note(shown, said))
    try:
        yield shown
    finally:
        context.close()
        server.close()


def _note(shown: Shown, said: ConsoleMessage) -> None:
    if said.type == "error":
        shown.faults.append(said.text)

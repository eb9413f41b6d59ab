"""The billing page in a real browser: what it shows, offers and prints, and who can use it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator

from services.billing.core.cells import Cell
from tests.support.billing.api import CLOSED_MONTH, MONTH, Api, open_api
from tests.support.billing.browser import Shown, open_browser, shown_page

# One process has the browser.
pytestmark = pytest.mark.xdist_group("browser")

PHONE = 390


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with open_api(tmp_path_factory.mktemp("views")) as found:
        rows = [(Cell("shop", f"m{number:04d}", "", "billed", "05"), 1) for number in range(250)]
        found.count(MONTH, rows)
        found.close(CLOSED_MONTH)
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def wide(browser: Browser, api: Api) -> Iterator[Shown]:
    with shown_page(browser, api) as found:
        enter(found, api)
        yield found


def key_of(api: Api) -> str:
    return api.keys.make()["Authorization"].removeprefix("Bearer ")


def enter(shown: Shown, api: Api) -> None:
    """Open the page and enter a key."""
    shown.page.goto(shown.address)
    shown.page.get_by_label("Access key").fill(key_of(api))
    shown.page.get_by_role("button", name="Show the counts").click()
    shown.page.locator("#message", has_text="billed messages").wait_for()


def choose(shown: Shown, month: str) -> None:
    shown.page.locator("#month").select_option(month)
    wait_for(shown, month)


def wait_for(shown: Shown, month: str) -> None:
    """Wait until a month is drawn. Of a closed one its next statement is drawn last; the server
    compares one month at a time, and refuses whoever asks meanwhile."""
    shown.page.locator("#message", has_text=f"{month}:").wait_for()
    if month == CLOSED_MONTH:
        next_statement(shown).wait_for()


def next_statement(shown: Shown) -> Locator:
    return shown.page.locator("#summary dt", has_text="Waiting for the next statement")


def waiting_of(shown: Shown) -> str:
    """What the page says of a closed month's next statement."""
    return next_statement(shown).locator("xpath=following-sibling::dd[1]").inner_text()


def rows_of(shown: Shown, table: str) -> list[list[str]]:
    lines = shown.page.locator(f"#{table} tr")
    return [line.locator("th, td").all_inner_texts() for line in lines.all()]


def test_the_months_are_offered_with_their_states(wide: Shown) -> None:
    options = wide.page.locator("#month option").all_inner_texts()
    assert options == [f"{MONTH} (open)", f"{CLOSED_MONTH} (closed)"]


@pytest.mark.parametrize(("month", "billed"), [(MONTH, "268"), (CLOSED_MONTH, "18")])
def test_totals_days_and_rows_are_those_of_the_api(
    wide: Shown, api: Api, month: str, billed: str
) -> None:
    choose(wide, month)
    usage = api.get("/v1/usage", month=month, group="day").json()
    totals = {row[0]: row[1] for row in rows_of(wide, "totals")[1:]}
    assert totals["billed"] == billed == str(usage["totals"]["billed"])
    assert totals["refused"] == "1"
    bars = wide.page.locator("#chart rect")
    assert bars.count() == (30 if month == MONTH else 31)
    titles = wide.page.locator("#chart title").all_text_contents()
    assert [each for each in titles if not each.endswith(": 0")] == [
        f"{row['day']}: {row['billed']}" for row in usage["rows"] if row["billed"]
    ]
    assert ["bank", "letters", "–", "5"] in [row[:4] for row in rows_of(wide, "rows")]
    assert ["shop", "news", "south", "7"] in [row[:4] for row in rows_of(wide, "rows")] or (
        month == MONTH
    )


def test_more_rows_come_by_pages_and_none_twice(wide: Shown) -> None:
    choose(wide, MONTH)
    assert len(rows_of(wide, "rows")) == 201
    caption = wide.page.locator("#rows caption")
    assert "the first 200 rows; the files have all rows" in caption.inner_text()
    wide.page.get_by_role("button", name="Show more rows").click()
    wide.page.locator("#message", has_text="254 rows").wait_for()
    shown = [tuple(row[:3]) for row in rows_of(wide, "rows")[1:]]
    assert len(set(shown)) == len(shown) == 254
    assert caption.inner_text() == "Counts by mailing and sub-client"
    wide.keep("more-rows")


def test_every_file_can_be_downloaded(wide: Shown) -> None:
    choose(wide, CLOSED_MONTH)
    names = wide.page.locator("#files button").all_inner_texts()
    assert {"CSV", "XLSX", "Parquet", "Statement, not signed"} <= set(names)
    files = set()
    for name in names:
        with wide.page.expect_download() as waiting:
            wide.page.get_by_role("button", name=name, exact=True).click()
        found = waiting.value
        assert CLOSED_MONTH in found.suggested_filename
        files.add(found.suggested_filename)
        assert Path(found.path()).stat().st_size > 100, name
    statement = json.loads(Path(found.path()).read_text().splitlines()[0])
    assert statement[0] == CLOSED_MONTH
    assert len(files) == len(names)  # none is saved over another


def test_a_closed_month_says_which_months_it_corrects(wide: Shown) -> None:
    choose(wide, CLOSED_MONTH)
    assert "none: no earlier month is corrected" in wide.page.locator("#summary").inner_text()
    adjusted = {"lines": 9, "adjustments": 2, "adjusted": {"billed": -3, "in_doubt": 1_200}}
    assert wide.page.evaluate("adjustmentsOf", adjusted) == (
        "of earlier months, not in the totals: billed -3, in doubt +1,200"
        " (2 lines of the statement)"
    )


def test_a_closed_month_says_what_waits_for_the_next_statement(wide: Shown, api: Api) -> None:
    choose(wide, CLOSED_MONTH)
    assert waiting_of(wide) == "none"
    late = Cell("shop", "news", "south", "billed", "30")
    api.count(CLOSED_MONTH, [(late, 1_234)])
    choose(wide, MONTH)
    choose(wide, CLOSED_MONTH)
    assert waiting_of(wide) == "billed +1,234"
    assert rows_of(wide, "totals")[1][1] == "18"  # the statement does not change
    api.count(CLOSED_MONTH, [(late, -1_234)])


def test_the_page_begins_with_the_present_month_though_events_name_later_ones(
    browser: Browser, tmp_path: Path
) -> None:
    with open_api(tmp_path) as api, shown_page(browser, api) as shown:
        api.count("2027-05", [(Cell("shop", "news", "", "billed", "01"), 1)])
        enter(shown, api)
        assert shown.page.locator("#month").input_value() == MONTH
        first = shown.page.locator("#month option").all_inner_texts()[0]
        assert first == "2027-05 (in the future)"


def test_the_page_asks_its_own_server_only_and_says_no_error(wide: Shown) -> None:
    assert wide.asked
    own = (wide.address, f"blob:{wide.address}", "data:,")
    assert [each for each in wide.asked if not each.startswith(own)] == []
    # The first request without a key is denied, which a browser notes.
    assert [each for each in wide.faults if "401" not in each] == []


@pytest.mark.parametrize("width", [1280, PHONE])
def test_axe_core_finds_nothing(browser: Browser, api: Api, width: int) -> None:
    with shown_page(browser, api, width) as shown:
        shown.page.goto(shown.address)
        shown.page.get_by_label("Access key").wait_for()
        assert shown.violations() == []
        enter(shown, api)
        choose(shown, CLOSED_MONTH)
        assert shown.violations() == []
        shown.keep(f"closed-{width}")
        shown.page.goto(shown.address + "docs")
        assert shown.violations() == []
        shown.keep(f"docs-{width}")


def test_nothing_is_wider_than_a_phone(browser: Browser, api: Api) -> None:
    with shown_page(browser, api, PHONE, 844) as shown:
        enter(shown, api)
        for address in (shown.address, shown.address + "docs"):
            shown.page.goto(address)
            shown.page.locator("h1").wait_for()
            width = shown.page.evaluate("document.documentElement.scrollWidth")
            assert width <= PHONE, address
        shown.page.goto(shown.address)
        shown.page.locator("#message", has_text="billed messages").wait_for()
        for button in shown.page.get_by_role("button").all():
            box = button.bounding_box()
            assert box is None or box["height"] >= 44, button.inner_text()


def test_the_page_can_be_used_with_a_keyboard_alone(browser: Browser, api: Api) -> None:
    with shown_page(browser, api) as shown:
        page = shown.page
        page.goto(shown.address)
        page.get_by_label("Access key").wait_for()
        # Without a key the field has the focus already.
        page.keyboard.type(key_of(api))
        page.keyboard.press("Enter")
        page.locator("#message", has_text="billed messages").wait_for()
        # The tab keeps the key.
        page.reload()
        page.locator("#message", has_text="billed messages").wait_for()
        reached = []
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.append(page.evaluate(_FOCUSED))
            if reached[-1] == "print":
                break
        assert reached[0] == "skip"
        assert reached.index("month") < reached.index("client") < reached.index("print")
        page.locator("#month").focus()
        page.keyboard.press("ArrowDown")
        wait_for(shown, CLOSED_MONTH)
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


_FOCUSED = "document.activeElement.id || document.activeElement.className"


def test_what_is_printed_is_a_statement_without_controls(wide: Shown) -> None:
    choose(wide, CLOSED_MONTH)
    wide.page.emulate_media(media="print")
    try:
        for hidden in ("#choice", "#files", "#message", ".skip"):
            assert not wide.page.locator(hidden).first.is_visible(), hidden
        text = wide.page.locator("main").inner_text()
        for part in (CLOSED_MONTH, "closed", "SHA-256", "Totals", "Billed messages by day"):
            assert part in text
        wide.keep("print")
        sheet = wide.page.pdf(format="A4")
        assert sheet.startswith(b"%PDF")
    finally:
        wide.page.emulate_media(media="screen")


def test_a_wrong_key_is_explained_and_asked_for_again(browser: Browser, api: Api) -> None:
    with shown_page(browser, api) as shown:
        shown.page.goto(shown.address)
        field: Any = shown.page.get_by_label("Access key")
        field.fill("sluice_wrong")
        shown.page.get_by_role("button", name="Show the counts").click()
        message = shown.page.locator("#message", has_text="was not accepted")
        message.wait_for()
        assert re.search("key", message.inner_text())
        assert field.input_value() == ""
        assert shown.page.evaluate("document.activeElement.id") == "key"
        shown.keep("wrong-key")

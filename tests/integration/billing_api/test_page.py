"""The files of the page: without data, without anything from elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from services.billing.core.cells import COUNTERS
from tests.support.billing.api import Api
from tests.support.patience import PATIENCE_S
from tools.foreign_programs import find_node

SCRIPTS = ("page.js", "chart.js")
FILES = ["/", "/page.css", "/page.js", "/chart.js", "/docs"]


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("path", FILES)
def test_the_page_is_served_to_everybody_and_loads_nothing_from_elsewhere(
    api: Api, path: str
) -> None:
    found = api.get(path, {})
    assert found.status_code == 200
    policy = found.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-type"].count("charset=utf-8") == 1
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", found.text)
    assert [each for each in addresses if each != "http://www.w3.org/2000/svg"] == []


def test_the_page_can_be_used_with_a_keyboard_and_read_aloud(api: Api) -> None:
    elements = Elements(api.get("/", {}).text).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {attributes["for"] for tag, attributes in elements if tag == "label"}
    fields = {attributes["id"] for tag, attributes in elements if tag in ("input", "select")}
    assert fields == labels
    for _, attributes in elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert attributes.get("aria-labelledby", ids[0]) in ids
    assert ("html", {"lang": "en"}) in elements
    assert {"main", "header", "h1"} <= {tag for tag, _ in elements}
    # Screen readers list landmarks by their names.
    landmarks = [each for tag, each in elements if tag == "section" or each.get("role") == "region"]
    named = [each["aria-labelledby"] for each in landmarks]
    assert len(named) == len(set(named))


def test_every_part_that_the_script_names_is_on_the_page(api: Api) -> None:
    script = "".join(api.get(f"/{name}", {}).text for name in SCRIPTS)
    page = api.get("/", {}).text
    named = set(re.findall(r'part\("([\w-]+)"\)', script))
    assert named
    assert {each for each in named if f'id="{each}"' not in page} == set()
    assert "innerHTML" not in script
    assert set(
        re.findall(r'"(\w+)"', script[script.index("const COUNTERS") :].split(";")[0])
    ) == set(COUNTERS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_can_be_read(name: str) -> None:
    source = resources.files("services.billing.page").joinpath(name)
    with resources.as_file(source) as path:
        subprocess.run([find_node(), "--check", str(path)], check=True, capture_output=True)


# A page whose elements take everything, and an API that never answers about adjustments.
HARNESS = """
const made = {};
function element() {
  const found = { value: "2026-10", children: [], tBodies: [], rows: [], caption: {}, text: "" };
  found.append = (...more) => found.children.push(...more);
  found.replaceChildren = (...more) => { found.children = more; };
  found.addEventListener = found.setAttribute = found.focus = () => {};
  return found;
}
globalThis.document = {
  getElementById: (id) => (made[id] ??= element()),
  createElement: element,
  createElementNS: element,
};
globalThis.window = globalThis;
globalThis.sessionStorage = { getItem: () => null, removeItem() {}, setItem() {} };
const totals = { billed: 3, details: {} };
const months = [{ month: "2026-10", status: "closed" }];
const usage = { totals, rows: [], next: null, complete: true, as_of: { at: "", months } };
const never = new Promise(() => {});
globalThis.fetch = (path) => path.startsWith("v1/adjustments") ? never : Promise.resolve({
  ok: true, json: async () => (path === "v1/months" ? { months, present: "2026-11" } : usage),
});
// What is not answered keeps no process.
process.on("exit", () => {
  const parts = ["totals", "days", "rows", "files"];
  const drawn = parts.filter((id) => made[id] && made[id].children.length);
  process.stdout.write(JSON.stringify([drawn, made.message.textContent]));
});
"""


def test_a_closed_month_is_drawn_before_it_is_known_what_waits(tmp_path: Path) -> None:
    source = resources.files("services.billing.page")
    scripts = [source.joinpath(name).read_text("utf-8") for name in reversed(SCRIPTS)]
    script = tmp_path / "page.cjs"
    script.write_text("\n".join([HARNESS, *scripts]).replace('"use strict";', ""), "utf-8")
    ran = subprocess.run(
        [find_node(), str(script)], check=True, capture_output=True, timeout=PATIENCE_S
    )
    drawn, message = json.loads(ran.stdout)
    assert drawn == ["totals", "days", "rows", "files"]
    assert message == "2026-10: 3 billed messages."


def test_the_page_of_the_api_names_every_path_of_its_document(api: Api) -> None:
    page = api.get("/docs", {}).text
    paths = api.get("/openapi/openapi.json").json()["paths"]
    assert len(paths) > 5
    for path in paths:
        assert f"GET {path}<" in page

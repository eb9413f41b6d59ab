"""docs/submitting.md shows what the tests run: its blocks are parts of the example files."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "submitting.md").read_text("utf-8")
RUN_BY = Path(__file__).resolve().parents[1] / "support"
_BLOCK = re.compile(r"^```(\S+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files() -> list[str]:
    found = (path for path in (DOCS / "examples" / "smtp").rglob("*") if path.is_file())
    return [str(path.relative_to(DOCS)) for path in found if path.suffix != ".pyc"]


def test_every_block_is_a_part_of_the_file_it_names() -> None:
    blocks = _BLOCK.findall(PAGE)
    assert len(blocks) == 4
    for _, name, text in blocks:
        assert text in (DOCS / name).read_text("utf-8"), name


def test_the_page_names_every_file_and_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert set(files()) <= set(links)
    for link in links:
        assert (DOCS / link).exists(), link


def test_every_file_is_run_by_a_test() -> None:
    runners = ("foreign_clients.py", "postfix_relay.py")
    code = "".join((RUN_BY / name).read_text("utf-8") for name in runners)
    for name in files():
        assert f'"{name.removeprefix("examples/smtp/")}"' in code, name

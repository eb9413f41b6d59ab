"""Returned mail of known systems, in this project's own words: `returned/*.eml`.

`returned/expected.toml` has the meaning of each. It is edited by hand.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from shared.responses.reading import understand
from tests.support.response_rules import RULES

FOLDER: Final = Path(__file__).parent / "returned"
EXPECTED: Final[dict[str, Any]] = tomllib.loads((FOLDER / "expected.toml").read_text("utf-8"))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_message_is_understood(name: str) -> None:
    understood = understand((FOLDER / f"{name}.eml").read_bytes(), RULES)
    found = [[one.address, one.kind.value, one.status] for one in understood.recipients]
    assert (understood.kind.value, found) == (
        EXPECTED[name]["kind"],
        EXPECTED[name]["recipients"],
    ), understood.rule


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_line_ends_do_not_change_the_meaning(name: str, line_end: bytes) -> None:
    content = (FOLDER / f"{name}.eml").read_bytes()
    assert understand(content.replace(b"\n", line_end), RULES) == understand(content, RULES)


def test_every_message_has_its_meaning() -> None:
    assert {path.stem for path in FOLDER.glob("*.eml")} == set(EXPECTED)

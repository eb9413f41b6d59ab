"""The golden header cases: every form with a decision, the rules it breaks, and the texts.

`headers/*.toml` contains the decisions, each with its reason; `headers/verdicts.txt` the addresses
found and the texts for the client. `pytest tests/golden --write-golden` rewrites the latter;
the decisions are edited by hand. In the TOML files U+F780 to U+F7FF represent the bytes
80 to FF, which text cannot contain, and {2000} represents that many letters.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from shared.mail.headers import scan
from shared.submission.rules import Submission, judge
from shared.topics.records import Facts, Violation

FOLDER: Final = Path(__file__).parent / "headers"
VERDICTS: Final = FOLDER / "verdicts.txt"
OURS: Final = "news.shop.example"
CODES: Final = frozenset({"SPRING26", "WINTER25"})
PLAIN: Final = {
    "From": " News <a@news.shop.example>",
    "To": " Max <max@kunde.example>",
    "Message-ID": " <1@news.shop.example>",
    "Subject": " Order",
}


class Case(Struct, frozen=True):
    """One decision: the message, its envelope, the rules it breaks."""

    name: str
    content: bytes
    rules: str
    sender: str = ""
    recipient: str = ""


def octets(text: str) -> bytes:
    parts = (
        bytes((ord(letter) - 0xF700,)) if 0xF780 <= ord(letter) <= 0xF7FF else letter.encode()
        for letter in text.replace("{2000}", "x" * 2_000)
    )
    return b"".join(parts)


def header(lines: dict[str, str]) -> str:
    return "".join(f"{name}:{value}\r\n" for name, value in lines.items())


def case_of(kind: str, row: list[str]) -> Case:
    name, form, rules, why = row
    assert why, name
    named = f"{kind or 'line'}: {name}"
    if kind == "envelope":
        changed, _, rest = form.rpartition(";")
        address = changed.removeprefix("From=")
        lines = PLAIN | ({"From": f" {address}"} if changed else {})
        sender, _, recipient = rest.partition("|")
        return Case(named, octets(header(lines) + "\r\nHello\r\n"), rules, sender, recipient)
    if kind == "*":
        plain = header(PLAIN)
        text = form.replace("{}", plain).replace("{lf}", plain.replace("\r\n", "\n"))
        return Case(named, octets(text.replace("{cr}", plain.replace("\r\n", "\r"))), rules)
    if not kind:
        plain = header(PLAIN).replace("Subject:", f"{form}\r\nSubject:", 1)
        return Case(named, octets(plain + "\r\nHello\r\n"), rules)
    space = "" if form[:1] in "\r\n" or "no space after" in name else " "
    return Case(named, octets(header(PLAIN | {kind: space + form}) + "\r\nHello\r\n"), rules)


def read() -> Iterator[Case]:
    for path in sorted(FOLDER.glob("*.toml")):
        table = tomllib.loads(path.read_text("utf-8"))
        yield from (case_of(table["header"], row) for row in table["cases"])


CASES: Final = tuple(read())


def verdict(case: Case) -> tuple[Facts, tuple[Violation, ...]]:
    facts = scan(case.content)
    return facts, judge(facts, Submission(OURS, case.sender, case.recipient, CODES))


def told(case: Case) -> str:
    facts, broken = verdict(case)
    addresses = f"{facts.from_address or '-'} {facts.to_address or '-'} {facts.message_id or '-'}"
    reasons = [f"  {one.rule}: {one.reason}" for one in broken]
    return "\n".join([case.name, f"  {addresses[:200]}", *reasons])


@cache
def recorded() -> dict[str, str]:
    entries = VERDICTS.read_text("utf-8").rstrip("\n").split("\n\n")
    return {entry.partition("\n")[0]: entry for entry in entries}


@pytest.fixture(scope="module", autouse=True)
def _written(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--write-golden", default=False):
        VERDICTS.write_text("\n\n".join(map(told, CASES)) + "\n", "utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
def test_each_form_is_judged_as_was_decided(case: Case) -> None:
    assert " ".join(one.rule for one in verdict(case)[1]) == case.rules
    assert told(case) == recorded()[case.name]


def test_there_are_cases_for_every_rule_and_no_two_of_one_name() -> None:
    assert len(CASES) >= 200
    assert len({case.name for case in CASES}) == len(CASES) == len(recorded())
    broken = {rule for case in CASES for rule in case.rules.split()}
    assert broken == {"unreadable", *(f"R{number}" for number in range(2, 13))}

"""The golden header cases: every form with a decision, the rules it breaks, and the texts.

`headers/*.toml` contains the decisions, each with its reason; `headers/verdicts.txt` the addresses
found and the texts for the client. `pytest tests/golden --write-golden` rewrites the latter;
the decisions are edited by hand. In the TOML files U+F780 to U+F7FF represent the bytes
80 to FF, which text cannot contain, and {2000} represents that many letters.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import pytest

from shared.mail.headers import scan
from shared.submission.rules import Submission, judge
from shared.topics.records import Facts, Violation
from tests.support.golden_headers import CASES, FOLDER, Case

VERDICTS: Final = FOLDER / "verdicts.txt"
OURS: Final = "news.shop.example"
CODES: Final = frozenset({"SPRING26", "WINTER25"})


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

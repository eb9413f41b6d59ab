"""The scan and the addresses compared with Rust's mailparse (fast-mail-parser).

Every difference is listed. mailparse is more lenient than Python's `email`: it reads any line with
a colon as a header and supports comments only in part. In messages that pass it must never find
another sender or recipient than we do, nor a header with a rule that we do not find.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Final

import pytest
from fast_mail_parser import ParseError, PyMail, parse_email
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.mail.address import ParsedAddress, parse_single
from shared.mail.headers import Defect, scan
from tests.fuzz.mail_grammar import message
from tests.fuzz.mail_targets import COUNTED
from tests.messages import Sample, load
from tests.support.golden_headers import CASES, Case

# If the counts differ, the message is refused as unreadable, for one of these reasons.
COUNTS: Final = {
    str(Defect.SPACE): "white space before the colon is part of the name to it",
    str(Defect.NAME): "an odd letter is part of the name to it",
    str(Defect.NUL): "NUL is part of the name to it",
    str(Defect.CONTROL): "another control character is part of the name, or beside what is below",
    str(Defect.BARE_CR): "it ends no line there",
    str(Defect.MIXED): "a fold or a name with a line feed alone",
    str(Defect.NO_COLON): "a line without a colon is a name without a value to it",
    str(Defect.FOLD_BLANK): "beside an odd name",
    str(Defect.NO_END): "it ends no line at a carriage return",
}
# Why it finds no address, or one with extra text, where we find one.
COMMENTS: Final = "it takes a comment for a part of the address, or gives up"
QUOTED: Final = "it gives up at a quoted local part"
SPACES: Final = "it keeps the white space within the brackets"


def read(content: bytes) -> PyMail | None:
    try:
        return parse_email(content)
    except ParseError:
        return None


def counts(mail: PyMail) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, values in mail.headers.items():
        found[name.lower()] += len(values)
    return found


def normal(address: str) -> str:
    """The address as we would read it; "" if it is not valid."""
    parsed = parse_single(address)
    return parsed.address if isinstance(parsed, ParsedAddress) else ""


def difference(raw: str, ours: str, theirs: list[str]) -> str:
    """The listed difference; "" if there is none. Fails for a difference that is not listed."""
    if theirs == [ours] or [normal(one) for one in theirs] == [ours] == theirs:
        return ""
    if "(" in raw:
        return COMMENTS
    if not theirs and '"' in raw:
        return QUOTED
    (one,) = theirs
    if one.strip(" \t\r\n") != one:
        return SPACES
    assert normal(one) == ours
    return ""


def check(content: bytes) -> set[str]:
    """Compare one message; return the differences."""
    facts, mail = scan(content), read(content)
    if mail is None:
        assert facts.defect
        return set()
    found = counts(mail)
    if any(getattr(facts, slot) != found[name.decode()] for name, slot in COUNTED.items()):
        assert facts.defect in COUNTS, (facts, found)
        return {facts.defect}
    if facts.defect:
        return set()
    seen = set()
    for name, ours, theirs in (
        ("from", facts.from_address, [mail.from_] if mail.from_ else []),
        ("to", facts.to_address, mail.to),
    ):
        addresses = [one.address for one in theirs]
        if ours:
            raw = next(values[0] for one, values in mail.headers.items() if one.lower() == name)
            # It may find no address, but never another mailbox than ours.
            assert {normal(one) for one in addresses} <= {"", ours}, (raw, addresses)
            seen.add(difference(raw, ours, addresses))
    return seen - {""}


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
def test_golden_cases_differ_only_as_explained(case: Case) -> None:
    check(case.content)


@pytest.mark.parametrize("sample", load(), ids=lambda sample: str(sample.name))
def test_real_messages_are_read_alike(sample: Sample) -> None:
    assert check(sample.content) <= {COMMENTS, QUOTED, *COUNTS}
    if sample.accepted:
        assert check(sample.content) <= {COMMENTS, QUOTED}


@settings(deadline=None, max_examples=400)
@given(st.integers(0, 2**32))
def test_messages_of_all_kinds_differ_only_as_explained(seed: int) -> None:
    check(message(Random(seed)))


def test_every_explained_difference_exists() -> None:
    seen: set[str] = set()
    for case in CASES:
        seen |= check(case.content)
    for seed in range(4_000):
        seen |= check(message(Random(seed)))
    assert seen == {COMMENTS, QUOTED, SPACES, *COUNTS}

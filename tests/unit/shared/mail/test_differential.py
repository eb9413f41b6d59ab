"""The scan and the addresses compared with Python's `email`: every difference has a reason.

Neither is the reference: the rules are (docs/rules.md). A difference that is not in one of these
tables fails.
"""

from __future__ import annotations

import email
import email.errors
import email.policy
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.mail.address import ParsedAddress, parse_single
from shared.mail.address_faults import AddressFault, Fault
from shared.mail.domains import normalise
from shared.mail.headers import scan
from tests.support.addresses import NOT_TAKEN, PIECES, TAKEN
from tests.support.header_forms import LINES, SLOTS

# Values that `email` accepts as one address without a defect, and why they are refused here.
STRICTER: Final = {
    Fault.SEVERAL: "a list with an empty place is still a list",
    Fault.CONTROL: "it takes a line end for the end of the header",
    Fault.TOO_LONG: "it knows no lengths",
    Fault.UNCLOSED: "comments nested more than 16 deep are no one's name",
    Fault.INSIDE: "white space and comments around the @ and the dots are obsolete",
    Fault.LOCAL_PART: "a tab in quotes cannot be written in SMTP",
    Fault.LITERAL: "IP addresses are not delivered to",
    Fault.DOMAIN: "it does not ask whether a domain can exist",
    Fault.HIDDEN: "it does not decode comments",
    Fault.ENCODED: "an encoded word inside a word is none to it, but to other programs",
}
# Values that `email` reports as defects, and why they are accepted here.
WIDER: Final = {
    email.errors.ObsoleteHeaderDefect: "dots in a display name are read alike by all programs",
    email.errors.UndecodableBytesDefect: "it reads bytes as ASCII; UTF-8 is RFC 6532",
    email.errors.NonASCIILocalPartDefect: "RFC 6531 allows it",
}
# `email` 3.11 raises on many invalid addresses; none of them may be valid for us.
CRASHES: Final = (IndexError, AttributeError, TypeError, ValueError, KeyError)


def single_by_email(value: bytes) -> tuple[str, tuple[type, ...]] | None:
    """The only address `email` finds and its defects; None if it finds none or several."""
    message = email.message_from_bytes(b"To: " + value + b"\r\n\r\n", policy=email.policy.default)
    try:
        header = message["to"]
    except CRASHES:
        return None
    if len(header.addresses) != 1 or header.groups[0].display_name is not None:
        return None
    found = header.addresses[0]
    if not found.username or not found.domain:
        return None
    return found.addr_spec, tuple(type(defect) for defect in header.defects)


def check(value: bytes) -> None:
    ours, theirs = parse_single(value), single_by_email(value)
    if isinstance(ours, AddressFault):
        if theirs is not None and not theirs[1]:
            assert ours.fault in STRICTER, (value, ours, theirs)
        return
    assert theirs is not None, value
    assert set(theirs[1]) <= set(WIDER), (value, theirs)
    if email.errors.UndecodableBytesDefect not in theirs[1]:
        local, _, domain = theirs[0].rpartition("@")
        assert f"{local}@{normalise(domain)}" == ours.address


KNOWN: Final[list[str | bytes]] = [*(row[0] for row in TAKEN), *(row[0] for row in NOT_TAKEN)]


@pytest.mark.parametrize("value", KNOWN)
def test_known_addresses_differ_only_as_explained(value: str | bytes) -> None:
    check(value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"))


@settings(deadline=None, max_examples=400)
@given(PIECES)
@example("a@b.example")
def test_addresses_of_all_kinds_differ_only_as_explained(value: str) -> None:
    check(value.encode())


def test_every_explained_difference_exists() -> None:
    seen: set[object] = set()
    for value in KNOWN:
        octets = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        ours, theirs = parse_single(octets), single_by_email(octets)
        if theirs is None:
            continue
        if isinstance(ours, ParsedAddress):
            seen |= set(theirs[1])
        elif not theirs[1]:
            seen.add(ours.fault)
    assert seen == {*STRICTER, *WIDER}


VALUES = st.text(st.sampled_from(list("ab@.:<> \tü")), max_size=12)
WELL_FORMED = st.lists(
    st.tuples(st.sampled_from([*SLOTS, "X-Other", "to", "CC"]), VALUES, st.booleans()), min_size=1
)


@settings(deadline=None)
@given(WELL_FORMED, st.sampled_from(["\r\n", "\n"]))
def test_the_same_headers_are_counted(rows: list[tuple[str, str, bool]], line_end: str) -> None:
    lines = [
        f"{name}: {value}" + (f"{line_end} {value}." if folded else "")
        for name, value, folded in rows
    ]
    content = (line_end.join(lines) + line_end * 2 + "To: body").encode()
    facts = scan(content)
    assert facts.defect == ""
    names = [name.lower() for name, _ in email.message_from_bytes(content).items()]
    for name, slot in SLOTS.items():
        assert getattr(facts, slot) == names.count(name.lower())


@settings(deadline=None, max_examples=300)
@given(LINES.map(lambda lines: lines + b"\r\nbody"))
def test_whatever_email_counts_is_counted_or_the_message_is_refused(content: bytes) -> None:
    facts = scan(content)
    names = [name.lower() for name, _ in email.message_from_bytes(content).items()]
    for name, slot in SLOTS.items():
        assert facts.defect or getattr(facts, slot) == names.count(name.lower())

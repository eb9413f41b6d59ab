"""Properties of every message and every address, for arbitrary bytes.

Each check returns the outcome of the input, by which the engine recognises new ones, and fails
with an AssertionError. The counts are compared with those of a second, slow parser; Python's
`email` must read messages that pass the rules in the same way.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Hashable
from typing import Final

from msgspec.structs import replace

from shared.mail import address
from shared.mail.address import parse_path, parse_single
from shared.mail.address_faults import AddressFault
from shared.mail.domains import normalise
from shared.mail.headers import MAX_HEADER_LINES, scan
from shared.submission.rules import Submission, judge
from shared.topics.records import Facts
from tests.fuzz.mail_grammar import CODES, OURS

SUBMISSION: Final = Submission(OURS, codes=CODES)
COUNTED: Final = {
    b"from": "from_count",
    b"to": "to_count",
    b"cc": "cc_count",
    b"bcc": "bcc_count",
    b"subject": "subject_count",
    b"message-id": "message_id_count",
    b"reply-to": "reply_to_count",
    b"return-path": "return_path_count",
    b"x-bm-mailing": "code_count",
}
# `email` 3.11 fails on names with a single dot (`News . <...>`).
CRASHES: Final = (IndexError, AttributeError, TypeError, ValueError, KeyError)
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


def check_message(content: bytes) -> Hashable:
    """Scan and judge one message."""
    facts = scan(content)
    broken = [one.rule for one in judge(facts, SUBMISSION)]
    assert facts.size_bytes == len(content) >= facts.header_bytes
    assert bool(facts.defect) == (broken[:1] == ["unreadable"])
    head = content[: facts.header_bytes]
    _check_counts(head, facts)
    for count, value in (
        (facts.from_count, facts.from_address),
        (facts.to_count, facts.to_address),
        (facts.message_id_count, facts.message_id),
    ):
        assert count == 1 or not value
    if not facts.defect:
        _check_readings(content, facts)
    if not broken:
        _check_passed(content, facts)
    return facts.defect, tuple(broken), _kind(facts.to_raw), _kind(facts.from_raw)


def _check_counts(head: bytes, facts: Facts) -> None:
    """Every line that any parser might read as a header with a rule is counted."""
    counts = dict.fromkeys(COUNTED.values(), 0)
    for line in [one for one in _LINE_END.split(head) if one][:MAX_HEADER_LINES]:
        name, colon, _ = line.partition(b":")
        if line[:1] in b" \t" or not colon:
            continue
        printed = bytes(octet for octet in name if 33 <= octet <= 126).lower()
        if printed in COUNTED:
            counts[COUNTED[printed]] += 1
    for field, count in counts.items():
        assert getattr(facts, field) == count, (field, count, facts)


def _check_readings(content: bytes, facts: Facts) -> None:
    """Neither the body nor the kind of line end changes the result of the scan."""
    head = content[: facts.header_bytes]
    end = b"\r\n" if b"\r" in head else b"\n"
    assert head.endswith(end)
    for other in (head + b"To: x\r\n\n.", head.replace(end, b"\n"), head.replace(end, b"\r\n")):
        again = scan(other)
        same = replace(again, size_bytes=facts.size_bytes, header_bytes=facts.header_bytes)
        assert same == facts, (facts, again)


def _check_passed(content: bytes, facts: Facts) -> None:
    """`email` reads what passes in the same way: the same headers, sender and recipient."""
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    names = [name.lower() for name in message]
    for name in ("from", "to", "subject", "message-id"):
        assert names.count(name) == 1, names
    for name in ("cc", "bcc", "return-path"):
        assert name not in names
    assert names.count("reply-to") <= 1
    assert names.count("x-bm-mailing") <= 1
    assert facts.from_address.endswith("@" + OURS)
    assert parse_path(facts.to_address) == parse_single(facts.to_address)
    for name, ours in (("from", facts.from_address), ("to", facts.to_address)):
        _check_alike(str(message[name]), ours)


def _check_alike(value: str, ours: str) -> None:
    if not value.isascii():
        return  # `email` reads bytes outside ASCII as unknown
    try:
        parsed = email.message_from_string(f"To: {value}\n\n", policy=email.policy.default)["to"]
    except CRASHES:
        return
    (found,) = parsed.addresses
    local, _, domain = found.addr_spec.rpartition("@")
    assert f"{local}@{normalise(domain)}" == ours, (value, ours, found)


def _kind(raw: str) -> str:
    """The displayed fault of a value; "" for a valid address."""
    parsed = parse_single(raw)
    return parsed.fault if isinstance(parsed, AddressFault) else ""


def check_address(value: bytes) -> Hashable:
    """Read one address."""
    parsed = parse_single(value)
    assert address._parse_tokens(value) == parsed
    if isinstance(parsed, AddressFault):
        return parsed.fault
    assert parse_single(parsed.address) == parsed == parse_path(parsed.address)
    assert parse_single(b"Name <" + parsed.address.encode() + b"> (c)") == parsed
    assert normalise(parsed.domain) == parsed.domain
    assert len(parsed.local.encode()) <= address.MAX_LOCAL_OCTETS
    assert len(parsed.address.encode()) <= address.MAX_ADDRESS_OCTETS
    assert isinstance(parse_single(value + b", " + value), AddressFault)
    letters = parsed.local.isascii(), parsed.local.startswith('"'), b"=?" in value, b"(" in value
    return letters, "xn--" in parsed.domain, parsed.domain == OURS

"""Denied uses are summed up, so that their number of lines is bounded."""

from __future__ import annotations

from shared.access.audit import (
    MAX_ENTRIES,
    MAX_PEER_CHARS,
    Action,
    AuditEntry,
    DenialSums,
    decode_entry,
    encode_entry,
)
from shared.access.checking import Denial, Reason


def test_equal_denials_are_one_line_with_their_number() -> None:
    sums = DenialSums()
    for _ in range(3):
        sums.add(Denial(Reason.WRONG, "abc"), "10.0.0.1")
    sums.add(Denial(Reason.MISSING), "10.0.0.2")
    assert sums.take(5, "billing") == [
        AuditEntry(
            Action.DENIED,
            5,
            "abc",
            by="billing",
            reason="wrong_secret",
            peer="10.0.0.1",
            count=3,
        ),
        AuditEntry(Action.DENIED, 5, by="billing", reason="missing", peer="10.0.0.2"),
    ]
    assert sums.take(6, "billing") == []


def test_whoever_tries_many_keys_writes_a_bounded_number_of_short_lines() -> None:
    sums = DenialSums()
    for number in range(10 * MAX_ENTRIES):
        sums.add(Denial(Reason.UNKNOWN, f"{number:012}"), "x" * 10_000)
    found = sums.take(5, "billing")
    assert len(found) == MAX_ENTRIES + 1
    assert sum(entry.count for entry in found) == 10 * MAX_ENTRIES
    assert max(len(entry.peer) for entry in found) == MAX_PEER_CHARS
    assert found[-1].key == ""


def test_a_line_is_read_as_it_was_written() -> None:
    entry = AuditEntry(Action.CREATED, 5, "abc", by="ann", scope="shop", rights=("billing:read",))
    assert decode_entry(encode_entry(entry)) == entry

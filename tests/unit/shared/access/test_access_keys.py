"""Access keys: their text and scope, which requests pass, and the sums of denied uses."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import structs

from shared.access.checking import (
    ANONYMOUS,
    MAX_ENTRIES,
    MAX_PEER_CHARS,
    SENTENCES,
    Action,
    AuditEntry,
    Denial,
    DenialSums,
    Grant,
    Reason,
    check,
    decode_entry,
    encode_entry,
)
from shared.access.keys import (
    EVERYTHING,
    AccessKey,
    KeyText,
    Right,
    Scope,
    decode_record,
    encode_record,
    hash_of,
    new_key,
    parse_key,
)

NOW_MS = 1_700_000_000_000
KEY = KeyText("abcdefghijkl", "s" * 43)
OTHER = KeyText("abcdefghijkm", "s" * 43)
READ = (Right.BILLING_READ.value,)
RECORD = AccessKey(KEY.id, hash_of(KEY), READ, Scope("shop"))


def test_a_new_key_is_parsed_and_no_two_are_alike() -> None:
    made = [new_key() for _ in range(50)]
    assert [parse_key(str(key)) for key in made] == made
    assert len({key.id for key in made} | {key.secret for key in made}) == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sluice_abcdefghijkl_",
        f"sluice_abcdefghijkl_{'s' * 42}",
        f"sluice_abcdefghijkl_{'s' * 44}",
        f"sluice_abcdefghijk1_{'s' * 43}",
        f"SLUICE_abcdefghijkl_{'s' * 43}",
        f"sluice_abcdefghijkl_{'s' * 43}\n",
        f"sluice_abcdefghijkl_{'é' * 43}",
    ],
)
def test_other_text_is_no_key(text: str) -> None:
    assert parse_key(text) is None


@pytest.mark.parametrize(
    ("header", "record", "expected"),
    [
        (f"Bearer {KEY}", RECORD, Grant(KEY.id, Scope("shop"), READ)),
        (f"bearer   {KEY} ", RECORD, Grant(KEY.id, Scope("shop"), READ)),
        (None, RECORD, Reason.MISSING),
        ("", RECORD, Reason.MALFORMED),
        (f"Basic {KEY}", RECORD, Reason.MALFORMED),
        ("Bearer", RECORD, Reason.MALFORMED),
        ("Bearer x", RECORD, Reason.MALFORMED),
        (f"Bearer {KEY} , Bearer {KEY}", RECORD, Reason.MALFORMED),
        (f"Bearer {OTHER}", RECORD, Reason.UNKNOWN),
        (f"Bearer {structs.replace(KEY, secret='t' * 43)}", RECORD, Reason.WRONG),
        # The hash of one key in the record of another one is useless.
        (f"Bearer {KEY}", structs.replace(RECORD, secret_hash=hash_of(OTHER)), Reason.WRONG),
        (f"Bearer {KEY}", structs.replace(RECORD, secret_hash=b""), Reason.WRONG),
        (f"Bearer {KEY}", structs.replace(RECORD, revoked_at_ms=1), Reason.REVOKED),
        (f"Bearer {KEY}", structs.replace(RECORD, expires_at_ms=NOW_MS), Reason.EXPIRED),
        (
            f"Bearer {KEY}",
            structs.replace(RECORD, expires_at_ms=NOW_MS + 1),
            Grant(KEY.id, Scope("shop"), READ),
        ),
        (
            f"Bearer {structs.replace(KEY, secret='t' * 43)}",
            structs.replace(RECORD, expires_at_ms=1),
            Reason.WRONG,
        ),
    ],
)
def test_a_request_passes_with_a_valid_key_only(
    header: str | None, record: AccessKey, expected: Grant | Reason
) -> None:
    found = check(header, {record.id: record}, NOW_MS)
    assert (found.reason if isinstance(found, Denial) else found) == expected


def test_the_peer_cannot_tell_an_unknown_key_from_a_wrong_or_a_revoked_one() -> None:
    alike = {SENTENCES[reason] for reason in (Reason.UNKNOWN, Reason.WRONG, Reason.REVOKED)}
    assert len(alike) == 1


@pytest.mark.parametrize(
    ("scope", "reached"),
    [
        (EVERYTHING, {"shop/", "shop/south", "bank/", "bank/south"}),
        (Scope("shop"), {"shop/", "shop/south"}),
        (Scope("shop", "south"), {"shop/south"}),
        (Scope("shop", ""), {"shop/"}),
        (Scope("sho"), set()),
    ],
)
def test_a_scope_covers_its_own_and_nothing_else(scope: Scope, reached: set[str]) -> None:
    parts = [("shop", ""), ("shop", "south"), ("bank", ""), ("bank", "south")]
    assert {f"{client}/{sub}" for client, sub in parts if scope.covers(client, sub)} == reached


def test_a_sub_client_needs_a_client() -> None:
    with pytest.raises(ValueError, match="needs a client"):
        Scope("", "south")


def test_a_key_has_only_the_rights_it_names() -> None:
    grant = Grant(KEY.id, EVERYTHING, (*READ, "later:right"))
    assert [right for right in Right if grant.may(right)] == [Right.BILLING_READ]
    assert all(ANONYMOUS.may(right) for right in Right)


def test_a_record_keeps_its_hash_and_shows_it_nowhere() -> None:
    record = structs.replace(RECORD, name="ERP", expires_at_ms=5, created_by="ann")
    assert decode_record(KEY.id, encode_record(record)) == record
    shown = f"{record!r} {KEY!r} {record.scope!r}"
    assert KEY.secret not in shown
    assert str(hash_of(KEY)) not in shown
    assert KEY.secret.encode() not in encode_record(record)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (OTHER.id, encode_record(RECORD)),
        (KEY.id, b"{}"),
        (KEY.id, b"no json"),
        (
            KEY.id,
            encode_record(RECORD).replace(b'"client":"shop"', b'"client":"","sub_client":"a"'),
        ),
    ],
)
def test_a_record_of_another_key_or_without_sense_is_refused(name: str, value: bytes) -> None:
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        decode_record(name, value)


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (RECORD, "active"),
        (structs.replace(RECORD, expires_at_ms=NOW_MS), "expired"),
        (structs.replace(RECORD, expires_at_ms=1, revoked_at_ms=2), "revoked"),
    ],
)
def test_the_state_of_a_key_is_shown(record: AccessKey, state: str) -> None:
    assert record.state(NOW_MS) == state


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

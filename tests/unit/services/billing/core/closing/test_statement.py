"""The canonical form of a statement, its hash and its signature."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from services.billing.core.closing.lines import Line, Sums, decode_lines, encode_line, in_parts
from services.billing.core.closing.statement import (
    Statement,
    decode_statement,
    encode_public,
    encode_statement,
    faults,
    sign,
)
from tests.support.billing.statements import BytesText, encode_lines, statement_of, totals

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = encode_public(KEY.public_key())
LINES = [
    Line("2026-10", "shop", "news", "", "01", "billed", "", 3),
    Line("2026-10", "bank", "ümlaut\n", "s", "31", "bounced", "hard", 1),
    Line("2026-09", "shop", "news", "", "30", "billed", "", -1),
]


TEXT = BytesText(encode_lines(LINES))


def statement(lines: list[Line]) -> Statement:
    return statement_of("2026-10", lines)


def test_the_canonical_form_is_sorted_json_arrays_on_lines() -> None:
    assert encode_lines(LINES).decode() == (
        '["2026-09","shop","news","","30","billed","",-1]\n'
        '["2026-10","bank","ümlaut\\n","s","31","bounced","hard",1]\n'
        '["2026-10","shop","news","","01","billed","",3]\n'
    )
    assert list(decode_lines(TEXT)) == sorted(LINES)


def test_a_header_is_json_with_sorted_keys() -> None:
    text = encode_statement(statement(LINES))
    assert text.startswith(b'{"adjusted":{"billed":-1},"adjustments":1,"closed_at_ms":1,')
    assert decode_statement(text) == statement(LINES)


def test_a_signed_statement_has_no_faults() -> None:
    signed = sign(statement(LINES), KEY)
    assert faults(signed, TEXT, [PUBLIC]) == []
    assert faults(signed, TEXT, []) == []


def test_a_statement_without_a_signature_is_a_fault_only_if_a_key_is_expected() -> None:
    assert faults(statement(LINES), TEXT, []) == []
    assert faults(statement(LINES), TEXT, [PUBLIC]) == ["it is not signed"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"month": "2026-11"}, "adjustments were found"),
        ({"closed_at_ms": 2}, "signature is wrong"),
        ({"offsets": {"0": 11}}, "signature is wrong"),
        ({"lines": 4}, "lines with"),
        ({"totals": {"billed": 4, "bounced": 0}}, "totals"),
        ({"adjusted": {}}, "totals"),
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"previous": "1"}, "signature is wrong"),
        ({"signature": "AAAA"}, "signature is wrong"),
        ({"signature": "ä"}, "signature is wrong"),
        ({"public_key": "AAAA"}, "another key"),
        ({"format": "sluice.statement/9"}, "format"),
    ],
)
def test_every_change_of_a_signed_header_is_found(changes: dict[str, object], words: str) -> None:
    changed = structs.replace(sign(statement(LINES), KEY), **changes)
    found = faults(changed, TEXT, [PUBLIC])
    assert any(words in each for each in found), found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (encode_lines(LINES[:2]), "SHA-256"),
        (b"".join(reversed(encode_lines(LINES).splitlines(keepends=True))), "canonical"),
        (encode_lines(LINES)[:-1], "canonical"),
        (encode_lines(LINES).replace(b",3]", b", 3]"), "canonical"),
        (encode_lines([*LINES, LINES[0]]), "lines with"),
        (encode_lines([structs.replace(LINES[0], month="2026-11")]), "a later month"),
        (b"{}\n", "cannot be read"),
        (b"\n", "cannot be read"),
        (b"[" * 2_000_000, "longer than"),
        (b"", "SHA-256"),
    ],
)
def test_every_change_of_the_lines_is_found(text: bytes, words: str) -> None:
    found = faults(sign(statement(LINES), KEY), BytesText(text, 60_000), [PUBLIC])
    assert any(words in each for each in found), found


days = st.sampled_from(["01", "31"])
texts = st.text(max_size=3)
lines = st.builds(
    Line,
    st.sampled_from(["2026-08", "2026-09", "2026-10"]),
    texts,
    texts,
    texts,
    days,
    st.sampled_from(["billed", "bytes"]),
    texts,
    st.integers(-(2**40), 2**40).filter(bool),
)


@given(st.lists(lines, max_size=20), st.integers(1, 200))
def test_lines_survive_being_split_and_joined(found: list[Line], most: int) -> None:
    text = encode_lines(found)
    parts = list(in_parts(map(encode_line, sorted(found)), most))
    assert b"".join(parts) == text
    assert all(part.endswith(b"\n") for part in parts)
    assert all(len(part) <= most or part.count(b"\n") == 1 for part in parts)
    assert list(decode_lines(BytesText(text, most))) == sorted(found)


@given(st.lists(lines, max_size=20))
def test_the_sums_of_a_header_are_those_of_its_lines(found: list[Line]) -> None:
    sums = Sums("2026-10")
    for line in found:
        sums.add(line)
    own = [line for line in found if line.month == "2026-10"]
    others = [line for line in found if line.month != "2026-10"]
    assert (sums.lines, sums.adjustments) == (len(found), len(others))
    assert (sums.totals, sums.adjusted) == (totals(own), totals(others))

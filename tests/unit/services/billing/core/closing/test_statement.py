"""The canonical form of a statement, its hash and its signature."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from services.billing.core.cells import Cell, encode_cell
from services.billing.core.closing.statement import (
    Line,
    Statement,
    add_stated,
    decode_lines,
    decode_statement,
    encode_lines,
    encode_public,
    encode_statement,
    faults,
    lines_of,
    sign,
    split_lines,
    totals,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = encode_public(KEY.public_key())
LINES = [
    Line("2026-10", "shop", "news", "", "01", "billed", "", 3),
    Line("2026-10", "bank", "ümlaut\n", "s", "31", "bounced", "hard", 1),
    Line("2026-09", "shop", "news", "", "30", "billed", "", -1),
]


def statement(lines: list[Line], **changes: object) -> Statement:
    text = encode_lines(lines)
    own = [line for line in lines if line.month == "2026-10"]
    others = [line for line in lines if line.month != "2026-10"]
    found = Statement(
        month="2026-10",
        time_zone="UTC",
        closed_at_ms=1,
        closed_by="command",
        complete=True,
        reason="",
        log="log-1",
        offsets={"0": 10},
        lines=len(lines),
        adjustments=len(others),
        totals=totals(own),
        adjusted=totals(others),
        sha256=hashlib.sha256(text).hexdigest(),
        previous="",
        parts=1,
        token="t",
    )
    return structs.replace(found, **changes)


def cells(**counts: int) -> dict[str, int]:
    return {
        encode_cell(Cell("shop", "news", "", name, "01")): number for name, number in counts.items()
    }


def test_the_canonical_form_is_sorted_json_arrays_on_lines() -> None:
    assert encode_lines(LINES).decode() == (
        '["2026-09","shop","news","","30","billed","",-1]\n'
        '["2026-10","bank","ümlaut\\n","s","31","bounced","hard",1]\n'
        '["2026-10","shop","news","","01","billed","",3]\n'
    )
    assert decode_lines(encode_lines(LINES)) == sorted(LINES)


def test_a_header_is_json_with_sorted_keys() -> None:
    text = encode_statement(statement(LINES))
    assert text.startswith(b'{"adjusted":{"billed":-1},"adjustments":1,"closed_at_ms":1,')
    assert decode_statement(text) == statement(LINES)


def test_a_signed_statement_has_no_faults() -> None:
    signed = sign(statement(LINES), KEY)
    assert faults(signed, encode_lines(LINES), [PUBLIC]) == []
    assert faults(signed, encode_lines(LINES), []) == []


def test_a_statement_without_a_signature_is_a_fault_only_if_a_key_is_expected() -> None:
    assert faults(statement(LINES), encode_lines(LINES), []) == []
    assert faults(statement(LINES), encode_lines(LINES), [PUBLIC]) == ["it is not signed"]


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
    found = faults(changed, encode_lines(LINES), [PUBLIC])
    assert any(words in each for each in found), found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (encode_lines(LINES[:2]), "SHA-256"),
        (b"".join(reversed(encode_lines(LINES).splitlines(keepends=True))), "canonical"),
        (b"{}\n", "cannot be read"),
        (b"", "SHA-256"),
    ],
)
def test_every_change_of_the_lines_is_found(text: bytes, words: str) -> None:
    found = faults(sign(statement(LINES), KEY), text, [PUBLIC])
    assert any(words in each for each in found), found


def test_the_statement_of_a_month_has_its_cells_and_what_earlier_months_got_since() -> None:
    found = lines_of(
        "2026-10",
        {
            "2026-08": cells(billed=7),
            "2026-09": cells(billed=5, delivered=2),
            "2026-10": cells(billed=4),
            "2026-11": cells(billed=9),
        },
        {"2026-08": cells(billed=7), "2026-09": cells(billed=3, complained=1)},
    )
    assert [(line.month, line.counter, line.count) for line in found] == [
        ("2026-09", "billed", 2),
        ("2026-09", "complained", -1),
        ("2026-09", "delivered", 2),
        ("2026-10", "billed", 4),
    ]


def test_a_cell_whose_name_is_written_in_the_old_way_is_the_same_cell() -> None:
    old = {"2026-09": {'["shop","news","","billed"]': 3}}
    new = {"2026-09": {'["shop","news","","billed","",""]': 3}}
    assert lines_of("2026-10", old, new) == []


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
    parts = split_lines(text, most)
    assert b"".join(parts) == text
    assert all(part.endswith(b"\n") for part in parts)
    assert all(len(part) <= most or part.count(b"\n") == 1 for part in parts)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9)), min_size=3))
def test_all_statements_together_say_what_was_counted_last(runs: list[dict[str, int]]) -> None:
    """Whatever is counted late, also for months that are closed."""
    counted: dict[str, dict[str, int]] = {}
    stated: dict[str, dict[str, int]] = {}
    months = [f"2026-{number + 1:02d}" for number in range(min(len(runs), 12))]
    for closing in months:
        for month, run in zip(months, runs, strict=False):
            for name, number in run.items():
                into = counted.setdefault(month, {})
                cell = encode_cell(Cell(name, "", "", "billed", "01"))
                into[cell] = into.get(cell, 0) + number
        add_stated(stated, lines_of(closing, counted, stated))
        for month in months[: months.index(closing) + 1]:
            now = {cell: number for cell, number in counted.get(month, {}).items() if number}
            assert {c: n for c, n in stated.get(month, {}).items() if n} == now

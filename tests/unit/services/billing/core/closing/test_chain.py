"""Which statements on the topic count: the order of the log decides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs

from services.billing.core.closing.chain import Chain, header_key, part_key
from services.billing.core.closing.lines import (
    KeepsParts,
    Line,
    PartsInMemory,
    encode_line,
    in_parts,
)
from services.billing.core.closing.statement import Statement, digest, encode_statement
from services.billing.edge.temporary_files import PartFile
from tests.support.billing.statements import statement_of

Record = tuple[bytes, bytes | None]


class Attempt(Struct):
    """One attempt to close a month."""

    statement: Statement
    records: list[Record]


def attempt(month: str, token: str, previous: str = "", numbers: tuple[int, ...] = (1,)) -> Attempt:
    lines = [Line(month, "shop", f"m{n}", "", "01", "billed", "", n) for n in numbers]
    pieces = list(in_parts(map(encode_line, lines), 60))
    statement = statement_of(month, lines, previous=previous, parts=len(pieces), token=token)
    parts: list[Record] = [
        (part_key(month, token, number), piece) for number, piece in enumerate(pieces)
    ]
    return Attempt(statement, [*parts, (header_key(month, token), encode_statement(statement))])


def read(*records: Record, kept: KeepsParts | None = None) -> Chain:
    chain = Chain(kept)
    for offset, record in enumerate(records):
        chain.add(offset, *record)
    return chain


FIRST = attempt("2026-10", "a", numbers=(1, 2, 3))
SECOND = attempt("2026-10", "b", numbers=(4,))
NEXT = attempt("2026-11", "c", digest(FIRST.statement))


def test_the_first_attempt_in_the_log_counts_and_the_second_does_not() -> None:
    chain = read(*FIRST.records, *SECOND.records)
    assert chain.closed["2026-10"].statement == FIRST.statement
    assert [reason for _, reason in chain.void] == ["another statement came before it"]


def test_attempts_that_are_written_at_the_same_time_do_not_mix() -> None:
    ours, theirs = FIRST.records, SECOND.records
    chain = read(ours[0], theirs[0], ours[1], *ours[2:-1], theirs[-1], ours[-1])
    assert chain.closed["2026-10"].statement == SECOND.statement


def test_a_statement_that_was_cut_off_does_not_count_and_the_next_attempt_does() -> None:
    chain = read(*FIRST.records[:-1], *SECOND.records)
    assert chain.closed["2026-10"].statement == SECOND.statement
    assert chain.void == []


def test_a_header_without_all_its_lines_does_not_count() -> None:
    chain = read(FIRST.records[0], FIRST.records[-1])
    assert chain.closed == {}
    assert [reason for _, reason in chain.void] == ["its lines are missing"]


@pytest.mark.parametrize(
    ("key", "changes", "reason"),
    [
        ("2026-10/other", {}, "its key is not that of its month and token"),
        ("2026-11/a", {}, "its key is not that of its month and token"),
        ("2026-10/a", {"month": "2026-13"}, "its month or its number of parts is not valid"),
        ("2026-10/a", {"parts": -1}, "its month or its number of parts is not valid"),
        ("2026-10/a", {"parts": 10**9}, "its month or its number of parts is not valid"),
    ],
)
def test_a_header_that_is_not_what_it_is_stored_as_does_not_count_and_the_next_one_does(
    key: str, changes: dict[str, object], reason: str
) -> None:
    header = structs.replace(FIRST.statement, **changes)
    wrong = (f"statement/{key}".encode(), encode_statement(header))
    chain = read(wrong, *SECOND.records)
    assert [found for _, found in chain.void] == [reason]
    assert chain.closed["2026-10"].statement == SECOND.statement


@pytest.mark.parametrize("text", [b"[]\n", b"{\n", b'["2026-10"]\n', b"[" * 50_000])
def test_a_header_with_lines_that_cannot_be_read_does_not_count(text: bytes) -> None:
    header = structs.replace(FIRST.statement, parts=1, sha256=hashlib.sha256(text).hexdigest())
    chain = read(
        (part_key("2026-10", "a", 0), text),
        (header_key("2026-10", "a"), encode_statement(header)),
        *SECOND.records,
    )
    assert [reason for _, reason in chain.void] == ["its lines cannot be read"]
    assert chain.closed["2026-10"].statement == SECOND.statement


def test_a_month_continues_the_chain() -> None:
    chain = read(*FIRST.records, *NEXT.records)
    assert chain.last == "2026-11"
    assert chain.last_digest == digest(NEXT.statement)
    assert [line.count for line in chain.stated("2026-11")] == [1]


@pytest.mark.parametrize("keeps", [PartsInMemory, PartFile])
def test_the_lines_about_a_month_are_those_of_its_statement_and_of_later_ones(
    keeps: Callable[[], KeepsParts],
) -> None:
    late = Line("2026-10", "shop", "m1", "", "01", "billed", "", 7)
    later = [late, Line("2026-11", "shop", "m1", "", "01", "billed", "", 2)]
    text = b"".join(map(encode_line, later))
    header = statement_of("2026-11", later, previous=digest(FIRST.statement), token="x")
    records = [(part_key("2026-11", "x", 0), text), (header_key("2026-11", "x"), None)]
    chain = read(
        *FIRST.records, records[0], (records[1][0], encode_statement(header)), kept=keeps()
    )
    assert chain.stated_months() == {"2026-10", "2026-11"}
    assert [line.count for line in chain.stated("2026-10")] == [1, 2, 3, 7]
    assert [line.count for line in chain.stated("2026-10", before="2026-11")] == [1, 2, 3]
    assert [line.count for line in chain.stated("2026-11")] == [2]
    assert list(chain.stated("2026-12")) == []


def test_a_process_that_was_paused_while_others_went_on_does_not_count() -> None:
    late = attempt("2026-11", "d", digest(FIRST.statement), (9,))
    chain = read(*FIRST.records, *NEXT.records, *late.records)
    assert chain.closed["2026-11"].statement == NEXT.statement


def test_a_month_before_the_last_closed_one_cannot_be_closed_any_more() -> None:
    chain = read(*FIRST.records, *attempt("2026-09", "e", digest(FIRST.statement)).records)
    assert list(chain.closed) == ["2026-10"]


def test_what_does_not_count_may_be_removed_by_compaction_without_a_change() -> None:
    records = [*FIRST.records, *SECOND.records, *NEXT.records]
    whole = read(*records)
    cleaned = read(*(each for each in records if each not in SECOND.records))
    assert {m: c.statement for m, c in whole.closed.items()} == {
        m: c.statement for m, c in cleaned.closed.items()
    }


@pytest.mark.parametrize(
    "record",
    [
        (None, b"x"),
        (b"statement/", b"x"),
        (b"statement/2026-10/a", b"{"),
        (b"statement/2026-10/a", b'{"month":7}'),
        (b"statement/2026-10/a", b"[" * 100_000),
        (b"statement/2026-10/a/b/c", b"x"),
        (b"\xff", b"x"),
        (b"statement/2026-10/a", None),
        (b"other/1", b"x"),
        (
            header_key("2026-10", "z"),
            encode_statement(structs.replace(FIRST.statement, token="z", parts=10**12)),
        ),
        (
            header_key("no-month", "z"),
            encode_statement(structs.replace(FIRST.statement, token="z", month="no-month")),
        ),
        (header_key("2026-10", "other"), encode_statement(FIRST.statement)),
    ],
)
def test_no_record_stops_the_reader_or_becomes_a_statement(record: tuple[bytes, bytes]) -> None:
    chain = read(record, *FIRST.records)
    assert chain.closed["2026-10"].statement == FIRST.statement


@given(st.data())
def test_readers_at_any_place_of_the_log_never_disagree(data: st.DataObject) -> None:
    """Attempts of three processes, interleaved at will: what one reader has seen, all later see."""
    queues = [
        attempt("2026-10", "a").records,
        attempt("2026-10", "b").records + NEXT.records,
        FIRST.records + SECOND.records,
    ]
    log: list[Record] = []
    while any(queues):
        queue = data.draw(st.sampled_from([each for each in queues if each]))
        log.append(queue.pop(0))
    seen: dict[str, Statement] = {}
    chain = Chain()
    for offset, record in enumerate(log):
        chain.add(offset, *record)
        for month, statement in seen.items():
            assert chain.closed[month].statement == statement
        seen = {month: closed.statement for month, closed in chain.closed.items()}
    assert "2026-10" in seen

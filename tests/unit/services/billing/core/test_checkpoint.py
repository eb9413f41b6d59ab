"""Checkpoints of the cells: which one counts, and what is read from it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from services.billing.core.checkpoint import (
    CHUNK_BYTES,
    Checkpoints,
    Manifest,
    StoredMonth,
    changed_months,
    digest,
    encode_chunks,
    is_due,
)
from services.billing.core.closing.lines import PartsInMemory
from shared.store.read_cells import Snapshot

Record = tuple[bytes, bytes | None]

FOUND = Snapshot(
    True, "log", {0: 7}, {0: "2026-08"}, {"2026-10": {"a": 1}, "2026-11": {}}, "g1", {}
)


def records(token: str, found: Snapshot = FOUND) -> list[Record]:
    written: list[Record] = []
    months = {}
    for month, cells in found.months.items():
        chunks = list(encode_chunks(cells.items()))
        keys = tuple(f"cells/{month}/{token}/{number}" for number in range(len(chunks)))
        written += [(key.encode(), chunk) for key, chunk in zip(keys, chunks, strict=True)]
        months[month] = StoredMonth(1, keys, digest(chunks))
    manifest = Manifest(
        at_ms=1,
        log=found.log,
        generation=found.generation,
        watermarks={str(part): mark for part, mark in found.watermarks.items()},
        holes={str(part): month for part, month in found.holes.items()},
        months=months,
    )
    return [*written, (f"checkpoint/{token}".encode(), msgspec.json.encode(manifest))]


def read(*found: Record, keeps_cells: bool = True) -> Checkpoints:
    checkpoints = Checkpoints(PartsInMemory() if keeps_cells else None)
    for record in found:
        checkpoints.add(*record)
    return checkpoints


def snapshot(checkpoints: Checkpoints) -> Snapshot | None:
    """What is restored, with its cells."""
    found = next(checkpoints.snapshots(), None)
    if found is None:
        return None
    months: dict[str, dict[str, int]] = {month: {} for month in found[0].versions}
    for month, name, number in found[1]:
        months[month][name] = number
    return structs.replace(found[0], months=months, versions={})


NEWER = structs.replace(FOUND, watermarks={0: 9}, months={"2026-10": {"a": 2}})


def test_what_was_written_is_read_again() -> None:
    assert snapshot(read(*records("a"))) == FOUND


def test_the_last_checkpoint_counts() -> None:
    assert snapshot(read(*records("a"), *records("b", NEWER))) == NEWER


@pytest.mark.parametrize("cut", [1, 2])
def test_a_checkpoint_that_was_cut_off_does_not_count(cut: int) -> None:
    assert snapshot(read(*records("a"), *records("b", NEWER)[:-cut])) == FOUND


def test_a_checkpoint_whose_chunks_were_removed_or_damaged_does_not_count() -> None:
    both = [*records("a"), *records("b", NEWER)]
    key = b"cells/2026-10/b/0"
    assert snapshot(read(*both, (key, None))) == FOUND
    assert snapshot(read(*both, (key, b"x"))) == FOUND
    assert snapshot(read(*both, (key, msgspec.msgpack.encode({"a": 3})))) == FOUND


@pytest.mark.parametrize("chunk", [b"\xc1", b"\x93", msgspec.msgpack.encode({"a": "text"})])
def test_a_chunk_that_cannot_be_decoded_does_not_count_though_its_digest_is_right(
    chunk: bytes,
) -> None:
    stored = StoredMonth(1, ("cells/2026-10/b/0",), digest([chunk]))
    manifest = Manifest(
        at_ms=1, log="log", generation="g1", watermarks={}, holes={}, months={"m": stored}
    )
    found = read(
        *records("a"),
        (b"cells/2026-10/b/0", chunk),
        (b"checkpoint/b", msgspec.json.encode(manifest)),
    )
    assert snapshot(found) == FOUND


def test_counts_that_were_dropped_are_not_restored_from_older_or_late_checkpoints() -> None:
    void: Record = (b"void/g1", b"1")
    assert snapshot(read(*records("a"), void)) is None
    assert snapshot(read(*records("a"), void, *records("b", NEWER))) is None
    later = structs.replace(NEWER, generation="g2")
    assert snapshot(read(*records("a"), void, *records("b", later))) == later


def test_only_what_the_best_checkpoint_does_not_need_is_unused() -> None:
    found = read(*records("a"), *records("b", NEWER), keeps_cells=False)
    assert sorted(found.unused()) == ["cells/2026-10/a/0", "cells/2026-11/a/0", "checkpoint/a"]
    assert read().unused() == []


@pytest.mark.parametrize(
    "record",
    [
        (None, None),
        (b"\xff", b""),
        (b"checkpoint/x", b"{"),
        (b"checkpoint/x", b"[" * 100_000),
        (b"checkpoint/x", None),
        (b"statement/2026-10/t", b"{}"),
        (
            b"checkpoint/x",
            msgspec.json.encode(Manifest(1, "log", "g", {"no number": 1}, {}, {})),
        ),
    ],
)
def test_no_record_stops_the_reader(record: Record) -> None:
    assert snapshot(read(*records("a"), record)) == FOUND


BEFORE = Manifest(1, "log", "g1", {"0": 7}, {}, {"2026-10": StoredMonth(3, (), "")})


@pytest.mark.parametrize(
    ("generation", "versions", "before", "months"),
    [
        ("g1", {"2026-10": 3}, BEFORE, []),
        ("g1", {"2026-10": 4, "2026-11": 1}, BEFORE, ["2026-10", "2026-11"]),
        ("g2", {"2026-10": 3}, BEFORE, ["2026-10"]),
        ("g1", {"2026-10": 3}, None, ["2026-10"]),
    ],
)
def test_only_months_that_changed_are_written_again(
    generation: str, versions: dict[str, int], before: Manifest | None, months: list[str]
) -> None:
    found = structs.replace(FOUND, generation=generation, versions=versions)
    assert changed_months(found, before) == months


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, False),
        ({"watermarks": {0: 8}}, True),
        ({"generation": "g2"}, True),
        ({"log": "log-2"}, True),
        ({"whole": False, "watermarks": {0: 8}}, False),
        ({"log": "", "watermarks": {}}, False),
    ],
)
def test_a_checkpoint_is_due_when_something_was_counted(
    changes: dict[str, object], due: bool
) -> None:
    assert is_due(structs.replace(FOUND, **changes), BEFORE) is due


@given(st.dictionaries(st.text(max_size=200), st.integers(), max_size=50))
def test_chunks_hold_every_cell_once(cells: dict[str, int]) -> None:
    if all(abs(number) < 2**63 for number in cells.values()):
        found = [msgspec.msgpack.decode(chunk) for chunk in encode_chunks(cells.items())]
        assert {name: number for chunk in found for name, number in chunk.items()} == cells
        assert sum(map(len, found)) == len(cells)


def test_no_chunk_is_larger_than_its_limit() -> None:
    cells = {f'["client","{number:0200}","","billed"]': 2**60 for number in range(20_000)}
    sizes = [len(chunk) for chunk in encode_chunks(cells.items())]
    assert len(sizes) > 5
    assert max(sizes) < CHUNK_BYTES

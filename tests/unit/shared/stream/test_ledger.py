import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.stream.ledger import (
    MAX_OPEN_PACKS,
    MAX_WINDOW_OFFSETS,
    MetadataError,
    PartitionLedger,
    Settled,
    decode_metadata,
)

BROKER_LIMIT_CHARACTERS = 4_096


def restarted(ledger: PartitionLedger) -> PartitionLedger:
    low = ledger.low_water()
    return PartitionLedger(low, decode_metadata(ledger.metadata(), low))


def test_the_low_water_mark_is_the_lowest_offset_not_wholly_settled() -> None:
    ledger = PartitionLedger(10)
    for offset, count in ((10, 2), (11, 1), (14, 3)):
        ledger.add(offset, count)
    steps = [((10, 0), 10), ((11, 0), 10), ((10, 1), 14), ((14, 2), 14), ((14, 0), 14)]
    for (offset, index), low in steps:
        assert ledger.settle(offset, index)
        assert ledger.low_water() == low
    ledger.settle(14, 1)
    assert ledger.low_water() == 15
    assert ledger.metadata() == ""
    assert ledger.in_flight == 0


def test_a_successor_hands_out_only_what_was_in_flight() -> None:
    ledger = PartitionLedger(0)
    ledger.add(0, 4)
    ledger.add(1, 1)
    ledger.add(3, 2)
    for offset, index in ((0, 1), (0, 3), (1, 0), (3, 0)):
        ledger.settle(offset, index)
    successor = restarted(ledger)
    assert [list(successor.add(*record)) for record in ((0, 4), (1, 1), (3, 2))] == [
        [0, 2],
        [],
        [1],
    ]


def test_what_was_settled_before_stays_settled_though_not_yet_read_again() -> None:
    ledger = PartitionLedger(0)
    for offset in range(6):
        ledger.add(offset, 2)
    for offset in (3, 4):
        ledger.settle(offset, 0)
        ledger.settle(offset, 1)
    ledger.settle(5, 1)
    successor = restarted(ledger)
    successor.add(0, 2)
    successor.settle(0, 0)
    third = restarted(successor)
    assert [list(third.add(offset, 2)) for offset in range(6)] == [
        [1],
        [0, 1],
        [0, 1],
        [],
        [],
        [0],
    ]


def test_a_message_is_settled_once_only() -> None:
    ledger = PartitionLedger(0)
    ledger.add(0, 2)
    assert ledger.settle(0, 0)
    assert not ledger.settle(0, 0)
    assert not ledger.settle(0, 2)
    assert not ledger.settle(9, 0)
    assert ledger.in_flight == 1


def test_an_offset_is_never_added_twice() -> None:
    ledger = PartitionLedger(5)
    ledger.add(7, 1)
    with pytest.raises(ValueError, match="added before"):
        ledger.add(7, 1)


def test_the_worst_full_ledger_fits_into_a_commit() -> None:
    ledger = PartitionLedger(0)
    offset = 0
    while not ledger.full():
        count = 64 if offset % 100 == 0 else 1
        ledger.add(offset, count)
        if count == 64:
            ledger.settle(offset, 63)
        elif offset % 2:
            ledger.settle(offset, 0)
        offset += 1
    assert offset <= MAX_WINDOW_OFFSETS
    assert len(ledger.metadata()) < BROKER_LIMIT_CHARACTERS
    many = PartitionLedger(0)
    for offset in range(MAX_WINDOW_OFFSETS):
        is_pack = offset % (MAX_WINDOW_OFFSETS // MAX_OPEN_PACKS) == 0
        many.add(offset, 64 if is_pack else 1)
        if is_pack:
            many.settle(offset, 63)
            for index in range(63):
                many.offer(offset, index)
        elif offset % 2 or offset == MAX_WINDOW_OFFSETS - 1:
            many.settle(offset, 0)
        else:
            many.offer(offset, 0)
    assert many.full()
    assert len(many.metadata()) < BROKER_LIMIT_CHARACTERS


@pytest.mark.parametrize("text", ["!", "00", "0s", "0{bad", "~~~~~"])
def test_metadata_that_is_no_ledger_is_refused(text: str) -> None:
    with pytest.raises(MetadataError):
        decode_metadata(text, 0)


def test_no_metadata_is_nothing_settled() -> None:
    assert decode_metadata("", 7) == Settled()


@given(seed=st.integers(0, 2**32), records=st.integers(1, 30))
def test_over_any_number_of_crashes_each_message_is_handed_out_until_settled(
    seed: int, records: int
) -> None:
    chance = random.Random(seed)
    log, offset = [], 0
    for _ in range(records):
        log.append((offset, chance.randint(1, 64)))
        offset += chance.randint(1, 3)
    waiting = {(offset, index) for offset, count in log for index in range(count)}
    ledger = PartitionLedger(0)
    while waiting:
        for offset, count in log[: chance.randint(1, len(log))]:
            if offset < ledger.next_offset:
                continue
            handed = {(offset, index) for index in ledger.add(offset, count)}
            assert handed == {pair for pair in waiting if pair[0] == offset}
            for pair in sorted(handed):
                if chance.random() < 0.5:
                    assert ledger.settle(*pair)
                    waiting.discard(pair)
        ledger = restarted(ledger)


def test_a_ledger_is_crowded_when_it_is_half_full() -> None:
    packs, single = PartitionLedger(0), PartitionLedger(0)
    for offset in range(MAX_OPEN_PACKS // 2):
        assert not packs.is_crowded()
        packs.add(offset, 2)
    assert packs.is_crowded()
    for offset in range(MAX_WINDOW_OFFSETS // 2 + 1):
        assert not single.is_crowded()
        single.add(offset, 1)
    assert single.is_crowded()


def test_a_ledger_has_room_until_it_is_full() -> None:
    ledger = PartitionLedger(5)
    ledger.add(100, 1)
    assert ledger.room() == MAX_WINDOW_OFFSETS - 1
    for offset in range(101, 100 + MAX_WINDOW_OFFSETS):
        ledger.add(offset, 1)
    assert (ledger.room(), ledger.full()) == (0, True)
    ledger.settle(100, 0)
    assert (ledger.room(), ledger.full()) == (1, False)


def test_a_successor_knows_what_was_offered_and_has_no_outcome_until_it_has_one() -> None:
    ledger = PartitionLedger(5)
    for offset, count in ((5, 3), (6, 1), (7, 1), (9, 2)):
        ledger.add(offset, count)
    for offset, index in ((5, 0), (5, 2), (6, 0), (9, 1)):
        ledger.offer(offset, index)
    ledger.settle(5, 2)
    successor = restarted(ledger)
    successor.add(5, 3)
    third = restarted(successor)  # it has read one record only
    for each in (successor, third):
        for offset, count in ((5, 3), (6, 1), (7, 1), (9, 2)):
            if offset >= each.next_offset:
                each.add(offset, count)
        asked = [(5, 0), (5, 1), (5, 2), (6, 0), (7, 0), (9, 0), (9, 1)]
        offered = [place for place in asked if each.is_offered(*place)]
        assert [place for place in offered if each.is_open(*place)] == [(5, 0), (6, 0), (9, 1)]
    third.settle(6, 0)
    fourth = restarted(third)
    fourth.add(5, 3)
    assert list(fourth.add(6, 1)) == []


def test_metadata_without_an_offered_message_is_read_by_older_processes() -> None:
    ledger = PartitionLedger(0)
    ledger.add(0, 2)
    ledger.settle(0, 1)
    before = ledger.metadata()
    ledger.offer(0, 0)
    assert ledger.metadata() != before
    assert ledger.take_back(0, 0)
    assert not ledger.take_back(0, 0)
    assert ledger.metadata() == before
    assert base64.b85decode(before)[0] == 1


@given(seed=st.integers(0, 2**32))
def test_whatever_is_offered_and_settled_the_metadata_says_exactly_that(seed: int) -> None:
    chance = random.Random(seed)
    ledger = PartitionLedger(3)
    records = {}
    offset = 3
    for _ in range(chance.randint(1, 60)):
        records[offset] = chance.choice((1, 1, 2, 9, 64))
        ledger.add(offset, records[offset])
        offset += chance.choice((1, 1, 1, 2, 130))
    places = [(each, index) for each, count in records.items() for index in range(count)]
    offered = {place for place in places if chance.random() < 0.4}
    settled = {place for place in places if chance.random() < 0.4}
    for place in offered:
        ledger.offer(*place)
    for place in settled:
        ledger.settle(*place)
    low = ledger.low_water()
    found = decode_metadata(ledger.metadata(), low)
    read = {(at, i) for at, bits in found.offered.items() for i in range(64) if bits >> i & 1}
    assert read == offered - settled

"""When dropping all counts would lose some for good."""

from __future__ import annotations

from services.billing.cli.counts import lost_beginnings


def test_nothing_is_lost_while_kafka_has_all_events() -> None:
    assert lost_beginnings({0: 0, 1: 0}) == ""


def test_the_partitions_whose_beginning_is_gone_are_named() -> None:
    found = lost_beginnings({1: 7, 0: 0, 2: 12})
    assert "(offsets: 7 of partition 1, 12 of partition 2)" in found
    assert "--lose-counts" in found

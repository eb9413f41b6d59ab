"""The stored part of refused records is truncated; an undecodable batch is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import Struct

from services.ingest.core.intake.kafka_record import undecodable
from services.ingest.core.intake.submission import MAX_FAULTS, Refusal, Submission, accept
from services.ingest.edge.intake.relay import Intake
from shared.mail.headers import scan
from shared.registry.client import Client
from shared.runtime.clock import FakeClock
from shared.stream import outputs
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.outputs import KEPT_BYTES, MAX_REASON_CHARS
from shared.topics import names
from shared.topics.codec import decode_event
from shared.topics.event_records import Tally
from shared.topics.records import Event, Origin, Violation

INTAKE = names.intake("shop")
CLIENT = Client("shop", "news.shop.example", "back@shop.example.org", "standard")
BATCH: Any = UndecodableRecord(INTAKE, 1, 9, 5, b"begin", 7, "too large", 99_999, "ab" * 32)


class FakeRecord(Struct):
    value: bytes | None
    topic: str = INTAKE
    partition: int = 1
    offset: int = 9
    timestamp: int = 5
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_type: int = 1


class FakeClients:
    def ready(self) -> bool:
        return True

    def get(self, name: str) -> Client | None:
        return CLIENT

    def refresh(self, timeout_s: float) -> bool:
        return True


def texts(headers: object) -> dict[str, str]:
    return {name: value.decode() for name, value in headers}  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [0, KEPT_BYTES, KEPT_BYTES + 1, 10_500_000])
def test_a_refused_record_keeps_its_first_64_kib_its_length_and_its_hash(size: int) -> None:
    value = b"x" * size
    output = outputs.refused_record(FakeRecord(value), "unreadable", "why")
    assert output.value == value[:KEPT_BYTES]
    assert texts(output.headers) == {
        "code": "unreadable",
        "reason": "why",
        "topic": INTAKE,
        "partition": "1",
        "offset": "9",
        "length": str(size),
        "sha256": hashlib.sha256(value).hexdigest(),
    }


def test_a_reason_is_cut_and_can_always_be_encoded() -> None:
    output = outputs.refused_record(FakeRecord(b""), "unreadable", "\ud800" + "y" * 5_000)
    assert len(texts(output.headers)["reason"]) <= MAX_REASON_CHARS + 10


def test_of_a_batch_that_cannot_be_decoded_the_record_names_all_offsets() -> None:
    output = outputs.refused_record(BATCH, "unreadable", "not a pack")
    found = texts(output.headers)
    assert output.value == b"begin"
    assert (found["first_offset"], found["offset"], found["reason"]) == ("7", "9", "too large")
    assert (found["length"], found["sha256"]) == ("99999", "ab" * 32)


def test_ingest_refuses_such_a_batch_by_an_event_a_tally_and_a_record() -> None:
    written = Intake(FakeClients(), "X-bm-mailing", FakeClock()).process([BATCH])
    event, kept, tally = written
    found = decode_event(event.headers, event.value)
    assert isinstance(found, Event)
    assert found.data.origin == Origin(INTAKE, 1, 9)
    assert found.data.size_bytes == BATCH.length
    (broken,) = found.data.rules
    assert (broken.rule, broken.status) == ("unreadable", "5.6.0")
    assert broken.reason == "The batch with offsets 7 to 9 cannot be decoded: too large"
    assert kept.topic == names.REFUSED
    assert texts(kept.headers)["mail_id"] == found.subject
    counted = decode_event(tally.headers, tally.value)
    assert isinstance(counted, Tally)
    assert sum(row.received for row in counted.rows) == 1


def test_one_offset_is_named_alone() -> None:
    (broken,) = undecodable(b"", 9, 9, "why").faults
    assert broken.reason == "The batch with offset 9 cannot be decoded: why"


def test_an_event_lists_so_many_faults_and_no_more() -> None:
    faults = tuple(Violation("bad_header", f"fault {number}") for number in range(100_000))
    submission = Submission("shop", Origin(INTAKE, 0, 1), 5, b"", faults=faults)
    found = accept(submission, CLIENT, scan, 6)
    assert isinstance(found, Refusal)
    assert found.event.rules == faults[:MAX_FAULTS]

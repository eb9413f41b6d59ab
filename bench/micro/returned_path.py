"""The steps of the validate service for returned mail, as functions without Kafka and Redis.

A returned message is a record of mail.returned. The steps are everything that the worker of the
validate service does with the record between reading and committing. ReturnsProcessor decodes the
record, verifies and understands the message, encodes its event, and composes and packs the mail to
the forwarding address. Then read_batch and count_batch decode and count the event, and encode the
counter as Redis stores it. Every message is forwarded separately, which is the most expensive case.
Above the forwarding limit, only one line per message would be stored.

Each record has a different mail id and the hash of a recipient, as if the message had come to a
return path. Without these fields, hard and soft bounces would not be counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from bench.returned_mail import AT_MS, KEYS, SHOP, to_return_path
from services.validate.core.lanes import Lanes
from services.validate.core.returns.identity import Verification
from services.validate.core.returns.windows import Policy
from services.validate.edge.returns.metrics import register_metrics
from services.validate.edge.returns.processor import ReturnsProcessor, Tools
from shared.registry.client import Client
from shared.responses.counting.batch import CountingRules, Judging, count_batch, read_batch
from shared.responses.counting.counting import (
    BounceCounter,
    Limits,
    decode_counter,
    encode_counter,
)
from shared.responses.counting.incidents import IncidentPolicy
from shared.responses.counting.merging import Merged, Source
from shared.responses.reading import understand
from shared.responses.rules.model import Rules
from shared.runtime.clock import FakeClock
from shared.runtime.telemetry import Counters
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import Headers, encode_returned

BATCH: Final = 200  # The worker, too, reads this many records at a time.
_UNLIMITED: Final = 1 << 40


class Record(Struct, frozen=True, gc=False):
    """A record of mail.returned or mail.events, with the fields that the workers read."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    headers: Headers
    key: bytes | None
    value: bytes


class _Registry:
    def get(self, name: str) -> Client | None:
        return SHOP if name == SHOP.name else None

    def by_domain(self, domain: str) -> Client | None:
        return SHOP if domain == SHOP.sending_domain else None

    def refresh(self, timeout_s: float) -> bool:
        return True

    def ready(self) -> bool:
        return True


def processor_of(rules: Rules) -> ReturnsProcessor:
    """Return the processor of a worker that forwards every message separately."""
    tools = Tools(
        rules=rules,
        lanes=Lanes({}),
        policy=Policy(_UNLIMITED, 3_600_000),
        verification=lambda: Verification(KEYS, 60),
        partitions_of=lambda topic: 4,
    )
    metrics = register_metrics(Counters("bench", "returns"))
    return ReturnsProcessor(_Registry(), tools, FakeClock(AT_MS), metrics)


def records_of(messages: Sequence[bytes], rules: Rules) -> list[Record]:
    """Return the record of each message, as if the message had come to a separate return path."""
    return [_record(number, content, rules) for number, content in enumerate(messages)]


def _record(number: int, content: bytes, rules: Rules) -> Record:
    found = understand(content, rules).recipients
    address = found[0].address if found else ""
    returned = to_return_path(number, address or "nobody@example")
    _, headers = encode_returned(returned)
    return Record(names.RETURNED, 0, number, AT_MS, headers, None, content)


def process(processor: ReturnsProcessor, records: Sequence[Any]) -> list[Output]:
    """Process the records in batches, and return everything that would be written."""
    written: list[Output] = []
    windows: Any = {}
    for start in range(0, len(records), BATCH):
        answer = processor.process(records[start : start + BATCH], windows)
        windows = answer.windows
        written += answer.outputs
    return written


def events_of(written: Sequence[Output]) -> list[Merged]:
    """Return the events among the written records, in the form that the counting reads."""
    source = Source(names.EVENTS, 0)
    found = [each for each in written if each.topic == names.EVENTS]
    return [
        Merged(
            AT_MS,
            source,
            Record(each.topic, 0, at, AT_MS, list(each.headers), each.key, each.value or b""),
        )
        for at, each in enumerate(found)
    ]


def count(events: Sequence[Merged]) -> dict[bytes, bytes]:
    """Count the events in batches in a new, empty store, and return the counters."""
    stored: dict[bytes, bytes] = {}
    judging = Judging(CountingRules(IncidentPolicy(500, 50, 600_000)))
    for start in range(0, len(events), BATCH):
        read = read_batch(events[start : start + BATCH])
        before = {
            field: decode_counter(stored[field]) for field in read.fields() if field in stored
        }
        counted = count_batch(read.steps, before, {}, lambda _: Limits(3, 5), judging)
        stored.update(_encoded(counted.counters))
        judging = Judging(judging.rules, counted.incidents)
    return stored


def _encoded(counters: dict[bytes, BounceCounter]) -> dict[bytes, bytes]:
    return {field: encode_counter(each) for field, each in counters.items()}

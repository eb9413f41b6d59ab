"""A worker that counts bounces, with separate topics and keys."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from random import Random

import redis
from msgspec import Struct

from services.validate.edge.responses.opening import WorkerParts, register_metrics
from services.validate.edge.responses.worker import ResponsesWorker
from shared.registry.client import Client
from shared.responses.counting.counting import decode_counter
from shared.responses.counting.incidents import IncidentPolicy
from shared.runtime.clock import SystemClock
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.runtime.telemetry import Counters
from shared.store.counters import CounterStore
from shared.stream.client import ClientOptions, make_producer
from shared.stream.consumer import StreamConsumer
from shared.stream.log_reader import LogReader
from shared.stream.transactions import TransactionalProducer
from shared.stream.watchdog import Watchdog
from shared.topics.codec import encode_event
from shared.topics.control import Review, encode_review
from shared.topics.records import EventType, MailEvent
from shared.topics.suppressions import (
    CounterReset,
    Suppression,
    decode_suppression,
    encode_suppression,
    field_of,
)
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until
from tests.support.stream_topics import member, read_all

NEVER = Failpoints.none()
SHOP = Client("shop", "news.shop.example", "back@owner.example", "m", hard_limit=3, soft_limit=2)


class Registry:
    """A registry with one client."""

    def get(self, name: str) -> Client | None:
        return SHOP if name == "shop" else None

    def refresh(self, timeout_s: float) -> bool:
        return True

    def ready(self) -> bool:
        return True


class CountingBench(Struct, frozen=True):
    """The topics, the keys and the group of one test."""

    bootstrap: str
    client: redis.Redis
    stem: str
    policy: IncidentPolicy = IncidentPolicy()

    @property
    def events(self) -> str:
        return f"{self.stem}.events"

    @property
    def suppressions(self) -> str:
        return f"{self.stem}.suppressions"

    @property
    def key(self) -> str:
        return "{" + self.stem + "}"

    def publish(self, facts: Sequence[tuple[str, str, str]], topic: str = "") -> None:
        """Publish facts (kind, recipient, message), each to the partition of its message."""
        producer = make_producer(ClientOptions(self.bootstrap, "test"), None, linger_ms=0)
        for kind, recipient, mail_id in facts:
            if kind == "reset":
                key, value = encode_suppression(CounterReset("shop", recipient))
                producer.send(self.suppressions, value, key, [], 0)
            else:
                name, _, bounce_class = kind.partition("-")
                data = MailEvent("shop", recipient=recipient, bounce_class=bounce_class)
                event = EventType(name)
                key, value, headers = encode_event(event, mail_id, data, "deliver")
                producer.send(self.events, value, key, headers, sum(key) % 4)
            producer.flush()
        producer.close()

    def review(self, review: Review) -> None:
        """Write a review, as an operator does."""
        producer = make_producer(ClientOptions(self.bootstrap, "test"), None, linger_ms=0)
        key, value = encode_review(review)
        producer.send(f"{self.stem}.control", value, key, [], 0)
        producer.flush()
        producer.close()

    def counts(self, recipient: str) -> tuple[int, int]:
        value = self.client.hget(self.key, field_of("shop", recipient))
        counter = decode_counter(value)  # type: ignore[arg-type]
        return len(counter.hard), len(counter.soft)

    def state(self) -> dict[bytes, bytes]:
        return self.client.hgetall(self.key)  # type: ignore[return-value]

    def entries(self, expected: int) -> list[Suppression]:
        values = read_all(self.bootstrap, self.suppressions, expected)
        found = map(decode_suppression, values)
        return [each for each in found if isinstance(each, Suppression)]

    def settle(self) -> tuple[dict[bytes, bytes], int]:
        """Wait until all records are counted; return the state, and the number of entries."""
        ends: dict[str, int] = {}

        def is_settled() -> bool:
            ends.update(self._ends(self.events) | self._ends(self.suppressions))
            place = json.loads(self.state().get(b"place", b"{}"))
            return bool(place == ends)

        wait_until(is_settled, "everything is counted", PATIENCE_S)
        return self.state(), len(self.entries(0))

    def _ends(self, topic: str) -> dict[str, int]:
        """Return the offset after the last record, for each partition that has a record."""
        found: dict[str, int] = {}
        with closing(LogReader(ClientOptions(self.bootstrap, "test"), topic)) as reader:
            ends = reader.ends(reader.partitions())
            reader.read_from(dict.fromkeys(ends, 0))
            while not reader.has_reached(ends):
                for partition, records in reader.poll(100).items():
                    found[f"{topic}/{partition}"] = records[-1].offset + 1
            # Without a record, the place is at the beginning.
            return {f"{topic}/{each}": 0 for each in ends} | found

    def worker(self, name: str, failpoints: Failpoints = NEVER) -> ResponsesWorker:
        options = member(self.bootstrap, f"{self.stem}.{name}")
        election = f"{self.stem}.control"
        return ResponsesWorker(
            WorkerParts(
                options=options,
                make_consumer=partial(StreamConsumer, options, f"{self.stem}.group", (election,)),
                producer=TransactionalProducer(
                    options, "responses", failpoints, Watchdog(60.0, lambda *_: None)
                ),
                clients=Registry(),
                store=CounterStore(self.client, self.key),
                clock=SystemClock(),
                failpoints=failpoints,
                metrics=register_metrics(Counters("test", name)),
                policy=self.policy,
                control=election,
                events=self.events,
                suppressions=self.suppressions,
            )
        )

    @contextmanager
    def counting(self, name: str = "one") -> Iterator[ResponsesWorker]:
        worker, stop = self.worker(name), Stop()
        thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield worker
        finally:
            stop.set()
            thread.join(30.0)


def facts(random: Random, number: int) -> list[tuple[str, str, str]]:
    """Return a random history of few recipients, so that the order of every two facts matters."""
    kinds = ("bounced-hard", "bounced-soft", "bounced-soft", "delivered", "reset")
    weights = (2, 6, 6, 4, 1)
    return [
        (random.choices(kinds, weights)[0], f"r{random.randrange(12)}@x.example", mail_id)
        for mail_id in (f"m{random.getrandbits(60)}" for _ in range(number))
    ]


def random_seed() -> int:
    seed = int.from_bytes(os.urandom(4))
    print("seed", seed)
    return seed

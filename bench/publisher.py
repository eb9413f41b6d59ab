"""Publishes the messages of a benchmark to an intake topic, in a separate process.

The process publishes as fast as Kafka accepts the messages, or at a steady rate. At a steady rate
the process can record when it published each message. The producer is configured like the producer
of a platform: it is idempotent, has batches of 1 MB and uses lz4. To keep its cost small, the
process generates message bodies once and varies only the headers.

    python -m bench.publisher '{"bootstrap": ..., see Plan}'   prints a Report as JSON
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from kafka import KafkaProducer
from msgspec import Struct

from bench.processes import read_own_rss_mb

_LINE: Final = b"The quick brown fox jumps over the lazy dog and asks for its newsletter.\r\n"
_BATCH_BYTES: Final = 1024 * 1024
# At most this many bytes may be outstanding, because kafka-python's producer does not limit its
# memory.
_OUTSTANDING_BYTES: Final = 64 * 1024 * 1024
_FLUSH_TIMEOUT_S: Final = 120.0
_SLICE_S: Final = 0.01
# The number of different sizes. It is a prime number, so that messages of one size are not always
# on the same partition.
_SIZES: Final = 17


class Plan(Struct, frozen=True):
    """The messages to publish, and the broker.

    If `rate_per_s` is 0, the publisher publishes as fast as possible. `times` is the path of a file
    for the times of the messages, or "".
    """

    bootstrap: str
    topic: str
    sending_domain: str
    recipient_domain: str
    messages: int
    size_bytes: int  # The size of the largest message.
    rate_per_s: float = 0.0
    run: str = "r"
    times: str = ""
    least_bytes: int = 0  # The size of the smallest message, or 0 if all sizes are equal.


class Report(Struct, frozen=True):
    """The times of the first send and the last acknowledgement (Unix seconds), CPU time, and
    memory."""

    first_at: float
    acknowledged_at: float
    cpu_s: float
    rss_mb: float


def make_body(size_bytes: int) -> bytes:
    """Return a body for a message that has `size_bytes`, or slightly less."""
    longest = Plan("", "", "news.bench.example", "latency.example.net", 1, 0, run="latency")
    head = len(make_head(longest, 99_999_999))
    room = max(size_bytes - head, len(_LINE))
    return (_LINE * (room // len(_LINE) + 1))[: room - 2] + b"\r\n"


def make_bodies(plan: Plan) -> list[bytes]:
    """Return the bodies that the messages use in turn. Their sizes are spread evenly."""
    if not plan.least_bytes:
        return [make_body(plan.size_bytes)]
    step = (plan.size_bytes - plan.least_bytes) / (_SIZES - 1)
    return [make_body(plan.least_bytes + int(number * step)) for number in range(_SIZES)]


def make_head(plan: Plan, number: int) -> bytes:
    """Return the header block of the message with this number, including the empty line."""
    return (
        f"From: Bench News <news@{plan.sending_domain}>\r\n"
        f"To: Reader {number} <ok-{number}@{plan.recipient_domain}>\r\n"
        f"Subject: The news of today, issue {number}\r\n"
        f"Message-ID: <{plan.run}.{number:08d}@{plan.sending_domain}>\r\n"
        "Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
        f"Reply-To: answers@{plan.sending_domain}\r\n"
        f"List-Unsubscribe: <https://{plan.sending_domain}/u/{number:08d}>\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 7bit\r\n"
        "\r\n"
    ).encode()


class _Publisher:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._room = threading.Semaphore(max(1, _OUTSTANDING_BYTES // max(plan.size_bytes, 1)))
        self._failed: list[BaseException] = []

    def run(self) -> Report:
        producer = KafkaProducer(
            bootstrap_servers=self._plan.bootstrap.split(","),
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            batch_size=_BATCH_BYTES,
            linger_ms=20,
            metrics_enabled=False,
        )
        producer.partitions_for(self._plan.topic)  # This call avoids a wait at the first send.
        first_at = time.time()
        times = self._send_all(producer)
        producer.flush(timeout=_FLUSH_TIMEOUT_S)
        acknowledged_at = time.time()
        rss_mb = read_own_rss_mb()
        producer.close(timeout=5)
        if self._failed:
            raise SystemExit(f"{len(self._failed)} messages not published: {self._failed[0]!r}")
        if self._plan.times:
            Path(self._plan.times).write_bytes(msgspec.json.encode(times))
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Report(first_at, acknowledged_at, used.ru_utime + used.ru_stime, rss_mb)

    def _send_all(self, producer: Any) -> list[float]:
        plan, bodies = self._plan, make_bodies(self._plan)
        times: list[float] = []
        started = time.monotonic()
        for number in range(plan.messages):
            if plan.rate_per_s:
                ahead = number / plan.rate_per_s - (time.monotonic() - started)
                if ahead > _SLICE_S:
                    time.sleep(ahead)
                times.append(time.time())
            self._room.acquire()
            body = bodies[number % len(bodies)]
            future = producer.send(plan.topic, value=make_head(plan, number) + body)
            future.add_both(self._done)
        return times

    def _done(self, result: object) -> None:
        if isinstance(result, BaseException):
            self._failed.append(result)
        self._room.release()


def main() -> None:
    """Publish according to the plan in the first argument."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    report = _Publisher(plan).run()
    print(msgspec.json.encode(report).decode())


if __name__ == "__main__":
    main()

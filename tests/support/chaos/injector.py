"""The injector: publishes messages to the intake topics and records the promises.

Job: publish a run's submissions with acks=all and an idempotent producer, at a steady rate
or as fast as possible, in a separate thread; a promise is recorded, with its coordinates, only
when Kafka has acknowledged the record.

On failure: kafka-python retries a record itself, and idempotence prevents a duplicate.
A record that the library drops is submitted again with the same Message-ID, and its promise is
marked `maybe_twice`, because it is unknown whether the first record was written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from kafka import KafkaProducer
from msgspec.structs import replace

from shared.stream.client import RECONNECT_MAX_MS
from tests.support.chaos.evidence import Promise
from tests.support.chaos.mixture import Submission

# This is longer than any fault of the suite (the broker is down for 30 s), so no record is dropped.
DELIVERY_TIMEOUT_MS: Final = 180_000
REQUEST_TIMEOUT_MS: Final = 20_000
# The submissions that may wait for acknowledgement: bounds the producer's memory.
MAX_OUTSTANDING: Final = 2_000
# For a steady rate, a slice is published this often.
_SLICE_S: Final = 0.02


class InjectorError(RuntimeError):
    """Not every message could be submitted; the text contains the number and the reason."""


class Injector:
    """Publishes `submissions` once started; `promises()` returns those acknowledged so far.

    With `rate_per_s` 0, messages are sent as fast as possible. Until release(), only the first
    `released` messages are sent. Messages not sent when stop() is called are never sent.
    """

    def __init__(
        self,
        bootstrap: str,
        submissions: Sequence[Submission],
        journal: Path,
        rate_per_s: float = 0.0,
        released: int | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._submissions = submissions
        self._rate_per_s = rate_per_s
        self._count = len(submissions)
        self._released = self._count if released is None else released
        self._handed_in = 0
        self._journal = journal.open("ab")
        self._lock = threading.Condition()
        self._promises: list[Promise] = []
        self._again: list[Submission] = []
        self._outstanding = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="injector", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def release(self, count: int) -> int:
        """Allow `count` more submissions; return the number that is still held back."""
        with self._lock:
            self._released = min(self._released + count, self._count)
            self._lock.notify_all()
            return self._count - self._released

    def stop(self) -> None:
        """Submit no more: the load ends with the messages sent by now."""
        with self._lock:
            self._count = self._released = self._handed_in
            self._lock.notify_all()

    def promises(self) -> tuple[Promise, ...]:
        """Return the acknowledged submissions so far."""
        with self._lock:
            return tuple(self._promises)

    @property
    def acknowledged(self) -> int:
        """Return the number of acknowledged submissions so far."""
        with self._lock:
            return len(self._promises)

    def wait_for(self, count: int, timeout_s: float) -> None:
        """Wait until `count` are acknowledged; raises InjectorError after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while len(self._promises) < count:
                left = deadline - time.monotonic()
                if self._error is not None or left <= 0:
                    raise InjectorError(
                        f"{len(self._promises)} of {count} acknowledged after {timeout_s} s: "
                        f"{self._error or 'no error'}"
                    )
                self._lock.wait(min(left, 0.5))

    def is_done(self) -> bool:
        """Return whether all are acknowledged, or can no longer be."""
        with self._lock:
            return self._error is not None or len(self._promises) >= self._count

    def finish(self, timeout_s: float) -> tuple[Promise, ...]:
        """Wait until everything is acknowledged and return the promises."""
        with self._lock:
            count = self._count
        self.wait_for(count, timeout_s)
        self._thread.join(timeout_s)
        self._journal.close()
        return self.promises()

    def _run(self) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self._bootstrap.split(","),
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_block_ms=DELIVERY_TIMEOUT_MS,
            linger_ms=5,
            reconnect_backoff_max_ms=RECONNECT_MAX_MS,  # by default up to 30 s after an outage
            metrics_enabled=False,
        )
        if not producer.config["enable_idempotence"]:
            raise InjectorError("the producer turned idempotence off")
        try:
            self._publish(producer)
        except BaseException as error:
            with self._lock:
                self._error = error
                self._lock.notify_all()
            raise
        finally:
            producer.close(timeout=10)

    def _publish(self, producer: Any) -> None:
        started = time.monotonic()
        for number, submission in enumerate(self._submissions):
            if self._rate_per_s:
                ahead = number / self._rate_per_s - (time.monotonic() - started)
                if ahead > _SLICE_S:
                    time.sleep(ahead)
            with self._lock:
                while self._released <= number < self._count:
                    self._lock.wait(1.0)
                if number >= self._count:
                    break
                self._handed_in = number + 1
            self._hand_in(producer, submission)
        while True:
            producer.flush(timeout=DELIVERY_TIMEOUT_MS / 1000)
            with self._lock:
                again, self._again = self._again, []
                if not again and not self._outstanding:
                    return
            for submission in again:
                self._hand_in(producer, submission)

    def _hand_in(self, producer: Any, submission: Submission) -> None:
        with self._lock:
            while self._outstanding >= MAX_OUTSTANDING:
                self._lock.wait(1.0)
            self._outstanding += 1
        future = producer.send(submission.topic, value=submission.content)
        future.add_callback(self._acknowledged, submission)
        future.add_errback(self._failed, submission)

    def _acknowledged(self, submission: Submission, metadata: Any) -> None:
        promise = replace(
            submission.promise,
            partition=metadata.partition,
            offset=metadata.offset,
            at_ms=int(time.time() * 1000),
        )
        line = msgspec.json.encode(promise) + b"\n"
        with self._lock:
            self._journal.write(line)
            self._promises.append(promise)
            self._outstanding -= 1
            self._lock.notify_all()

    def _failed(self, submission: Submission, _error: BaseException) -> None:
        twice = replace(submission.promise, maybe_twice=True)
        with self._lock:
            self._again.append(replace(submission, promise=twice))
            self._outstanding -= 1
            self._lock.notify_all()

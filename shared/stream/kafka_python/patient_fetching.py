"""A fetcher that costs little while nothing is written: a workaround for kafka-python 3.0.12.

A consumer that waits for `fetch_min_bytes` sends a request every `fetch_max_wait_ms`, even if
nothing is written for hours. After IDLE_AFTER_S without records it asks for any record instead and
waits longer: the first record arrives at once, and an idle consumer costs a fraction. A poll() that
has nothing to fetch sleeps for IDLE_SLEEP_MS, not for the back-off between retries.
"""

from __future__ import annotations

from typing import Any, Final

from shared.runtime.clock import monotonic
from shared.stream.kafka_python.fetching_by_id import FetcherById

IDLE_AFTER_S: Final = 1.0
# A partition that is resumed or assigned while a fetch waits is fetched after that wait.
IDLE_WAIT_MS: Final = 500
IDLE_SLEEP_MS: Final = 50


class PatientFetcher(FetcherById):
    """A fetcher that waits longer while no records come, if its consumer fetches in batches."""

    def __init__(self, *args: Any, **config: Any) -> None:
        super().__init__(*args, **config)
        names = ("fetch_min_bytes", "fetch_max_wait_ms")
        self._busy = {name: self.config[name] for name in names}
        is_batching = self._busy["fetch_min_bytes"] > 1
        self._idle = dict(zip(names, (1, IDLE_WAIT_MS), strict=True)) if is_batching else self._busy
        self._received_at = monotonic()

    def fetched_records(self, max_records: int | None = None, update_offsets: bool = True) -> Any:
        """Return fetched records, and whether there are more."""
        found = super().fetched_records(max_records, update_offsets)
        if found[0]:
            self._received_at = monotonic()
        return found

    def _create_fetch_requests(self) -> Any:
        is_idle = monotonic() - self._received_at >= IDLE_AFTER_S
        self.config.update(self._idle if is_idle else self._busy)
        return super()._create_fetch_requests()


def sleep_while_idle(consumer: Any) -> None:
    """Let poll() sleep for IDLE_SLEEP_MS while a KafkaConsumer has nothing to fetch.

    poll() sleeps for the back-off between retries; the parts of the consumer have a copy of it.
    """
    consumer.config["retry_backoff_ms"] = IDLE_SLEEP_MS

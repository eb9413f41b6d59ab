"""A fetcher that uses little CPU time on an idle topic: a workaround for kafka-python 3.0.12.

If the library's consumer waits for `fetch_min_bytes`, it sends a request every `fetch_max_wait_ms`,
even if nothing is written for hours. Here, after IDLE_AFTER_S without records, each request waits
longer at the broker and ends with the first record of any size. So the first record arrives at
once, and an idle consumer needs much less CPU time. If poll() has nothing to fetch, it sleeps for
IDLE_SLEEP_MS instead of the shorter back-off between retries.
"""

from __future__ import annotations

from typing import Any, Final

from shared.runtime.clock import monotonic
from shared.stream.kafka_python.fetching_by_id import FetcherById

IDLE_AFTER_S: Final = 1.0
# If a partition is resumed or assigned while a fetch waits, the partition is fetched after this
# wait.
IDLE_WAIT_MS: Final = 500
IDLE_SLEEP_MS: Final = 50


class PatientFetcher(FetcherById):
    """Waits longer while no records arrive. This affects only consumers that fetch in batches."""

    def __init__(self, *args: Any, **config: Any) -> None:
        super().__init__(*args, **config)
        names = ("fetch_min_bytes", "fetch_max_wait_ms")
        self._busy = {name: self.config[name] for name in names}
        is_batching = self._busy["fetch_min_bytes"] > 1
        self._idle = dict(zip(names, (1, IDLE_WAIT_MS), strict=True)) if is_batching else self._busy
        self._received_at = monotonic()

    def fetched_records(self, max_records: int | None = None, update_offsets: bool = True) -> Any:
        """Return fetched records, and whether more records are available."""
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

    poll() reads its sleeping time from the setting for the retry back-off. The other parts of the
    consumer have their own copy of this setting, so their back-off does not change.
    """
    consumer.config["retry_backoff_ms"] = IDLE_SLEEP_MS

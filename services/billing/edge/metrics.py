"""The metrics that billing publishes on /metrics."""

from __future__ import annotations

from typing import Final

from shared.runtime.telemetry import Counters, Metric

RECORDS: Final = Metric("sluice_billing_records", "Records of mail.events that were counted.")
UNREADABLE: Final = Metric(
    "sluice_billing_unreadable", "Events that could not be read and are not counted."
)
REWINDS: Final = Metric(
    "sluice_billing_rewinds",
    "Times that a partition was read again because the store was at another offset.",
)
LAG: Final = Metric("sluice_billing_lag", "Committed records not counted yet.", ("partition",))


class BillingMetrics:
    """The counters and gauges of the billing worker."""

    def __init__(self, counters: Counters) -> None:
        self.records = counters.counter(RECORDS)
        self.unreadable = counters.counter(UNREADABLE)
        self.rewinds = counters.counter(REWINDS)
        self.lag = counters.gauge(LAG)

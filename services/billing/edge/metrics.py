"""The metrics that billing publishes on /metrics."""

from __future__ import annotations

from shared.runtime.telemetry import Counters


class BillingMetrics:
    """The counters and gauges of the billing worker."""

    def __init__(self, counters: Counters) -> None:
        self.records = counters.counter(
            "sluice_billing_records", "Records of mail.events that were counted."
        )
        self.unreadable = counters.counter(
            "sluice_billing_unreadable", "Events that could not be read and are not counted."
        )
        self.rewinds = counters.counter(
            "sluice_billing_rewinds",
            "Times that a partition was read again because the store was at another offset.",
        )
        self.lag = counters.gauge(
            "sluice_billing_lag", "Committed records not counted yet.", ["partition"]
        )

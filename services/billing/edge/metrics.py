"""The metrics that the billing service publishes on /metrics."""

from __future__ import annotations

from typing import Final

from shared.runtime.telemetry import Counters, Metric

RECORDS: Final = Metric("sluice_billing_records", "Records of mail.events that were counted.")
UNREADABLE: Final = Metric(
    "sluice_billing_unreadable", "Events that could not be read and are not counted."
)
UNKNOWN: Final = Metric(
    "sluice_billing_unknown", "Records of types that are not known; they are not counted."
)
REWINDS: Final = Metric(
    "sluice_billing_rewinds",
    "Times that a partition was read again because the store was at another offset.",
)
CHECKPOINTS: Final = Metric(
    "sluice_billing_checkpoints", "Checkpoints of the counts that were written."
)
CLOSED: Final = Metric("sluice_billing_closed", "Months that were closed by this process.")
BOOK_FAULTS: Final = Metric(
    "sluice_billing_book_faults",
    "Times that a checkpoint was not written or a month that was due was not closed.",
)
LAG: Final = Metric("sluice_billing_lag", "Committed records not counted yet.", ("partition",))


class BillingMetrics:
    """The counters and gauges of the billing worker."""

    def __init__(self, counters: Counters) -> None:
        self.records = counters.counter(RECORDS)
        self.unreadable = counters.counter(UNREADABLE)
        self.unknown = counters.counter(UNKNOWN)
        self.rewinds = counters.counter(REWINDS)
        self.checkpoints = counters.counter(CHECKPOINTS)
        self.closed = counters.counter(CLOSED)
        self.book_faults = counters.counter(BOOK_FAULTS)
        self.lag = counters.gauge(LAG)

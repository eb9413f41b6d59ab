"""The metrics of counting bounces."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from shared.runtime.telemetry import Counter, Counters, Gauge, Metric

RECORDS: Final = Metric("sluice_responses_records", "Records counted or passed over.")
ENTRIES: Final = Metric(
    "sluice_responses_entries",
    "Recipients suppressed by their bounces, complaints or unsubscriptions.",
    ("client", "reason"),
)
UNREADABLE: Final = Metric(
    "sluice_responses_unreadable", "Events that could not be read and are not counted."
)
RESTARTS: Final = Metric(
    "sluice_responses_restarts",
    "Times the counters were read again from the store: after a change of the counting process, a"
    " lost transaction or an emptied Redis.",
)
HELD: Final = Metric(
    "sluice_responses_held",
    "Hard bounces that do not count because of an incident at their provider.",
    ("provider", "status"),
)
INCIDENTS: Final = Metric(
    "sluice_responses_incidents",
    "Open incidents at providers: spikes of one hard status whose bounces are held. Shown by the"
    " process that counts.",
)
LAG: Final = Metric("sluice_responses_lag", "Records not yet counted.")


class ResponseMetrics(Struct, frozen=True):
    """The metrics of the counting of bounces."""

    records: Counter
    entries: Counter
    unreadable: Counter
    restarts: Counter
    held: Counter
    incidents: Gauge
    lag: Gauge


def register_metrics(counters: Counters) -> ResponseMetrics:
    """Declare the metrics."""
    return ResponseMetrics(
        counters.counter(RECORDS),
        counters.counter(ENTRIES),
        counters.counter(UNREADABLE),
        counters.counter(RESTARTS),
        counters.counter(HELD),
        counters.gauge(INCIDENTS),
        counters.gauge(LAG),
    )

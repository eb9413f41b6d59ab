"""Registers the readiness check and the metrics of a relay or a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from shared.runtime.health import HealthServer
from shared.runtime.telemetry import Counters, Metric
from shared.stream.jobs import WorkerStatus
from shared.stream.relay import RelayStatus

# The metrics of relays and workers; each name ends with the attribute of the status it shows.
_BOTH: Final = (
    Metric("sluice_stream_transactions", "Transactions committed."),
    Metric(
        "sluice_stream_lost_transactions",
        "Transactions that did not commit, or whose result is unknown. A few at a broker's restart"
        " are normal.",
    ),
    Metric(
        "sluice_stream_lost_memberships",
        "Times the process lost its membership of the consumer group, for example after a pause of"
        " more than 10 s. What deliver had in flight may have been sent twice.",
    ),
)
RELAY_METRICS: Final = (
    Metric("sluice_stream_records", "Records read and answered."),
    Metric("sluice_stream_outputs", "Records written."),
    Metric(
        "sluice_stream_unreadable",
        "Records that could not be read and were written to mail.refused. In ingest a client's"
        " fault; in validate a sign that another program writes to an internal topic.",
    ),
    *_BOTH,
)
WORKER_METRICS: Final = (
    Metric("sluice_stream_handed_out", "Messages handed out for an attempt."),
    Metric("sluice_stream_settled", "Messages whose outcome is committed."),
    Metric(
        "sluice_stream_in_flight",
        "Messages handed out and not committed; a crash now may send these twice.",
    ),
    Metric("sluice_stream_in_flight_bytes", "Bytes of the messages in flight."),
    Metric(
        "sluice_stream_oldest_in_flight_s",
        "Seconds since the oldest message in flight was handed out; 0 if there is none.",
    ),
    Metric(
        "sluice_stream_unreadable",
        "Records that were not a pack of messages and were written to mail.refused: a sign that"
        " another program writes to an internal topic.",
    ),
    *_BOTH,
)
_PREFIX: Final = "sluice_stream_"


def register_relay_metrics(status: RelayStatus, health: HealthServer, counters: Counters) -> None:
    """Register the state of a relay for /ready and /metrics."""
    _tell(status, RELAY_METRICS, counters)
    health.add_ready("kafka", lambda: status.waiting_by_check()["kafka"])
    health.add_ready("dependencies", lambda: status.waiting_by_check()["dependencies"])


def register_worker_metrics(status: WorkerStatus, health: HealthServer, counters: Counters) -> None:
    """Register the state of a worker for /ready and /metrics."""
    _tell(status, WORKER_METRICS, counters)
    health.add_ready("kafka", lambda: status.waiting_for)


def _tell(
    status: RelayStatus | WorkerStatus, metrics: Iterable[Metric], counters: Counters
) -> None:
    for metric in metrics:
        counters.watch(metric, _reader(status, metric.name.removeprefix(_PREFIX)))


def _reader(status: RelayStatus | WorkerStatus, name: str) -> Callable[[], float]:
    return lambda: float(getattr(status, name))

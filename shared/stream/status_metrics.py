"""Registers the readiness check and the metrics of a relay or a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shared.runtime.health import HealthServer
from shared.runtime.telemetry import Counters
from shared.stream.jobs import WorkerStatus
from shared.stream.relay import RelayStatus

RELAY_METRICS: Final = {
    "records": "Records read and processed.",
    "outputs": "Records written.",
    "unreadable": "Records that could not be decoded and were written to mail.refused.",
    "transactions": "Transactions committed.",
    "lost_transactions": "Transactions that did not commit, or whose result is unknown.",
    "lost_memberships": "Times this process lost its consumer group membership and rejoined.",
}
WORKER_METRICS: Final = {
    "handed_out": "Messages handed out for an attempt.",
    "settled": "Messages whose outcome is committed.",
    "in_flight": "Messages handed out and not yet committed; a crash may send these twice.",
    "in_flight_bytes": "Bytes of the messages in flight.",
    "transactions": "Transactions committed.",
    "lost_transactions": "Transactions that did not commit, or whose result is unknown.",
    "lost_memberships": "Times this process lost its consumer group membership and rejoined.",
    "unreadable": "Records that were not a pack of messages.",
}


def register_relay_metrics(status: RelayStatus, health: HealthServer, counters: Counters) -> None:
    """Register the state of a relay for /ready and /metrics."""
    _tell(status, RELAY_METRICS, counters)
    health.add_ready("kafka", lambda: status.waiting_for)


def register_worker_metrics(status: WorkerStatus, health: HealthServer, counters: Counters) -> None:
    """Register the state of a worker for /ready and /metrics."""
    _tell(status, WORKER_METRICS, counters)
    health.add_ready("kafka", lambda: status.waiting_for)


def _tell(status: RelayStatus | WorkerStatus, metrics: dict[str, str], counters: Counters) -> None:
    for name, help_line in metrics.items():
        counters.watch(f"sluice_stream_{name}", help_line, _reader(status, name))


def _reader(status: RelayStatus | WorkerStatus, name: str) -> Callable[[], float]:
    return lambda: float(getattr(status, name))

"""Checks every second whether the brokers can serve this process, even without traffic.

A consumer that receives no records cannot distinguish an idle topic from brokers that do not
answer. A producer that failed cannot detect when the brokers are available again. The check
requests the metadata of the topics that the process uses. Each partition must have a leader. Each
partition that the process writes to must also have enough replicas in sync.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from kafka.errors import KafkaError, for_code

from shared.runtime.checks import Probe
from shared.runtime.health import HealthServer
from shared.stream.client import ClientOptions, make_admin
from shared.stream.kafka_python.quiet_selector import QuietSelector
from shared.topics.configs import min_in_sync

ASK_TIMEOUT_MS: Final = 2_000
HELD_S: Final = 3.0
_MAX_SHOWN: Final = 3
BROKERS: Final = "brokers"  # the name of the check on /ready


def probe_brokers(
    options: ClientOptions, reads: Iterable[str], writes: Iterable[str], health: HealthServer
) -> Probe:
    """Create a probe (a context manager) of these topics. /ready shows the result as `brokers`.

    Call this function when the service adds its other checks, because /ready stops reporting
    "starting" as soon as the first check is added.
    """
    brokers = Brokers(options, tuple(reads), tuple(writes))
    probe = Probe("brokers", brokers.look)
    health.add_ready(BROKERS, probe.fault)
    return probe


class Brokers:
    """Queries the brokers from one thread. After a failure, a new client is created."""

    def __init__(self, options: ClientOptions, reads: Sequence[str], writes: Sequence[str]) -> None:
        self._options = options
        self._writes = frozenset(writes)
        self._topics = sorted({*reads, *writes})
        self._admin: Any = None

    def look(self) -> str:
        """Return the reason why these topics cannot be read or written now, or ""."""
        try:
            if self._admin is None:
                self._admin = self._connected()
            described = self._admin.describe_topics(self._topics)
        except KafkaError as error:
            self._drop()
            return f"no broker can be used at {self._options.bootstrap}: {error}"
        return fault_of(described, self._writes, self._options.in_sync)

    def _connected(self) -> Any:
        return make_admin(
            self._options,
            ASK_TIMEOUT_MS,
            client_id=f"sluice-probe-{self._options.instance}",
            bootstrap_timeout_ms=ASK_TIMEOUT_MS,
            reconnect_backoff_max_ms=1_000,
            selector=QuietSelector,
        )

    def _drop(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()


def fault_of(
    described: Iterable[Mapping[str, Any]], writes: Iterable[str], in_sync: int = 0
) -> str:
    """Describe the faults of these topics, from their metadata. Return "" if there is no fault.

    `in_sync` is the setting `kafka.min_insync_replicas`.
    """
    written = frozenset(writes)
    faults = [
        fault for topic in described for fault in _faults(topic, topic["name"] in written, in_sync)
    ]
    more = len(faults) - _MAX_SHOWN
    return "; ".join(faults[:_MAX_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _faults(topic: Mapping[str, Any], is_written: bool, wanted: int) -> list[str]:
    if topic["error_code"]:
        return [f"{topic['name']}: {for_code(topic['error_code']).__name__}"]
    faults = []
    for part in topic["partitions"]:
        place = f"{topic['name']}/{part['partition_index']}"
        in_sync, needed = len(part["isr_nodes"]), min_in_sync(len(part["replica_nodes"]), wanted)
        if part["leader_id"] < 0:
            faults.append(f"{place} has no leader")
        elif is_written and in_sync < needed:
            faults.append(f"{place} has {in_sync} of {needed} replicas in sync")
    return faults


def cleared_by(probe: Probe, fault: Callable[[], tuple[str, float]]) -> Callable[[], str]:
    """Build a check that reports a fault until a later success of the probe clears the fault.

    `fault` returns the reason of the fault and the monotonic time at which the fault was recorded.
    The fault is cleared when the probe succeeds at least HELD_S after that time. So a fault that
    recurs within HELD_S is shown without a break.
    """

    def check() -> str:
        reason, noted_at_s = fault()
        return "" if reason and probe.was_well_after(noted_at_s + HELD_S) else reason

    return check

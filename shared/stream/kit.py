"""What every service on Kafka is made of, made in one way.

Owns: how a service's clients, its topics, its failpoints and its watching of the brokers are
configured from its settings. Does not own: what the service reads, writes and does with it (its
app.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from shared.runtime.failpoints import Failpoints
from shared.runtime.probe import Probe
from shared.runtime.service_cli import Running
from shared.settings.sections import KafkaSettings, RuntimeSettings
from shared.stream.admin import ensure_topics_until
from shared.stream.client import options_of
from shared.stream.client_events import ClientEvents
from shared.stream.consumer import StreamConsumer
from shared.stream.jobs import Limits
from shared.stream.open_transactions import OpenTransactions
from shared.stream.reachability import probe_brokers
from shared.stream.relay import MAX_RECORDS, Process, Relay
from shared.stream.status_metrics import register_relay_metrics, register_worker_metrics
from shared.stream.transactions import TransactionalProducer
from shared.stream.watchdog import watchdog_of
from shared.stream.worker import Worker
from shared.topics.names import plans

FAILPOINT: Final = "SLUICE_FAILPOINT"


class StreamKit:
    """The parts of one service process."""

    def __init__(self, kafka: KafkaSettings, runtime: RuntimeSettings, running: Running) -> None:
        """Raises FailpointError if the environment names an unknown failpoint."""
        self._kafka = kafka
        self._running = running
        self.options = options_of(kafka, runtime)
        self.failpoints = Failpoints.parse(os.environ.get(FAILPOINT, ""))

    def ensure_topics(self, lanes: Sequence[str] = ()) -> bool:
        """Create and align the topics of the pipeline, and those of these lanes.

        Every service does it: whoever starts first creates them. Returns False if the process was
        asked to stop before Kafka answered.
        """
        topics = plans(tuple(lanes), self._kafka.partitions)
        return ensure_topics_until(self._running.stop, self._kafka, topics)

    def consumer(
        self, topics: Sequence[str] = (), pattern: str = "", *, keeps_claims: bool = False
    ) -> Callable[[], StreamConsumer]:
        """Return a function that joins the service's group, on these topics or a pattern."""
        group = f"sluice.{self._running.service}"
        return partial(
            StreamConsumer, self.options, group, topics, pattern, keeps_claims=keeps_claims
        )

    def producer(
        self, name: str = "", failpoints: Failpoints | None = None
    ) -> TransactionalProducer:
        """Create a producer; it connects when it is opened.

        By default the one of the service, with its failpoints; `name` becomes part of the
        transactional id.
        """
        return TransactionalProducer(
            self.options,
            name or self._running.service,
            failpoints or self.failpoints,
            watchdog_of(self.options),
            ClientEvents(self._kafka),
        )

    def relay(
        self,
        make_consumer: Callable[[], StreamConsumer],
        producer: TransactionalProducer,
        process: Process,
        *,
        max_records: int = MAX_RECORDS,
    ) -> Relay:
        """Create the service's relay, with its metrics and its check on /ready."""
        relay = Relay(
            self._running.service,
            make_consumer,
            producer,
            process,
            self.failpoints,
            max_records=max_records,
        )
        register_relay_metrics(relay.status, self._running.health, self._running.counters)
        return relay

    def worker(self, pattern: str, limits: Limits) -> Worker:
        """Create the service's worker, with its metrics and its check on /ready."""
        worker = Worker(
            self._running.service,
            self.consumer(pattern=pattern, keeps_claims=True),
            self.producer(),
            self.failpoints,
            limits,
        )
        register_worker_metrics(worker.status, self._running.health, self._running.counters)
        return worker

    @contextmanager
    def watching(self, reads: Iterable[str], writes: Iterable[str]) -> Iterator[Probe]:
        """Show on /ready whether these topics can be used, and end abandoned transactions."""
        with (
            probe_brokers(self.options, reads, writes, self._running.health) as brokers,
            OpenTransactions(self.options),
        ):
            yield brokers

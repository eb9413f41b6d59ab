"""One transactional producer: output records and consumed offsets, all or nothing.

commit() returns when the broker has committed. It raises TransactionLost when it has not,
or when nobody can know: kafka-python's commit waits without a limit and its producer cannot
be argued with after most errors, so the producer is given up and the next commit() makes a
new one, whose epoch fences the old and whose start ends or completes what the old left
open. The caller then reads its committed offsets again to learn which of the two happened.

A commit that hangs is ended by the Watchdog, with the process; why not sooner stands in
docs/decisions/0003-lost-transactions.md.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from shared.runtime.failpoints import Failpoints
from shared.stream.client import ClientOptions, discard, make_producer
from shared.stream.client_events import ClientEvents, is_lost_with_its_topic
from shared.stream.watchdog import Watchdog

log = logging.getLogger(__name__)


class Output(NamedTuple):
    """One record to write. `partition` None leaves the choice to the key, or to chance."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


class TransactionLost(Exception):
    """A transaction did not commit, or it is unknown whether it did."""


class TransactionalProducer:
    """Writes transactions for one service instance. Not thread-safe."""

    def __init__(
        self,
        options: ClientOptions,
        service: str,
        failpoints: Failpoints,
        watchdog: Watchdog,
        own_events: ClientEvents | None = None,
    ) -> None:
        """`own_events`: what keeps copies off topics that are not there; None: there are none."""
        self._options = options
        self._service = service
        self._transactional_id = f"sluice.{service}.{options.instance}"
        self._failpoints = failpoints
        self._watchdog = watchdog
        self._own_events = own_events
        self._producer: KafkaProducer | None = None

    def open(self) -> None:
        """Make the producer and end what a predecessor left open.

        Raises TransactionLost when no broker answers; call again.
        """
        if self._producer is not None:
            return
        producer = None
        try:
            with self._watchdog.guard("init_transactions"):
                producer = make_producer(self._options, self._transactional_id)
                producer.init_transactions()
        except KafkaError as error:
            if producer is not None:
                discard(producer)
            raise TransactionLost(f"no transactional producer: {error}") from error
        self._producer = producer

    def partitions_for(self, topic: str) -> int:
        """How many partitions a topic has. Raises TransactionLost when no broker tells."""
        self.open()
        assert self._producer is not None
        try:
            return len(self._producer.partitions_for(topic))
        except KafkaError as error:
            raise TransactionLost(f"partitions of {topic}: {error}") from error

    def commit(
        self,
        outputs: Iterable[Output],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        group: ConsumerGroupMetadata | None = None,
    ) -> None:
        """Write these records and offsets in one transaction. Raises TransactionLost.

        What is read from no topic has neither offsets nor a group.
        """
        self.open()
        producer = self._producer
        assert producer is not None
        own_events, records = self._own_events, list(outputs)
        try:
            if own_events is not None:
                missing = own_events.missing({output.topic for output in records}, producer)
                if missing:
                    records = [output for output in records if output.topic not in missing]
            with self._watchdog.guard("transaction"):
                self._run(producer, records, offsets, group)
        except (KafkaError, AssertionError, RuntimeError) as error:
            # kafka-python reports some of its own wrong states by the latter two.
            self._producer = None
            discard(producer)
            if own_events is not None:
                own_events.lost({output.topic for output in records}, error)
            raise TransactionLost(f"{type(error).__name__}: {error}") from error
        if own_events is not None:
            own_events.committed()

    def _run(
        self,
        producer: KafkaProducer,
        outputs: Sequence[Output],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None,
        group: ConsumerGroupMetadata | None,
    ) -> None:
        hit, service = self._failpoints.hit, self._service
        producer.begin_transaction()
        hit(f"{service}.begun")
        futures: list[Any] = []
        for topic, value, key, headers, chosen in outputs:
            partition = chosen
            if chosen is None and key is not None:
                # The library's own hash is written in Python and costs 11 us a record.
                partition = zlib.crc32(key) % len(producer.partitions_for(topic))
            futures.append(producer.send(topic, value, key, list(headers), partition))
        hit(f"{service}.produced")
        if offsets:
            producer.send_offsets_to_transaction(dict(offsets), group)
        hit(f"{service}.offsets_sent")
        producer.commit_transaction()
        # A record that failed by itself must never pass for written: the commit would have
        # failed with it, and this makes sure.
        for output, future in zip(outputs, futures, strict=True):
            if future.failed() and not is_lost_with_its_topic(output.topic, future.exception):
                raise future.exception
        hit(f"{service}.committed")

    def close(self) -> None:
        """End the producer; whatever is open is left to the successor to end."""
        producer, self._producer = self._producer, None
        if producer is not None:
            discard(producer)

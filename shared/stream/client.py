"""How Kafka clients are configured here: one place for what exactness and speed depend on.

What was measured: batches
of 1 MB, metrics off, small retry back-off (a transaction of 50 events takes 140 ms with the
default of 100 ms, 35 ms with 20 ms), fetches of 1 MB or 100 ms. Idempotence, isolation and
auto-commit are named explicitly because kafka-python gives way silently otherwise.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from msgspec import Struct

from shared.settings.sections import KafkaSettings, RuntimeSettings
from shared.stream.kafka_python.closing import ClosingClient
from shared.stream.kafka_python.fetching import bound_fetches
from shared.stream.kafka_python.quiet_selector import QuietSelector

BATCH_BYTES: Final = 1024 * 1024
# An intake record of up to 8 MB may have to be copied to mail.refused.
MAX_REQUEST_BYTES: Final = 10 * 1024 * 1024
FETCH_MIN_BYTES: Final = 1024 * 1024
FETCH_WAIT_MS: Final = 50
FETCH_MAX_BYTES: Final = 16 * 1024 * 1024
PARTITION_FETCH_BYTES: Final = 8 * 1024 * 1024
RETRY_BACKOFF_MS: Final = 10
RECONNECT_MAX_MS: Final = 1_000
# Also the time that a rebalance waits for a slow member.
MAX_POLL_INTERVAL_MS: Final = 60_000
SESSION_TIMEOUT_MS: Final = 10_000
HEARTBEAT_MS: Final = 2_000
# A transaction whose owner died is ended by the broker after this, if its successor did not.
# Longer than brokers are ever away: docs/decisions/0005-transaction-timeout.md.
TRANSACTION_TIMEOUT_MS: Final = 900_000
METADATA_AGE_MS: Final = 2_000
BOOTSTRAP_MS: Final = 5_000


class ClientOptions(Struct, frozen=True):
    """Where Kafka is and who asks: brokers `host:port[,host:port]`, this process's name.

    `static` makes the consumer a static member (KIP-345): a successor of the same instance
    name takes over at once, where a dynamic one waits for the session time-out.
    """

    bootstrap: str
    instance: str
    compression: str = "lz4"
    static: bool = False


def options_of(kafka: KafkaSettings, runtime: RuntimeSettings) -> ClientOptions:
    """The options that a process's settings name."""
    return ClientOptions(
        bootstrap=kafka.bootstrap,
        instance=runtime.instance,
        compression="" if kafka.compression == "none" else kafka.compression,
        static=kafka.static_membership,
    )


def _common(options: ClientOptions, role: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": options.bootstrap.split(","),
        "client_id": f"sluice-{role}-{options.instance}",
        "metrics_enabled": False,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
        "reconnect_backoff_ms": 50,
        "reconnect_backoff_max_ms": RECONNECT_MAX_MS,
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
        "allow_auto_create_topics": False,
        "selector": QuietSelector,
        "kafka_client": ClosingClient,
    }


def make_producer(
    options: ClientOptions, transactional_id: str | None, **overrides: Any
) -> KafkaProducer:
    """A producer that writes each record once; transactional when an id is given.

    Raises kafka.errors.KafkaError when no broker answers within BOOTSTRAP_MS.
    """
    config: dict[str, Any] = {
        **_common(options, "producer"),
        "enable_idempotence": True,
        "transactional_id": transactional_id,
        "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS,
        "compression_type": options.compression or None,
        "batch_size": BATCH_BYTES,
        "linger_ms": 20,
        "max_request_size": MAX_REQUEST_BYTES,
        "request_timeout_ms": 15_000,
        "max_block_ms": 15_000,
    }
    producer = KafkaProducer(**{**config, **overrides})
    _keep_requests(producer)
    return producer


def _keep_requests(producer: Any) -> None:
    """Keep the sender from losing a transactional request: a fault of kafka-python 3.0.12.

    A coordinator that is not there makes await_ready() raise. The sender then looks for the
    coordinator anew, but has forgotten the request it wanted to send: a commit waits for ever.
    Where await_ready() says False instead, the request goes back into the queue.
    """
    client = producer._sender._client
    await_ready = client.await_ready

    def is_ready(node_id: Any, timeout_ms: int = 30_000) -> bool:
        try:
            return bool(await_ready(node_id, timeout_ms))
        except KafkaError:
            return False

    client.await_ready = is_ready


def discard(producer: KafkaProducer) -> None:
    """Close without waiting. close() flushes first and would wait for a broker that is away."""
    with contextlib.suppress(Exception):
        producer.close(timeout=0)
    with contextlib.suppress(Exception):
        # A close that raised half-way leaves the sender thread running.
        producer._sender.force_close()
        producer._closed = True


def make_consumer(options: ClientOptions, group: str | None, **overrides: Any) -> KafkaConsumer:
    """A consumer of committed records only, which never commits by itself."""
    config: dict[str, Any] = {
        **_common(options, "consumer"),
        "group_id": group,
        "group_instance_id": options.instance if options.static and group else None,
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "auto_offset_reset": "earliest",
        "partition_assignment_strategy": [CooperativeStickyAssignor],
        "max_poll_interval_ms": MAX_POLL_INTERVAL_MS,
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        "heartbeat_interval_ms": HEARTBEAT_MS,
        "metadata_max_age_ms": METADATA_AGE_MS,
        "fetch_min_bytes": FETCH_MIN_BYTES,
        "fetch_max_wait_ms": FETCH_WAIT_MS,
        "fetch_max_bytes": FETCH_MAX_BYTES,
        "max_partition_fetch_bytes": PARTITION_FETCH_BYTES,
    }
    consumer = made(KafkaConsumer, **{**config, **overrides})
    bound_fetches(consumer)
    return consumer


def make_admin(bootstrap: str, timeout_ms: int, **overrides: Any) -> Any:
    """A KafkaAdminClient whose requests may take `timeout_ms`; close() it.

    Raises kafka.errors.KafkaError when no broker answers.
    """
    config = {"bootstrap_servers": bootstrap.split(","), "request_timeout_ms": timeout_ms}
    return made(KafkaAdminClient, **config, **overrides)


def made(kind: Any, **config: Any) -> Any:
    """A KafkaConsumer or KafkaAdminClient.

    One that finds no broker raises while it is being made, and leaves the thread that it has
    begun running for ever (kafka-python 3.0.12): a process that waits out a stop of Kafka would
    gather hundreds. Here the thread is ended.
    """
    client = kind.__new__(kind)
    try:
        client.__init__(**{"kafka_client": ClosingClient, **config})
    except BaseException:
        begun = getattr(client, "_client", None)
        if begun is not None:
            begun.close()
        raise
    return client


def position_of(consumer: Any, partition: TopicPartition, timeout_ms: int) -> int:
    """The offset that is read next; -1 before the first answer. Raises KafkaError."""
    found = consumer.position(partition, timeout_ms=timeout_ms)
    return -1 if found is None else int(found)

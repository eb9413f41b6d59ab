"""Writes the registry: client records to mail.clients, and each client's intake topic.

Promises: when apply() returns, every record is acknowledged by all in-sync replicas and
every intake topic exists. Topics come first, so that a client that is registered can submit.
A failure half-way leaves a state from which the same apply goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kafka.errors import KafkaError

from shared.registry.changes import Changes
from shared.registry.client import Client, encode_client
from shared.runtime.lifecycle import PartAway
from shared.runtime.sections import KafkaSettings
from shared.stream.admin import TopicError, ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.topics import names

_FLUSH_TIMEOUT_S: Final = 30.0
_INSTANCE: Final = "registry"


def registry_plan() -> names.TopicPlan:
    """How mail.clients is created."""
    return next(plan for plan in names.plans(()) if plan.name == names.CLIENTS)


def apply(kafka: KafkaSettings, changes: Changes) -> list[str]:
    """Carry the changes out; returns the names of the topics created.

    Raises PartAway when Kafka does not answer or does not acknowledge.
    """
    every = [client.name for client in changes.to_write] + list(changes.unchanged)
    plans = [names.intake_plan(name, kafka.intake_partitions) for name in every]
    records: dict[str, Client | None] = {client.name: client for client in changes.to_write}
    records.update(dict.fromkeys(changes.removed))
    try:
        created = ensure_topics(kafka.bootstrap, [registry_plan(), *plans], kafka.replication)
        if records:
            _write(kafka, records)
    except (KafkaError, TopicError) as error:
        raise PartAway("Kafka", kafka.bootstrap, str(error)) from error
    return created


def _write(kafka: KafkaSettings, records: Mapping[str, Client | None]) -> None:
    compression = "" if kafka.compression == "none" else kafka.compression
    producer = make_producer(ClientOptions(kafka.bootstrap, _INSTANCE, compression), None)
    try:
        futures = [
            producer.send(
                names.CLIENTS, None if client is None else encode_client(client), name.encode()
            )
            for name, client in records.items()
        ]
        producer.flush(timeout=_FLUSH_TIMEOUT_S)
        for future in futures:
            future.get(timeout=_FLUSH_TIMEOUT_S)
    finally:
        producer.close(timeout=1)

"""Reads and writes mail.suppressions for commands, and finds the view in Redis.

Owns: finding the last record of each key, waiting until Kafka acknowledges a write, and waiting
until the view in Redis contains the written records. All functions raise Unavailable if Kafka does
not answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

from kafka.errors import KafkaError
from msgspec import Struct, structs

from cli.options import find_endpoints
from shared.runtime.clock import Deadline
from shared.runtime.errors import PartUnavailable, UsageError
from shared.runtime.tcp import in_url
from shared.settings.loader import DEFAULT_ORIGIN, load
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import StoreUnavailable, connect
from shared.store.counters import CounterStore
from shared.store.suppressions import SuppressionStore
from shared.stream.client import FETCH_MIN_BYTES, client_options, make_producer
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.codec import CodecError
from shared.topics.names import SUPPRESSIONS
from shared.topics.suppressions import (
    PARTITION,
    SuppressionRecord,
    decode_suppression,
    encode_suppression,
)

POLL_MS: Final = 200
POLL_RECORDS: Final = 10_000
READ_S: Final = 600.0
IN_FORCE_S: Final = 10.0
_LOOK_S: Final = 0.1
_REDIS_PORT: Final = 6379
# At most this many records await acknowledgement by Kafka; this bounds the memory of an import.
MAX_PENDING: Final = 10_000
Chosen = Callable[[SuppressionRecord], bool]
Progress = Callable[[int], None]


class ServersOnly(Struct, frozen=True):
    """The settings with the addresses of Kafka and Redis."""

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()


class Stores(Struct, frozen=True):
    """The state in Redis that is derived from Kafka: suppressions and bounce counters."""

    suppressions: SuppressionStore
    counters: CounterStore


def open_stores(line: str) -> Stores:
    """Connect to the Redis in the settings; if none is set, connect to the running pipeline's
    Redis."""
    redis = find_redis(line)
    client = connect(redis, decode_responses=False)
    return Stores(
        SuppressionStore(client, redis.suppressions_key), CounterStore(client, redis.counters_key)
    )


def find_redis(line: str) -> RedisSettings:
    """Return the Redis in the settings; if none is set, return the running pipeline's Redis.

    Raises NotRunning if neither Redis exists, and UsageError if the settings contradict each other.
    """
    loaded = load(ServersOnly)
    redis = loaded.settings.redis
    configured = [loaded.origins[key] != DEFAULT_ORIGIN for key in ("redis.url", "kafka.bootstrap")]
    endpoints = find_endpoints(line, _address(redis), is_configured=any(configured))
    if endpoints is None or (configured[0] and not line):
        return redis
    try:
        return structs.replace(redis, url=endpoints.redis)
    except ValueError as error:  # For example, a CA file is set, but the URL has no TLS.
        raise UsageError(str(error)) from None


def _address(redis: RedisSettings) -> str:
    url = urlsplit(redis.url)
    return f"{in_url(url.hostname or '127.0.0.1')}:{url.port or _REDIS_PORT}"


def read_records(kafka: KafkaSettings, is_chosen: Chosen) -> list[SuppressionRecord]:
    """Return the last accepted record of each key, in the order of the keys.

    `is_chosen` decides which records are accepted.
    """
    found: dict[bytes, SuppressionRecord] = {}
    options = client_options(kafka, f"suppressions-{os.getpid()}")
    try:
        reader = LogReader(
            options, SUPPRESSIONS, max_poll_records=POLL_RECORDS, fetch_min_bytes=FETCH_MIN_BYTES
        )
        with closing(reader):
            if PARTITION not in reader.partitions():
                return []
            for record in reader.read_whole(PARTITION, READ_S):
                if isinstance(record, UndecodableRecord) or record.value is None:
                    continue
                try:
                    entry = decode_suppression(record.value)
                except CodecError:
                    continue  # the validate service logs and counts this fault
                if is_chosen(entry):
                    found[record.key or b""] = entry
    except KafkaError as error:
        raise _unavailable(kafka, str(error)) from error
    return [found[key] for key in sorted(found)]


def write_records(
    kafka: KafkaSettings, records: Iterable[SuppressionRecord], progress: Progress = lambda _: None
) -> int:
    """Write these records; when all are acknowledged, return the offset after the last record."""
    options = client_options(kafka, f"suppressions-{os.getpid()}")
    end = 0
    try:
        with closing(make_producer(options, None)) as producer:
            pending = []
            for record in records:
                key, value = encode_suppression(record)
                pending.append(producer.send(SUPPRESSIONS, value, key, [], PARTITION))
                if len(pending) == MAX_PENDING:
                    end = _acknowledged(pending)
                    progress(len(pending))
                    pending = []
            producer.flush()
            if pending:
                end = _acknowledged(pending)
                progress(len(pending))
    except KafkaError as error:
        raise _unavailable(kafka, str(error)) from error
    return end


def _acknowledged(pending: list) -> int:  # type: ignore[type-arg]
    return max(int(future.get(60.0).offset) for future in pending) + 1


def wait_in_force(stores: Stores, end: int) -> bool:
    """Wait until the view has all records before `end`; return False if Redis fails or is slow."""
    deadline = Deadline(IN_FORCE_S)
    while not deadline.is_over():
        try:
            if stores.suppressions.state().watermark >= end:
                return True
        except StoreUnavailable:
            return False
        time.sleep(deadline.at_most(_LOOK_S))
    return False


def _unavailable(kafka: KafkaSettings, reason: str) -> PartUnavailable:
    return PartUnavailable("Kafka", kafka.bootstrap, reason)

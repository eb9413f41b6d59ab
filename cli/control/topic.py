"""Reads and writes mail.control for commands. All functions raise Unavailable without Kafka."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from typing import Final, TypeVar

from kafka.errors import KafkaError

from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.stream.client import client_options, make_producer
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.prompt_reader import PromptReader
from shared.topics.codec import CodecError
from shared.topics.control import PARTITION, Order, decode_order, encode_order, key_of
from shared.topics.names import CONTROL

READ_S: Final = 60.0
WRITE_S: Final = 30.0
T = TypeVar("T")


def read_orders(kafka: KafkaSettings) -> list[Order]:
    """Return the last order of each scope, in key order; records that are none are left out."""
    return read_last(kafka, decode_order)


def read_last(kafka: KafkaSettings, decode: Callable[[bytes, bytes], T]) -> list[T]:
    """Return the last record of each key, in key order; `decode` raises CodecError for others."""
    found: dict[bytes, T] = {}
    options = client_options(kafka, f"control-{os.getpid()}")
    try:
        with closing(PromptReader(options, CONTROL, PARTITION)) as reader:
            for record in reader.read_whole(READ_S) if reader.begin() else ():
                if isinstance(record, UndecodableRecord):
                    continue
                key = record.key or b""
                if not record.value:
                    found.pop(key, None)
                    continue
                with suppress(CodecError):  # deliver logs and counts it
                    found[key] = decode(key, record.value)
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error
    return [found[key] for key in sorted(found)]


def write_orders(
    kafka: KafkaSettings, orders: Iterable[Order], forgotten: Iterable[Order] = ()
) -> None:
    """Write these orders, and delete those that are to be forgotten; return once acknowledged."""
    records: list[tuple[bytes, bytes | None]] = [encode_order(order) for order in orders]
    write_records(kafka, records + [(key_of(order.scope), None) for order in forgotten])


def write_records(kafka: KafkaSettings, records: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Write these keys and values; None deletes the record of a key. Return once acknowledged."""
    options = client_options(kafka, f"control-{os.getpid()}")
    try:
        with closing(make_producer(options, None)) as producer:
            pending = [producer.send(CONTROL, value, key, [], PARTITION) for key, value in records]
            producer.flush()
            for future in pending:
                future.get(WRITE_S)
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error

"""Reads and writes the reviews on mail.control for commands. Raises Unavailable without Kafka."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Final

from kafka.errors import KafkaError

from shared.runtime.clock import Deadline
from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.stream.client import client_options, make_producer
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.codec import CodecError
from shared.topics.control import PARTITION, Review, decode_review, encode_review, is_review
from shared.topics.names import CONTROL

POLL_MS: Final = 200
READ_S: Final = 60.0
WRITE_S: Final = 30.0


def read_reviews(kafka: KafkaSettings) -> dict[bytes, Review]:
    """Return the last review of each window, by key; records that are none are left out."""
    found: dict[bytes, Review] = {}
    try:
        with closing(LogReader(client_options(kafka, _instance()), CONTROL)) as reader:
            if PARTITION in reader.partitions():
                _read(reader, found)
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error
    return found


def write_review(kafka: KafkaSettings, review: Review) -> None:
    """Write a review; return once it is acknowledged."""
    key, value = encode_review(review)
    try:
        with closing(make_producer(client_options(kafka, _instance()), None)) as producer:
            producer.send(CONTROL, value, key, [], PARTITION).get(WRITE_S)
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error


def _instance() -> str:
    return f"reviews-{os.getpid()}"


def _read(reader: LogReader, found: dict[bytes, Review]) -> None:
    ends, deadline = reader.ends([PARTITION]), Deadline(READ_S)
    reader.read_from(reader.begins([PARTITION]))
    while not reader.has_reached(ends):
        if deadline.is_over():
            raise KafkaError(f"{CONTROL} could not be read in {READ_S:g} s")
        for record in reader.poll(POLL_MS).get(PARTITION, ()):
            if isinstance(record, UndecodableRecord) or not is_review(record.key):
                continue
            key = record.key or b""
            try:
                review = decode_review(key, record.value or b"")
            except CodecError:
                found.pop(key, None)  # validate logs it; a record without a value deletes
                continue
            found[key] = review

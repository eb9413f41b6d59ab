"""`sluice responses reviews`: lists the reviews on mail.control.

Owns: reading, writing and listing reviews, and the check that there is a review that --undo can
take back. Does not own: the commands that make reviews (reviews.py). Raises Unavailable if Kafka
does not answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Final

import click
from kafka.errors import KafkaError
from msgspec.structs import asdict

from cli.answer import print_json
from cli.clients.faults import answering
from cli.options import find_kafka
from cli.suppressions.options import common
from cli.terminal import Column, Kind, lay_out, terminal_width
from shared.plurals import counted
from shared.runtime.clock import Deadline
from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.stream.client import client_options, make_producer
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.codec import CodecError
from shared.topics.control import (
    PARTITION,
    Review,
    ReviewVerdict,
    decode_review,
    encode_review,
    is_review,
    review_key,
)
from shared.topics.names import CONTROL

POLL_MS: Final = 200
READ_S: Final = 60.0
WRITE_S: Final = 30.0
_COMMANDS = {ReviewVerdict.EXCLUDED: "rewind", ReviewVerdict.COUNTED: "accept"}


def read_reviews(kafka: KafkaSettings) -> dict[bytes, Review]:
    """Return the last review of each window, by key; other records are left out."""
    found: dict[bytes, Review] = {}
    try:
        with closing(LogReader(client_options(kafka, _instance()), CONTROL)) as reader:
            if PARTITION in reader.partitions():
                _read(reader, found)
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error
    return found


def write_review(kafka: KafkaSettings, review: Review) -> None:
    """Write a review, and wait until Kafka has acknowledged it."""
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
                # The validate service logs a faulty record; a record without a value deletes the
                # review.
                found.pop(key, None)
                continue
            found[key] = review


@click.command()
@click.option("--all", "with_undone", is_flag=True, help="Show reviews that were undone, too.")
@common
@answering
def reviews(*, with_undone: bool, bootstrap: str, line: str, as_json: bool) -> None:
    """List the windows of providers that were reviewed with rewind or accept."""
    known = read_reviews(find_kafka(bootstrap, line)).values()
    found = sorted(
        (each for each in known if each.active or with_undone),
        key=lambda each: (each.provider, each.from_ms, each.until_ms, each.status),
    )
    if as_json:
        print_json([{**asdict(each), "active": each.active} for each in found])
    else:
        click.echo("\n".join(_lines(found)))


def require_review(asked: Review, known: Mapping[bytes, Review]) -> None:
    """Raise click.UsageError if --undo has nothing to take back.

    A review that is already taken back is accepted, because an earlier command may have taken the
    review back and then died before it wrote the entries.
    """
    found = known.get(review_key(asked))
    if found is None:
        raise click.UsageError(f"--undo: no such window was reviewed. {_others(asked, known)}")
    if found.verdict is not asked.verdict:
        raise click.UsageError(
            f"--undo: the bounces of this window are {found.verdict.value}; `sluice responses"
            f" {_COMMANDS[found.verdict]} --undo` undoes that review"
        )


def time_text(at_ms: int) -> str:
    """Return a time in the form that the commands accept and print."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _others(asked: Review, known: Mapping[bytes, Review]) -> str:
    windows = [
        f"{time_text(each.from_ms)} to {time_text(each.until_ms)}"
        + (f" with status {each.status}" if each.status else "")
        for each in known.values()
        if each.active and each.provider == asked.provider
    ]
    if not windows:
        return f"{asked.provider} has no review in force; `sluice responses reviews` lists all"
    return f"The reviews of {asked.provider} in force: {'; '.join(sorted(windows))}"


def _lines(found: Iterable[Review]) -> list[str]:
    names = ("provider", "status", "from", "until", "verdict", "state", "author", "note")
    columns = [Column(name, Kind.TEXT if name == "note" else Kind.KEY) for name in names]
    rows = [
        [each.provider, each.status, time_text(each.from_ms), time_text(each.until_ms),
         each.verdict.value, "in force" if each.active else "taken back", each.author, each.note]
        for each in found
    ]  # fmt: skip
    said = counted(len(rows), "review")
    return [*lay_out(columns, rows, terminal_width()), said] if rows else [said]

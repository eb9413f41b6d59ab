"""Begins and ends traces on mail.control. All functions raise Unavailable without Kafka."""

from __future__ import annotations

import click

from cli.control.topic import read_last, write_records
from shared.settings.sections import KafkaSettings
from shared.topics.traces import (
    MAX_TRACES,
    Trace,
    decode_trace,
    encode_trace,
    key_of,
)


def begin(kafka: KafkaSettings, trace: Trace) -> None:
    """Ask deliver to show a trace, and delete those that are over. Raises click.UsageError."""
    known = read_last(kafka, decode_trace)
    alive = [each for each in known if trace.at_ms < each.expires_at_ms]
    if len(alive) >= MAX_TRACES:
        authors = ", ".join(sorted({each.author for each in alive}))
        raise click.UsageError(
            f"{MAX_TRACES} traces are running already (by {authors}); end one, or wait for at most"
            " 10 minutes"
        )
    over = [each for each in known if each not in alive]
    write_records(kafka, [encode_trace(trace), *((key_of(each), None) for each in over)])


def end(kafka: KafkaSettings, trace: Trace) -> None:
    """End a trace before its expiry."""
    write_records(kafka, [(key_of(trace), None)])

"""Counts the event log again, to show what a review of a provider's window would change.

Reads mail.events twice. The first read finds the recipients with bounces in the window. The second
read covers the whole topic, and counts the bounces of these recipients. Owns: the reading. Does not
own: the rules that decide which events are counted (shared/responses/counting). Raises
PartUnavailable if Kafka does not answer; writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Final

from kafka.errors import KafkaError
from msgspec import Struct

from cli.suppressions.topic import read_records
from shared.registry.client import Client
from shared.registry.store.view import load_registry
from shared.responses.counting.batch import CountingRules, Step, read_batch
from shared.responses.counting.counting import Limits
from shared.responses.counting.facts import LAST_HEADER
from shared.responses.counting.merging import Source
from shared.responses.counting.rewinding import Change, Recount, change_between, concerned
from shared.runtime.clock import Clock, Deadline, SystemClock
from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions, client_options
from shared.stream.source_log import SKEW_MS, SourceLog
from shared.topics import names
from shared.topics.control import Review
from shared.topics.suppressions import Suppression

BATCH: Final = 5_000
WAIT_MS: Final = 50
Progress = Callable[[int], None]


class Question(Struct, frozen=True):
    """A review, and the counting rules without the review (`before`) and with it (`after`)."""

    review: Review
    before: CountingRules
    after: CountingRules


def find_change(
    kafka: KafkaSettings, question: Question, timeout_s: float, progress: Progress
) -> Change:
    """Return what the review changes. `progress` is called with the size of each batch."""
    clock = SystemClock()
    options = client_options(kafka, f"recount-{os.getpid()}")
    deadline = Deadline(timeout_s, clock)
    clients = load_registry(kafka)
    try:
        with closing(_open(options, clock)) as log:
            steps = _window(log, question.review, deadline, progress)
            about = concerned(steps, question.review)
        fields = frozenset(each.field for each in about)
        rules = (question.before, question.after)
        recounts = [Recount(each, fields, lambda name: _limits(clients, name)) for each in rules]
        if about:
            with closing(_open(options, clock)) as log:
                for part in _read(log, log.begins(), log.ends(), deadline, progress):
                    for each in recounts:
                        each.count(part)
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error
    made = {name[:2] for recount in recounts for name in recount.made}
    entries = read_records(kafka, lambda each: (each.client, each.recipient) in made)
    found = [each for each in entries if isinstance(each, Suppression)]
    return change_between(recounts[0], recounts[1], found, len(about))


def _open(options: ClientOptions, clock: Clock) -> SourceLog:
    return SourceLog(options, (names.EVENTS, names.SUPPRESSIONS), clock, last_header=LAST_HEADER)


def _window(log: SourceLog, review: Review, deadline: Deadline, progress: Progress) -> list[Step]:
    """Return the bounces that Kafka appended within the window."""
    # Because the clocks of brokers differ, records shortly before or after the window are read too;
    # their exact times are compared later.
    begins = log.offsets_at(max(0, review.from_ms - SKEW_MS))
    ends = {
        source: max(begins[source], end)
        for source, end in log.offsets_at(review.until_ms + SKEW_MS).items()
    }
    parts = _read(log, begins, ends, deadline, progress)
    return [step for part in parts for step in concerned(part, review)]


def _read(
    log: SourceLog,
    begins: Mapping[Source, int],
    ends: Mapping[Source, int],
    deadline: Deadline,
    progress: Progress,
) -> Iterator[list[Step]]:
    log.read_from(begins)
    while not log.has_given(ends):
        if deadline.is_over():
            raise KafkaError("the events could not be read in time; set a longer --timeout")
        log.poll(WAIT_MS)
        while batch := log.take(BATCH):
            progress(len(batch))
            yield list(read_batch(batch).steps)


def _limits(clients: Mapping[str, Client], name: str) -> Limits | None:
    client = clients.get(name)
    return Limits(client.hard_limit, client.soft_limit) if client is not None else None

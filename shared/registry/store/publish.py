"""Writes the registry: client records to mail.clients, and the topics that are each client's own.

Promises: a change is computed from what is registered at the moment it is written, and is written
whole or not at all; of two who change at once, neither undoes the other. Topics come first, so that
a client that is registered can submit. A failure half-way leaves a state from which the same change
goes on.

All writers have one transactional id. Who opens it ends what another one had open, and fences it
off; who reads the registry after that and still commits was alone between the two. Who was fenced
reads on, plans again and tries again, after a time drawn by lot so that two do not go on fencing
each other (docs/decisions/0023-registry-writers.md).
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from kafka.errors import KafkaError
from msgspec import Struct

from shared.registry.client import Client, encode_client
from shared.registry.store.changes import Changes
from shared.registry.store.log import Reading
from shared.runtime.deadline import Deadline
from shared.runtime.errors import PartUnavailable
from shared.runtime.failpoints import Failpoints
from shared.settings.sections import KafkaSettings
from shared.stream.admin import TopicError, ensure_topics
from shared.stream.client import ClientOptions
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.stream.watchdog import Watchdog
from shared.topics import names

CHANGE_TIMEOUT_S: Final = 30.0
# kafka-python's commit waits without a limit: a command that hangs there is ended.
_HANGING_S: Final = 60.0
_EXIT_AWAY: Final = 3
_INSTANCE: Final = "registry"
_SERVICE: Final = "clients"  # the transactional id is sluice.clients.registry
# One try, from opening to commit, takes some 0.1 s: the lot is drawn over a few of those.
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 1.0

Plan = Callable[[Mapping[str, Client]], Changes]


class Written(Struct, frozen=True):
    """What a change came to: what it wrote, the topics it created, how often it was tried."""

    changes: Changes
    topics: tuple[str, ...]
    tries: int


def registry_plan() -> names.TopicPlan:
    """How mail.clients is created."""
    return next(plan for plan in names.plans(()) if plan.name == names.CLIENTS)


def apply(kafka: KafkaSettings, changes: Changes) -> list[str]:
    """Carry out changes that depend on nothing registered; returns the topics created.

    Raises PartAway when Kafka does not answer or does not acknowledge.
    """
    return list(change(kafka, lambda _: changes).topics)


def change(kafka: KafkaSettings, plan: Plan, timeout_s: float = CHANGE_TIMEOUT_S) -> Written:
    """Write what `plan` makes of the registered clients, once all others have written theirs.

    `plan` is called again with what is then registered whenever another one came between, and it
    may find its own change there already: a commit may have gone through unheard. What it raises
    ends the change, with nothing written. Raises PartAway when Kafka does not answer, or does not
    acknowledge, in time.
    """
    try:
        with _writing(kafka) as writing:
            return writing.change(plan, Deadline(timeout_s))
    except (KafkaError, TopicError) as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error


@contextlib.contextmanager
def _writing(kafka: KafkaSettings) -> Iterator[_Writing]:
    created = _ensure_topics(kafka, [registry_plan()])
    reading = Reading(kafka)
    writing = _Writing(kafka, reading, created)
    try:
        yield writing
    finally:
        writing.producer.close()
        reading.close()


class _Writing:
    """One change under way."""

    def __init__(self, kafka: KafkaSettings, reading: Reading, created: Iterable[str]) -> None:
        self._kafka = kafka
        self._reading = reading
        self._topics = list(created)
        self._ensured: set[str] = set()
        compression = "" if kafka.compression == "none" else kafka.compression
        self.producer = TransactionalProducer(
            ClientOptions(kafka.bootstrap, _INSTANCE, compression),
            _SERVICE,
            Failpoints.none(),
            Watchdog(_HANGING_S, _end_command),
        )

    def change(self, plan: Plan, deadline: Deadline) -> Written:
        # Planned once before the others are fenced off, since creating topics takes long.
        changes = self._planned(plan, deadline)
        tries = 0
        while _records(changes):
            tries += 1
            try:
                self.producer.open()
                changes = self._planned(plan, deadline)
                if records := _records(changes):
                    begin = self._reading.position()
                    self.producer.commit(records)
                    self._wait_visible(begin + len(records), deadline)
                break
            except TransactionLost as lost:
                self._wait(tries, deadline, lost)
                changes = self._planned(plan, deadline)
        return Written(changes, tuple(self._topics), tries)

    def _wait_visible(self, end: int, deadline: Deadline) -> None:
        """Wait until readers of committed records see what was committed.

        A commit is acknowledged before its marker is on the topic. A message that is submitted in
        between would be refused, as the registry's end does not cover its client yet.
        """
        while self._reading.position() < end and not deadline.is_over():
            self._reading.poll()

    def _planned(self, plan: Plan, deadline: Deadline) -> Changes:
        if not self._reading.read_to_end(deadline):
            raise self._away(f"{names.CLIENTS} could not be read in time")
        changes = plan(self._reading.clients)
        known = self._reading.clients
        unchanged = [known[name] for name in changes.unchanged if name in known]
        self._ensure([*changes.to_write, *unchanged])
        return changes

    def _ensure(self, clients: Iterable[Client]) -> None:
        """The topics of these clients, where they were not looked at before."""
        plans = [plan for client in clients for plan in _plans(client, self._kafka)]
        new = [plan for plan in plans if plan.name not in self._ensured]
        if not new:
            return
        self._topics += _ensure_topics(self._kafka, new)
        self._ensured.update(plan.name for plan in new)

    def _wait(self, tries: int, deadline: Deadline, lost: TransactionLost) -> None:
        if deadline.is_over():
            raise self._away(f"the clients could not be written in time, {tries} tries: {lost}")
        longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**tries)
        time.sleep(deadline.at_most(random.uniform(0.0, longest)))  # noqa: S311 - no secret

    def _away(self, reason: str) -> PartUnavailable:
        return PartUnavailable("Kafka", self._kafka.bootstrap, reason)


def _ensure_topics(kafka: KafkaSettings, plans: list[names.TopicPlan]) -> list[str]:
    return ensure_topics(kafka.bootstrap, plans, kafka.replication, kafka.topic_configs)


def _plans(client: Client, kafka: KafkaSettings) -> list[names.TopicPlan]:
    plans = [names.intake_plan(client.name, kafka.intake_partitions)]
    if client.own_events:
        plans.append(names.client_events_plan(client.name, kafka.intake_partitions))
    return plans


def _records(changes: Changes) -> list[Output]:
    written = {client.name: encode_client(client) for client in changes.to_write}
    records: dict[str, bytes | None] = {**written, **dict.fromkeys(changes.removed)}
    # The view and the commands read one partition, so that all see one order.
    return [
        Output(names.CLIENTS, value, name.encode(), partition=0) for name, value in records.items()
    ]


def _end_command(step: str, limit_s: float) -> None:
    sys.stderr.write(f"sluice: Kafka did not end a {step} in {limit_s:.0f} s: run it again\n")
    sys.stderr.flush()
    os._exit(_EXIT_AWAY)

"""Writes the records of clients to mail.clients, and creates the topics of each client.

A change is computed from the registry at the time of writing, and is written either completely or
not at all. Two concurrent changes do not undo each other. Topics are created first, so that a
registered client can immediately submit mail. After a failure, the same change can be run again.
The second run then writes the missing topics and records.

All writers share one transactional id. When a writer opens this id, the transaction of any other
writer is aborted, and the other writer is fenced. So if a writer opens the id, reads the registry
and commits, no other writer has written in the meantime. A fenced writer waits for a random time,
reads the new records, plans its change again, and retries. The time is random, so that two writers
do not fence each other again and again (docs/decisions/0023-registry-writers.md).
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

from shared.registry.client import REMOVED_PREFIX, Client, encode_client, is_forgotten, key_of
from shared.registry.store.changes import Changes
from shared.registry.store.log import Reading
from shared.runtime.clock import Deadline, SystemClock
from shared.runtime.errors import Exit, PartUnavailable
from shared.runtime.failpoints import Failpoints
from shared.settings.sections import KafkaSettings
from shared.stream.admin import TopicError, ensure_topics
from shared.stream.client import client_options
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.stream.watchdog import Watchdog
from shared.topics import names
from shared.topics.codec import IN_TRANSACTION
from shared.topics.control import PARTITION, encode_order

CHANGE_TIMEOUT_S: Final = 30.0
# A commit of kafka-python waits without a time limit. So a command is ended if its commit takes
# longer than this.
_HANGING_S: Final = 60.0
_INSTANCE: Final = "registry"
_SERVICE: Final = "clients"  # the transactional id is sluice.clients.registry
# One try, from opening the id to the commit, takes about 0.1 s. So a random wait is at most ten
# times as long.
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 1.0

Plan = Callable[[Mapping[str, Client]], Changes]
# A plan whose arguments are the registered and the removed clients.
FullPlan = Callable[[Mapping[str, Client], Mapping[str, Client]], Changes]


class Written(Struct, frozen=True):
    """The result of a change: the written changes, the created topics, and the number of tries."""

    changes: Changes
    topics: tuple[str, ...]
    tries: int


def registry_plan() -> names.TopicPlan:
    """Return the topic plan of mail.clients."""
    return _plan_of(names.CLIENTS)


def _plan_of(topic: str) -> names.TopicPlan:
    return next(plan for plan in names.plans(()) if plan.name == topic)


def apply(kafka: KafkaSettings, changes: Changes) -> list[str]:
    """Write changes that do not depend on the registry. Return the names of the created topics.

    Raises PartUnavailable if Kafka does not answer or does not acknowledge the changes.
    """
    return list(change(kafka, lambda _: changes).topics)


def change(kafka: KafkaSettings, plan: Plan, timeout_s: float = CHANGE_TIMEOUT_S) -> Written:
    """Write the changes that `plan` computes from the registered clients.

    If another writer has written in the meantime, `plan` is called again with the present registry.
    The registry may then already contain the change, because a commit may succeed although its
    answer is lost. If `plan` raises an exception, nothing is written. Raises PartUnavailable if
    Kafka does not answer or does not acknowledge in time.
    """
    return change_all(kafka, lambda registered, _: plan(registered), timeout_s)


def change_all(
    kafka: KafkaSettings, plan: FullPlan, timeout_s: float = CHANGE_TIMEOUT_S
) -> Written:
    """Write changes like change(), but `plan` is also called with the removed clients."""
    try:
        with _writing(kafka) as writing:
            return writing.change(plan, Deadline(timeout_s))
    except (KafkaError, TopicError) as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error


@contextlib.contextmanager
def _writing(kafka: KafkaSettings) -> Iterator[_Writing]:
    created = _ensure_topics(kafka, [registry_plan()])
    reading = Reading(client_options(kafka, _INSTANCE))
    writing = _Writing(kafka, reading, created)
    try:
        yield writing
    finally:
        writing.producer.close()
        reading.close()


class _Writing:
    """One change in progress."""

    def __init__(self, kafka: KafkaSettings, reading: Reading, created: Iterable[str]) -> None:
        self._kafka = kafka
        self._reading = reading
        self._topics = list(created)
        self._ensured: set[str] = set()
        self.producer = TransactionalProducer(
            client_options(kafka, _INSTANCE),
            _SERVICE,
            Failpoints.none(),
            Watchdog(_HANGING_S, _end_command),
        )

    def change(self, plan: FullPlan, deadline: Deadline) -> Written:
        # Plan the changes once before other writers are fenced, because planning also creates
        # topics, and this takes long.
        changes = self._planned(plan, deadline)
        tries = 0
        while _records(changes):
            tries += 1
            try:
                self.producer.open()
                changes = self._planned(plan, deadline)
                if records := _records(changes):
                    begin = self._reading.position()
                    records += _forgetting(self._reading.kept, changes)
                    self.producer.commit([*records, *_orders(changes)])
                    self._wait_visible(begin + len(records), deadline)
                break
            except TransactionLost as lost:
                self._wait(tries, deadline, lost)
                changes = self._planned(plan, deadline)
        return Written(changes, tuple(self._topics), tries)

    def _wait_visible(self, end: int, deadline: Deadline) -> None:
        """Wait until readers of committed records can read the new records.

        Kafka acknowledges a commit before it writes the commit marker to the topic. Before the
        marker is written, readers cannot see a new client, so messages of this client would be
        refused.
        """
        while self._reading.position() < end and not deadline.is_over():
            self._reading.poll()

    def _planned(self, plan: FullPlan, deadline: Deadline) -> Changes:
        if not self._reading.read_to_end(deadline):
            raise self._unavailable(f"{names.CLIENTS} could not be read in time")
        changes = plan(self._reading.clients, self._reading.kept)
        known = self._reading.clients
        unchanged = [known[name] for name in changes.unchanged if name in known]
        plans = [_plan_of(names.CONTROL)] if changes.orders else []
        for client in (*changes.to_write, *unchanged):
            plans += _plans(client, self._kafka)
        self._ensure(plans)
        return changes

    def _ensure(self, plans: Iterable[names.TopicPlan]) -> None:
        """Create these topics, unless an earlier call has done so."""
        new = [plan for plan in plans if plan.name not in self._ensured]
        if not new:
            return
        self._topics += _ensure_topics(self._kafka, new)
        self._ensured.update(plan.name for plan in new)

    def _wait(self, tries: int, deadline: Deadline, lost: TransactionLost) -> None:
        if deadline.is_over():
            raise self._unavailable(
                f"the clients could not be written in time, {tries} tries: {lost}"
            )
        longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**tries)
        time.sleep(deadline.at_most(random.uniform(0.0, longest)))  # noqa: S311 - it is no secret

    def _unavailable(self, reason: str) -> PartUnavailable:
        return PartUnavailable("Kafka", self._kafka.bootstrap, reason)


def _ensure_topics(kafka: KafkaSettings, plans: list[names.TopicPlan]) -> list[str]:
    return ensure_topics(kafka, plans)


def _plans(client: Client, kafka: KafkaSettings) -> list[names.TopicPlan]:
    plans = [names.intake_plan(client.name, kafka.intake_partitions)]
    if client.own_events:
        plans.append(names.client_events_plan(client.name, kafka.intake_partitions))
    return plans


def _records(changes: Changes) -> list[Output]:
    clients = (*changes.to_write, *changes.kept)
    records: dict[str, bytes | None] = {key_of(each): encode_client(each) for each in clients}
    records.update(dict.fromkeys(changes.removed))
    records.update(dict.fromkeys(f"{REMOVED_PREFIX}{name}" for name in changes.forgotten))
    return [_output(*each) for each in records.items()]


def _forgetting(kept: Mapping[str, Client], changes: Changes) -> list[Output]:
    """Return, for each removed client that is forgotten now, a record without a value, which
    deletes the record of the client."""
    now_ms, concerned = SystemClock().now_ms(), {each.name for each in changes.kept}
    due = (name for name, each in kept.items() if is_forgotten(each, now_ms))
    names_due = [name for name in due if name not in concerned and name not in changes.forgotten]
    return [_output(f"{REMOVED_PREFIX}{name}", None) for name in names_due]


def _output(key: str, value: bytes | None) -> Output:
    # All records are in one partition, so that the view and the commands read them in the same
    # order.
    return Output(names.CLIENTS, value, key.encode(), partition=0)


def _orders(changes: Changes) -> list[Output]:
    encoded = map(encode_order, changes.orders)
    headers = (IN_TRANSACTION,)
    return [Output(names.CONTROL, value, key, headers, PARTITION) for key, value in encoded]


def _end_command(step: str, limit_s: float) -> None:
    sys.stderr.write(f"sluice: Kafka did not end a {step} in {limit_s:.0f} s: run it again\n")
    sys.stderr.flush()
    os._exit(Exit.PART_UNAVAILABLE)

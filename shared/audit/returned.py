"""Checks that each returned message has one event or one record on mail.refused. Pure.

The bounce door answers 250 as soon as a message is on mail.returned. The validate service reads the
message from this topic. The service writes the event and commits the offset in one transaction. So
each record below the committed offsets of the consumer group of this service has exactly one event
(`returned`, `complained`, `unsubscribed`) with the same return id. A record at or above these
offsets still waits and has no event yet. A message that the validate service refused or suppressed,
or that the deliver service could not deliver, is on mail.returned, too. Its final event was written
earlier, so there is no second event. The message of a return id is forwarded at most once; the
events `forwarded` and `forwarding_failed` show the result.

Owns: the definition of a fault. Does not own: reading the topics (returned_log.py). Memory is
bounded: the ids are in buckets (doubles.py). This check does not know why the validate service did
not forward a message. A message is not forwarded if only a digest lists it, if it is in a loop, or
if the client does not want it. The metrics of the validate service show the reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from msgspec import Struct

from shared.audit.conservation import parse_mail_id
from shared.audit.doubles import BUCKETS, ID_BYTES, IdBuckets
from shared.audit.report import SHOWN, BookFault, FaultKind, ReturnedReport, ReturnedRow
from shared.topics import ids
from shared.topics.records import Event, EventType, ReturnAddressKind, Returned

_MEMORY_BYTES: Final = 16 * 1024 * 1024  # the memory of each collection of ids
_NUMBER_BYTES: Final = 4
_EVENTS: Final = frozenset({EventType.RETURNED, EventType.COMPLAINED, EventType.UNSUBSCRIBED})
_FORWARDS: Final = frozenset({EventType.FORWARDED, EventType.FORWARDING_FAILED})
_GIVEN_UP: Final = frozenset(
    {
        ReturnAddressKind.REFUSED,
        ReturnAddressKind.SUPPRESSED,
        ReturnAddressKind.UNDELIVERED,
    }
)


class _Account(Struct):
    number: int  # of the client
    came_back: int = 0
    not_understood: int = 0
    given_up: int = 0
    forwarded: int = 0
    not_forwarded: int = 0


class ReturnedBooks:
    """Collects returned mail and its events. The caller must close() it."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        # Each id in the collections `_taken`, `_waiting` and `_given_up` is followed by the number
        # of the client. `_taken` and `_given_up` have only ids of records below the committed
        # offsets.
        self._taken = IdBuckets(_MEMORY_BYTES, _NUMBER_BYTES)
        self._waiting = IdBuckets(_MEMORY_BYTES, _NUMBER_BYTES)
        self._given_up = IdBuckets(_MEMORY_BYTES, _NUMBER_BYTES)
        self._events = IdBuckets(_MEMORY_BYTES)
        # The events that were committed before the end of mail.returned was read.
        self._events_before = IdBuckets(_MEMORY_BYTES)
        self._forwarded = IdBuckets(_MEMORY_BYTES)
        self._unreadable = 0

    def add_record(self, returned: Returned, *, is_done: bool, is_refused: bool) -> None:
        """Add a record.

        `is_done` is True if the offset of the record is committed. `is_refused` is True if the
        record is on mail.refused, too.
        """
        account = self._of(returned.client)
        return_id = parse_mail_id(returned.return_id)
        if returned.address_kind in _GIVEN_UP:
            account.given_up += 1
            if return_id is not None and is_done and not is_refused:
                self._given_up.add(return_id + account.number.to_bytes(_NUMBER_BYTES))
            return
        account.came_back += 1
        if is_refused:
            account.not_understood += 1
        elif return_id is None:
            self._unreadable += 1
        elif is_done:
            self._taken.add(return_id + account.number.to_bytes(_NUMBER_BYTES))
        else:
            self._waiting.add(return_id + account.number.to_bytes(_NUMBER_BYTES))

    def add_unreadable(self) -> None:
        """Add an unreadable record that is not on mail.refused although its offset is committed."""
        self._unreadable += 1

    def add_event(self, event: Event, *, is_before: bool) -> None:
        """Add an event.

        `is_before` is True if the event was committed before the end of mail.returned was read.
        """
        if event.type not in _EVENTS and event.type not in _FORWARDS:
            return
        return_id = parse_mail_id(event.data.return_id)
        if return_id is None:
            return  # the event of a one-click unsubscription has no return id
        account = self._of(event.data.client)
        if event.type in _FORWARDS:
            self._forwarded.add(return_id)
            account.forwarded += event.type is EventType.FORWARDED
            account.not_forwarded += event.type is EventType.FORWARDING_FAILED
            return
        self._events.add(return_id)
        if is_before:
            self._events_before.add(return_id)

    def report(self) -> ReturnedReport:
        """Return the account of each client, sorted."""
        events = self._by_client((self._taken, self._waiting), self._events)
        read = self._by_client((self._taken, self._given_up))
        forwarded = self._by_client((self._taken, self._given_up), self._forwarded)
        kept_back = read - forwarded
        rows = [
            _row(client, each, events[each.number], kept_back[each.number])
            for client, each in sorted(self._accounts.items())
        ]
        return ReturnedReport(
            came_back=sum(row.came_back for row in rows),
            events=sum(row.events for row in rows),
            waiting=self._number_waiting(),
            rows=rows,
        )

    def faults(self, settled: bool, is_whole: bool) -> list[BookFault]:
        """Return the faults. `is_whole` is True if Kafka has deleted no record of mail.returned.

        `settled` is True if a waiting message is a fault.
        """
        lost: Counter[bytes] = Counter()
        strange: Counter[bytes] = Counter()
        for number in range(BUCKETS):
            known_events = set(self._events.bucket(number))
            taken = _ids(self._taken, number)
            lost.update(taken - known_events)
            if is_whole:
                known = taken | _ids(self._waiting, number)
                strange.update(set(self._events_before.bucket(number)) - known)
        waiting = self._number_waiting() if settled else 0
        found = [
            _fault(FaultKind.LOST_RETURNED, lost),
            _fault(FaultKind.DOUBLED_RETURNED, _surplus(self._events)),
            _fault(FaultKind.DOUBLED_FORWARD, _surplus(self._forwarded)),
            _fault(FaultKind.STRANGE_RETURNED, strange),
            BookFault(FaultKind.UNREADABLE_RETURNED, self._unreadable, []),
            BookFault(FaultKind.WAITING_RETURNED, waiting, []),
        ]
        return [fault for fault in found if fault.count]

    def close(self) -> None:
        """Delete the temporary files."""
        for each in (
            self._taken,
            self._waiting,
            self._given_up,
            self._events,
            self._events_before,
            self._forwarded,
        ):
            each.close()

    def _number_waiting(self) -> int:
        """Return the number of messages that have no event and wait for the validate service."""
        return sum(
            len(_ids(self._waiting, each).difference(self._events.bucket(each)))
            for each in range(BUCKETS)
        )

    def _by_client(
        self, kept: Sequence[IdBuckets], having: IdBuckets | None = None
    ) -> Counter[int]:
        """Count the messages of `kept` by client.

        If `having` is given, only messages whose ids are also in `having` are counted. Kafka keeps
        events longer than the records of mail.returned. Events whose records are deleted are not
        counted.
        """
        found: Counter[int] = Counter()
        for bucket in range(BUCKETS):
            chosen = set(having.bucket(bucket)) if having is not None else None
            for each in chain.from_iterable(one.bucket(bucket) for one in kept):
                found[int.from_bytes(each[ID_BYTES:])] += (
                    chosen is None or each[:ID_BYTES] in chosen
                )
        return found

    def _of(self, client: str) -> _Account:
        account = self._accounts.get(client)
        if account is None:
            account = self._accounts[client] = _Account(len(self._accounts))
        return account


def _ids(kept: IdBuckets, bucket: int) -> set[bytes]:
    return {each[:ID_BYTES] for each in kept.bucket(bucket)}


def _row(client: str, account: _Account, events: int, kept_back: int) -> ReturnedRow:
    ended = events + account.not_understood
    return ReturnedRow(
        client,
        account.came_back,
        events,
        account.not_understood,
        account.came_back - ended,
        account.given_up,
        account.forwarded,
        account.not_forwarded,
        kept_back,
    )


def _surplus(ids: IdBuckets) -> dict[bytes, int]:
    return {each: count - 1 for each, count in ids.doubled()}


def _fault(kind: FaultKind, found: Mapping[bytes, int]) -> BookFault:
    examples = [ids.from_bytes(each) for each in sorted(found)[:SHOWN]]
    return BookFault(kind, sum(found.values()), examples)

"""Processes mail.returned: writes an event for each message, and forwards the message to the
client's forwarding address.

Events, forwarded mail, the windows of the clients and the consumed offsets are written in one
transaction. So each returned message has one event and is forwarded once, even if a process dies.
Suppressions result from counting these events (edge/responses/worker.py). Each message is counted
once.

Owns: the records of one transaction. Does not own: reading and committing (worker.py), the meaning
of returned mail (shared/responses, core/returns).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from msgspec import Struct

from services.validate.core.lanes import Lanes, pack_by_partition
from services.validate.core.returns import windows as kept
from services.validate.core.returns.forwarding import (
    Returning,
    Way,
    cause_of,
    digest_of,
    is_delay,
    line_of,
    message_of,
    unsent,
    unsent_cause,
    wants,
)
from services.validate.core.returns.identity import Verification
from services.validate.core.returns.judging import Judged, Owners, judge_returned
from services.validate.core.returns.loops import hop_of, loop_of
from services.validate.core.returns.meaning import senders
from services.validate.core.returns.windows import Policy, Window, Windows
from services.validate.edge.returns.metrics import ReturnsMetrics
from shared.mail import verp
from shared.registry.client import Client
from shared.registry.lookup import Clients, find_clients, require_whole
from shared.responses.mime.parts import NO_FIELDS, Fields
from shared.responses.rules.model import Rules
from shared.responses.understood import ResponseKind
from shared.runtime.clock import Clock
from shared.stream import outputs
from shared.stream.consumer import Record
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import CodecError, decode_returned
from shared.topics.records import EventType, Message, Returned

log = logging.getLogger(__name__)

SERVICE: Final = "returns"
UNREADABLE: Final = "unreadable"
FAILED: Final = "failed"
FORWARDING_PARTITION: Final = 0


class Read(Struct, frozen=True):
    """One returned message, and the record that contained the message."""

    returned: Returned
    content: bytes
    record: Record


class OwnedClients(Clients, Owners, Protocol):
    """The view of the registry, including removed clients."""


class Tools(Struct, frozen=True):
    """The collaborators with which returned mail is judged."""

    rules: Rules
    lanes: Lanes
    policy: Policy
    verification: Callable[[], Verification | None]
    partitions_of: Callable[[str], int]


class Answer(Struct, frozen=True):
    """The records to write, and the windows that are valid after these records are written."""

    outputs: list[Output]
    windows: Windows


class _Batch:
    """Collects the records of one transaction."""

    def __init__(self, windows: Mapping[bytes, Window], way: Way) -> None:
        self.windows = dict(windows)
        self.way = way
        self.written: list[Output] = []
        self.forwarded: list[Message] = []
        self.changed: dict[bytes, None] = {}

    def put(self, window: Window) -> None:
        self.windows[window.key] = window
        self.changed[window.key] = None

    def drop(self, window: Window) -> None:
        del self.windows[window.key]
        self.changed[window.key] = None

    def answer(self, lanes: Lanes, partitions_of: Callable[[str], int]) -> Answer:
        by_lane: dict[str, list[Message]] = {}
        for message in self.forwarded:
            by_lane.setdefault(message.envelope.lane, []).append(message)
        for lane, messages in by_lane.items():
            topic = names.outbound(lane)
            for partition, pack in pack_by_partition(messages, partitions_of(topic)):
                self.written.append(outputs.pack(topic, pack, partition))
        for key in self.changed:
            window = self.windows.get(key)
            value = kept.encode_window(window) if window is not None else None
            self.written.append(Output(names.FORWARDING, value, key, (), FORWARDING_PARTITION))
        return Answer(self.written, self.windows)


class ReturnsProcessor:
    """Processes the batches of one worker."""

    def __init__(
        self, clients: OwnedClients, tools: Tools, clock: Clock, metrics: ReturnsMetrics
    ) -> None:
        self._clients = clients
        self._tools = tools
        self._clock = clock
        self._metrics = metrics

    def process(self, records: Sequence[Record], windows: Mapping[bytes, Window]) -> Answer:
        """Return the outputs for these records. Raises NotReady while the clients are not known."""
        require_whole(self._clients)
        verification = self._tools.verification()
        batch = _Batch(windows, self._way(verification))
        mail: list[Read] = []
        for record in records:
            try:
                returned = decode_returned(record.value, record.headers)
                mail.append(Read(returned, record.value or b"", record))
            except CodecError as error:
                log.error("%s/%d@%d: %s", record.topic, record.partition, record.offset, error)
                batch.written.append(outputs.refused_record(record, UNREADABLE, str(error)))
        found = find_clients(self._clients, {each.returned.client for each in mail})
        for each in mail:
            self._take(batch, each, found[each.returned.client], verification)
        return batch.answer(self._tools.lanes, self._tools.partitions_of)

    def due(self, windows: Mapping[bytes, Window], partitions: Collection[int]) -> Answer | None:
        """Return the digests that are due on these partitions; None if no digest is due.

        Raises NotReady while the clients are not known.
        """
        now_ms = self._clock.now_ms()
        due = [
            each
            for each in windows.values()
            if each.partition in partitions
            and each.held
            and kept.has_ended(each, self._tools.policy, now_ms)
        ]
        if not due:
            return None
        require_whole(self._clients)
        found = find_clients(self._clients, {each.client for each in due})
        batch = _Batch(windows, self._way(self._tools.verification()))
        for window in due:
            self._digest(batch, window, found[window.client])
        return batch.answer(self._tools.lanes, self._tools.partitions_of)

    def _way(self, verification: Verification | None) -> Way:
        now_ms = self._clock.now_ms()
        keys = verification.keys if verification is not None else None
        hop = partial(hop_of, keys, verp.day_of(now_ms))
        return Way(self._tools.lanes.lane_of, hop, now_ms)

    def _take(
        self, batch: _Batch, read: Read, client: Client | None, by: Verification | None
    ) -> None:
        """Process one message. If a programming error occurs, the other messages are still
        processed."""
        record = read.record
        try:
            one, fields, client = self._understood(batch, read, client, by)
        except Exception as error:
            log.exception("%s@%d cannot be classified", record.topic, record.offset)
            self._metrics.failed.add(1)
            reason = f"it could not be classified: {type(error).__name__}"
            batch.written.append(outputs.refused_record(record, FAILED, reason))
            return
        try:
            if client is not None and self._is_forwarded(one, fields, client, by):
                self._forward(batch, one, client, record.partition)
        except Exception:
            log.exception("%s@%d cannot be forwarded", record.topic, record.offset)
            self._metrics.failed.add(1)

    def _understood(
        self, batch: _Batch, read: Read, client: Client | None, by: Verification | None
    ) -> tuple[Returning, Fields, Client | None]:
        """Write the event of a message that came back.

        Return the message with its event, the fields of its header, and the client that the mail
        concerns.
        """
        returned, content = read.returned, read.content
        if (cause := unsent_cause(returned)) is not None:
            self._metrics.records.add(1, cause.value)
            return unsent(returned, content, cause), NO_FIELDS, client
        found = judge_returned(
            returned, content, client, by, rules=self._tools.rules, clients=self._clients
        )
        self._count(found)
        meaning, client = found.meaning, found.client
        batch.written += outputs.event_records(
            SERVICE,
            meaning.type,
            meaning.subject,
            meaning.data,
            has_client_events=client is not None and client.own_events,
        )
        kind = ResponseKind(meaning.data.response)
        one = Returning(
            found.returned,
            content,
            meaning.subject,
            meaning.data,
            cause_of(found.returned, kind, found.understood.rule),
            is_delay(found.understood),
        )
        return one, found.fields, client

    def _count(self, found: Judged) -> None:
        meaning = found.meaning
        self._metrics.records.add(1, meaning.data.response)
        if meaning.data.recipient:
            return
        if found.is_proved and found.understood.recipients:
            self._metrics.strangers.add(1)
        if meaning.type is not EventType.RETURNED:
            self._metrics.unnamed.add(1, meaning.data.response)

    def _is_forwarded(
        self, one: Returning, fields: Fields, client: Client, by: Verification | None
    ) -> bool:
        if not wants(client, one.cause):
            return False
        if unsent_cause(one.returned) is not None:
            return True
        keys = by.keys if by is not None else None
        loop = loop_of(one.content, fields, senders(one.returned, fields), client, keys)
        if loop is not None:
            self._metrics.loops.add(1, loop.value)
            extra = {"client": client.name, "return_id": one.returned.return_id}
            log.info("returned mail is not forwarded: %s", loop.value, extra=extra)
        return loop is None

    def _forward(self, batch: _Batch, one: Returning, client: Client, partition: int) -> None:
        policy, now_ms = self._tools.policy, batch.way.now_ms
        window = batch.windows.get(kept.key_of(partition, client.name))
        if window is not None and kept.has_ended(window, policy, now_ms):
            if window.held:
                self._digest(batch, window, client)
            window = None
        window = window or kept.begin(client.name, partition, now_ms)
        admitted = kept.admit(window, policy)
        if admitted is not None:
            batch.forwarded.append(message_of(one, client, batch.way))
            self._metrics.forwarded.add(1, client.name)
            batch.put(admitted)
            return
        self._metrics.held.add(1, client.name)
        line = line_of(one) if kept.has_room(window) else ""
        batch.put(kept.hold(window, one.kind, line))

    def _digest(self, batch: _Batch, window: Window, client: Client | None) -> None:
        batch.drop(window)
        if client is None:
            log.warning(
                "a digest is not sent, because its client is not registered any more",
                extra={"client": window.client},
            )
            return
        try:
            batch.forwarded.append(digest_of(window, client, batch.way))
        except Exception:
            log.exception("a digest cannot be written", extra={"client": client.name})
            self._metrics.failed.add(1)
            return
        self._metrics.forwarded.add(1, client.name)

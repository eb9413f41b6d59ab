"""Turns a batch of records from mail.received into the records that the validate service writes.

The processor keeps no state between batches. Does not own: the verdicts (core/verdict.py). If the
view of the registry may be incomplete, nothing is judged and nothing is consumed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from services.validate.core.batch import Batch, Judged, assemble, judge_all, keeps_key, returned_of
from services.validate.core.lanes import pack_by_partition
from services.validate.core.quotas import QuotaUse, enforce, released
from services.validate.core.suppression import fields_to_look_up, suppress, to_look_up
from services.validate.core.verdict import Policy
from services.validate.edge.submission_keys import Run
from shared.registry.client import Client, Family, family_of
from shared.registry.lookup import Clients, find_clients, require_whole
from shared.runtime.clock import Clock
from shared.runtime.telemetry import Counter, Counters, Metric
from shared.stream import outputs
from shared.stream.consumer import Record
from shared.stream.relay import NotReady
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import CodecError, decode_pack, encode_returned, packs
from shared.topics.records import EventType, Message
from shared.topics.submission_keys import Answer, Claim, New, claim_of, encode_record, place_of

log = logging.getLogger(__name__)

SERVICE: Final = "validate"
DUPLICATES: Final = Metric(
    "sluice_validate_duplicates",
    "Submissions that are duplicates and are not sent again.",
    ("client",),
)
HELD: Final = Metric(
    "sluice_validate_held",
    "Messages that wait because a monthly quota of their client is used up.",
    ("client",),
)
UNKNOWN_LANES: Final = Metric(
    "sluice_validate_unknown_lanes",
    "Messages sent through the lane default because validate.lanes does not have the lane of their"
    " client.",
    ("client", "lane"),
)
# The highest number of clients and lanes for which a logged warning is remembered. If there are
# more, the oldest are forgotten, so their warnings may be logged again.
MAX_WARNED: Final = 1_000
UNREADABLE: Final = "unreadable"
HELD_PARTITION: Final = 0


class Keys(Protocol):
    """The keys of recent submissions (submission_keys.py)."""

    def claim(self, run: Run, /) -> Sequence[Answer]:
        """Answer each claim. Raises NotReady."""
        ...


class Suppressions(Protocol):
    """The view of suppressed recipients (suppression_view.py)."""

    def find(self, fields: bytes, /) -> bytes:
        """Return, for each field, the bits of the reasons. Raises NotReady."""
        ...


class Views(Struct, frozen=True):
    """The data for judging messages. If `keys` is None, duplicates are not detected; if `quotas` is
    None, no quota is enforced.
    """

    clients: Clients
    suppressions: Suppressions
    keys: Keys | None = None
    quotas: QuotaUse | None = None


class Metrics(Struct, frozen=True):
    """The counters of the batches."""

    duplicates: Counter
    unknown_lanes: Counter
    held: Counter


def register_metrics(counters: Counters) -> Metrics:
    """Declare the metrics of the batches."""
    return Metrics(
        counters.counter(DUPLICATES),
        counters.counter(UNKNOWN_LANES),
        counters.counter(HELD),
    )


class BatchProcessor:
    """Processes the batches of one worker."""

    def __init__(
        self,
        views: Views,
        policy: Policy,
        partitions_of: Callable[[str], int],
        *,
        clock: Clock,
        metrics: Metrics,
        is_release: bool = False,
    ) -> None:
        """`partitions_of` returns the number of partitions of a topic. `is_release` is True if the
        records are from mail.held."""
        self._clients = views.clients
        self._policy = policy
        self._keys = views.keys
        self._partitions_of = partitions_of
        self._suppressions = views.suppressions
        self._clock = clock
        self._metrics = metrics
        self._quotas = views.quotas
        self._is_release = is_release
        self._warned: dict[tuple[str, str], None] = {}

    def process(self, records: Sequence[Record]) -> list[Output]:
        """Return the records to write in one transaction.

        Raises NotReady while the registry or the view of suppressed recipients is not complete, or
        while needed quotas have not been read.
        """
        require_whole(self._clients)
        messages, claims, written = self._read(records)
        now_ms = self._clock.now_ms()
        if self._is_release:
            messages = [released(message, now_ms) for message in messages]
        found = find_clients(self._clients, {each.envelope.client for each in messages})
        families = {
            name: family_of(client, self._clients.get) for name, client in found.items() if client
        }
        judged = judge_all(
            messages, found.get, self._policy, now_ms, lambda name: _parents(families, name)
        )
        judged = self._suppress(judged, families, now_ms)
        if self._quotas is not None:
            if not self._quotas.is_known(found.values()):
                raise NotReady("the quotas are being read")
            judged = enforce(judged, found.get, self._quotas, now_ms)
        answers, taken = self._answers(judged, claims, records)
        if taken:
            written.append(Output(names.SUBMISSIONS, encode_record(taken)))
        batch = assemble(judged, answers, now_ms)
        if self._quotas is not None:
            self._quotas.add(batch.sent, now_ms)
        self._count(batch)
        self._note_unknown_lanes(found, batch)
        written += self._outputs(batch, records[0], now_ms)
        return written

    def _read(self, records: Sequence[Record]) -> tuple[list[Message], list[Claim], list[Output]]:
        """Return the messages, their claims (only if duplicates are detected), and the unreadable
        records."""
        messages: list[Message] = []
        claims: list[Claim] = []
        unreadable: list[Output] = []
        for record in records:
            try:
                pack = decode_pack(record.value, record.headers)
                if self._keys is not None:
                    claims += _claims(record, pack)
                messages += pack
            except CodecError as error:
                unreadable.append(_unreadable(record, str(error)))
        return messages, claims, unreadable

    def _answers(
        self, judged: Sequence[Judged], claims: Sequence[Claim], records: Sequence[Record]
    ) -> tuple[dict[int, Answer], list[Claim]]:
        """Return the answers for the submission keys by message index, and the new claims."""
        if self._keys is None:
            return {}, []
        chosen = [index for index, one in enumerate(judged) if keeps_key(one)]
        answers = self._ask(self._keys, chosen, claims, _ends(records))
        return answers, [claims[index] for index in chosen if isinstance(answers[index], New)]

    def _suppress(
        self, judged: list[Judged], families: Mapping[str, Family], now_ms: int
    ) -> list[Judged]:
        # Only messages of registered clients are looked up, so `families` contains each of these
        # clients.
        indexes = to_look_up(judged)
        if not indexes:
            return judged

        def lists_of(name: str) -> Sequence[str]:
            return families[name].names

        bits = self._suppressions.find(fields_to_look_up(judged, indexes, lists_of))
        return suppress(judged, indexes, bits, now_ms, lists_of)

    def _ask(
        self, keys: Keys, chosen: Sequence[int], claims: Sequence[Claim], ends: dict[int, int]
    ) -> dict[int, Answer]:
        answers = keys.claim(Run([claims[index] for index in chosen], ends))
        return dict(zip(chosen, answers, strict=True))

    def _count(self, batch: Batch) -> None:
        for kind, _, event in batch.events:
            if kind is EventType.DUPLICATE:
                self._metrics.duplicates.add(1, event.client)
            elif kind is EventType.HELD and not self._is_release:
                self._metrics.held.add(1, event.client)

    def _note_unknown_lanes(self, found: Mapping[str, Client | None], batch: Batch) -> None:
        lanes = {
            name: client.lane
            for name, client in found.items()
            if client is not None and client.lane and client.lane not in self._policy.lanes
        }
        if not lanes:
            return
        for each in lanes.items():
            if each not in self._warned:
                self._warn_of_lane(*each)
        for message in batch.onward():
            name = message.envelope.client
            if name in lanes:
                self._metrics.unknown_lanes.add(1, name, lanes[name])

    def _warn_of_lane(self, client: str, lane: str) -> None:
        if len(self._warned) >= MAX_WARNED:
            del self._warned[next(iter(self._warned))]
        self._warned[client, lane] = None
        log.warning(
            "lane is not configured; the client's mail uses the lane default",
            extra={"client": client, "unknown_lane": lane},
        )

    def _outputs(self, batch: Batch, first: Record, now_ms: int) -> list[Output]:
        written: list[Output] = []
        for lane, messages in batch.passed.items():
            topic = names.outbound(lane)
            for partition, pack in pack_by_partition(messages, self._partitions_of(topic)):
                written.append(outputs.pack(topic, pack, partition))
        for step, message in batch.waiting:
            # Each record has one message, because a pack on a retry topic would wait for its latest
            # message.
            written.append(outputs.pack(names.deferred(step), [message]))
        for held in packs(batch.held):
            written.append(outputs.pack(names.HELD, held, HELD_PARTITION))
        for kind, mail_id, event in batch.events:
            if kind is EventType.HELD and self._is_release:
                continue  # the event was written when the message was first held
            client = self._clients.get(event.client)
            has_client_events = client is not None and client.own_events
            written += outputs.event_records(
                SERVICE, kind, mail_id, event, has_client_events=has_client_events
            )
        written += self._returned(batch)
        if batch.received:
            tally_id = f"{SERVICE}.{first.topic}.{first.partition}.{first.offset}"
            written += outputs.tallies(SERVICE, tally_id, now_ms, batch.received)
        return written

    def _returned(self, batch: Batch) -> Iterator[Output]:
        """Yield the records of refused and suppressed messages that their clients want back."""
        for kind, message, event in batch.unsent:
            returned = returned_of(kind, message, event, self._clients.get(event.client))
            if returned is not None:
                key, headers = encode_returned(returned)
                yield Output(names.RETURNED, message.content, key, headers)


def _parents(families: Mapping[str, Family], name: str) -> Sequence[Client]:
    family = families.get(name)
    return family.parents if family is not None else ()


def _claims(record: Record, pack: Sequence[Message]) -> list[Claim]:
    """Return the claims of a pack's messages. Raises CodecError."""
    return [
        claim_of(message, place_of(record.partition, record.offset, index))
        for index, message in enumerate(pack)
    ]


def _ends(records: Sequence[Record]) -> dict[int, int]:
    """Return the offset after the last record of each partition."""
    return {record.partition: record.offset + 1 for record in records}


def _unreadable(record: Record, reason: str) -> Output:
    log.error("%s/%d@%d: %s", record.topic, record.partition, record.offset, reason)
    return outputs.refused_record(record, UNREADABLE, reason)

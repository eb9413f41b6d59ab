"""From a batch of mail.received records to the records that validate writes.

Owns nothing that lasts: verdicts are core/verdict.py's. A view of the registry that is not
known to be whole is not used: then nothing is judged and nothing consumed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from services.validate.core.batch import Batch, judge_batch
from services.validate.core.lanes import pack_by_partition
from services.validate.core.verdict import Policy
from shared.registry.client import Client
from shared.runtime.clock import Clock
from shared.stream import outputs
from shared.stream.consumer import Record
from shared.stream.relay import NotReady
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import CodecError, decode_pack
from shared.topics.records import Message

log = logging.getLogger(__name__)

SERVICE: Final = "validate"
UNREADABLE: Final = "unreadable"
FRESH_TIMEOUT_S: Final = 5.0


class Clients(Protocol):
    """The registry view, as far as it is needed here."""

    def get(self, name: str) -> Client | None:
        """The client as the view knows it."""
        ...

    def get_fresh(self, name: str, timeout_s: float) -> Client | None:
        """The client after everything written so far has been read; raises TimeoutError."""
        ...

    def ready(self) -> bool:
        """Whether the view has been whole since the start."""
        ...


class Judging:
    """Processes the batches of one worker."""

    def __init__(
        self,
        clients: Clients,
        policy: Policy,
        partitions_of: Callable[[str], int],
        clock: Clock,
    ) -> None:
        self._clients = clients
        self._policy = policy
        self._partitions_of = partitions_of
        self._clock = clock

    def process(self, records: Sequence[Record]) -> list[Output]:
        """The output of one transaction; raises NotReady while the registry is not known."""
        if not self._clients.ready():
            raise NotReady("the client registry is being read")
        written: list[Output] = []
        messages: list[Message] = []
        for record in records:
            try:
                messages += decode_pack(record.value, record.headers)
            except CodecError as error:
                written.append(_unreadable(record, str(error)))
        now_ms = self._clock.now_ms()
        batch = judge_batch(messages, self._client_of, self._policy, now_ms)
        written += self._tell(batch, records[0], now_ms)
        return written

    def _client_of(self, name: str) -> Client | None:
        found = self._clients.get(name)
        if found is not None:
            return found
        try:
            return self._clients.get_fresh(name, FRESH_TIMEOUT_S)
        except TimeoutError as error:
            raise NotReady(f"the client registry cannot be read: {error}") from error

    def _tell(self, batch: Batch, first: Record, now_ms: int) -> list[Output]:
        written: list[Output] = []
        for lane, messages in batch.passed.items():
            topic = names.outbound(lane)
            for partition, pack in pack_by_partition(messages, self._partitions_of(topic)):
                written.append(outputs.pack(topic, pack, partition))
        for step, message in batch.waiting:
            # One a record: a pack on a retry topic is as late as the last of it.
            written.append(outputs.pack(names.deferred(step), [message]))
        for kind, mail_id, event in batch.events:
            written.append(outputs.event(SERVICE, kind, mail_id, event))
        if batch.received:
            tally_id = f"{SERVICE}.{first.topic}.{first.partition}.{first.offset}"
            written.append(outputs.tally(SERVICE, tally_id, now_ms, batch.received))
        return written


def _unreadable(record: Record, reason: str) -> Output:
    place = (record.topic, record.partition, record.offset)
    log.error("%s/%d@%d: %s", *place, reason)
    return outputs.refused_bytes(record.value or b"", UNREADABLE, reason, place)

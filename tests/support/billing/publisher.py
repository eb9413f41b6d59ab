"""Publishes events for tests of counting."""

from __future__ import annotations

from shared.stream.client import ClientOptions, make_producer
from shared.topics import ids
from shared.topics.codec import encode_event, encode_tally
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import EventType, MailEvent

MONTH = "2026-11"
NOON_MS = 1_794_744_000_000  # 2026-11-15
MAILINGS = (("shop", "news", "north"), ("shop", "news", "south"), ("bank", "letters", ""))


class Publisher:
    """Writes events as the pipeline does: transactions, some of them aborted, tallies, retries."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._producer = make_producer(ClientOptions(bootstrap, "test"), f"publish.{topic}")
        self._producer.init_transactions()
        self._made = 0
        self.messages = 0

    def publish(self, messages: int, commit: bool = True) -> None:
        """Publish one transaction: every third message is deferred once, every fifth bounces."""
        self._producer.begin_transaction()
        rows = [TallyRow(*each, messages // len(MAILINGS)) for each in MAILINGS]
        told = Tally("validate", NOON_MS, tuple(rows))
        self._send(encode_tally(told, f"validate.test.{self._made}"))
        for number in range(messages - messages % len(MAILINGS)):
            self._tell(number)
        if commit:
            self._producer.commit_transaction()
            self.messages += messages - messages % len(MAILINGS)
        else:
            self._producer.flush()
            self._producer.abort_transaction()

    def tell_again(self, mail_id: str) -> None:
        """Publish a second final event of a message, which is a fault."""
        self._producer.begin_transaction()
        data = MailEvent("shop", "news", "north", at_ms=NOON_MS)
        self._send(encode_event(EventType.DELIVERED, mail_id, data, "deliver"))
        self._producer.commit_transaction()

    def close(self) -> None:
        self._producer.close()

    def _tell(self, number: int) -> None:
        self._made += 1
        mail_id = ids.derive(self._topic, 0, self._made, NOON_MS)
        client, mailing_id, sub_client = MAILINGS[number % len(MAILINGS)]
        deferred = number % 3 == 0
        if deferred:
            data = _data(client, mailing_id, sub_client, first=True)
            self._send(encode_event(EventType.DEFERRED, mail_id, data, "deliver"))
        final = EventType.BOUNCED if number % 5 == 0 else EventType.DELIVERED
        data = _data(client, mailing_id, sub_client, first=not deferred)
        self._send(encode_event(final, mail_id, data, "deliver"))

    def _send(self, record: tuple[bytes, bytes, list[tuple[str, bytes]]]) -> None:
        key, value, headers = record
        self._producer.send(self._topic, value, key, headers)


def _data(client: str, mailing_id: str, sub_client: str, first: bool) -> MailEvent:
    return MailEvent(
        client=client,
        mailing_id=mailing_id,
        sub_client=sub_client,
        at_ms=NOON_MS,
        first_dispatch=first,
        first_dispatched_at_ms=NOON_MS,
    )

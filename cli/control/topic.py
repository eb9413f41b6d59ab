"""Reads and writes the orders on mail.control for commands.

Owns: the decision which orders are in force, which orders concern a message, and which ended orders
are so old that they are deleted. The functions that read or write raise Unavailable if Kafka does
not answer; the other functions are pure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from typing import Final, TypeVar

from kafka.errors import KafkaError
from msgspec.structs import replace

from cli.options import duration_s
from shared.events.stories import Story
from shared.runtime.clock import now_ms
from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.stream.client import client_options, make_producer
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.prompt_reader import PromptReader
from shared.topics.codec import CodecError
from shared.topics.control import (
    MAX_TEXT_CHARS,
    PARTITION,
    Order,
    Scope,
    Verb,
    apply_record,
    decode_order,
    encode_order,
    key_of,
)
from shared.topics.names import CONTROL

READ_S: Final = 60.0
WRITE_S: Final = 30.0
T = TypeVar("T")
DAY_MS: Final = 86_400_000
# An order stays on mail.control for at least this long after its end.
KEPT_MS: Final = 30 * DAY_MS
# By default, every order has an end, because its author may forget it. Orders to bounce or expire
# mail end sooner, because their effect cannot be undone.
DEFAULT_FOR: Final = {
    Verb.SUSPEND: "1d",
    Verb.REROUTE: "1d",
    Verb.BOUNCE: "1h",
    Verb.EXPIRE: "1h",
    # These orders end after this time, because no message waits for longer.
    Verb.CANCEL: "49d",
    Verb.RELEASE: "49d",
}


def read_orders(kafka: KafkaSettings) -> list[Order]:
    """Return the order of each scope that replaces the earlier ones, in key order."""
    return read_last(kafka, decode_order)


def read_last(kafka: KafkaSettings, decode: Callable[[bytes, bytes], T]) -> list[T]:
    """Return the last record of each key, in key order; omit records that `decode` cannot read."""
    found: dict[bytes, T] = {}
    options = client_options(kafka, f"control-{os.getpid()}")
    try:
        with closing(PromptReader(options, CONTROL, PARTITION)) as reader:
            for record in reader.read_whole(READ_S) if reader.begin() else ():
                if isinstance(record, UndecodableRecord):
                    continue
                with suppress(CodecError):  # the deliver service logs and counts this fault
                    apply_record(found, record.key or b"", record.value, decode)
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error
    return [found[key] for key in sorted(found)]


def write_orders(
    kafka: KafkaSettings, orders: Iterable[Order], forgotten: Iterable[Order] = ()
) -> None:
    """Write `orders`, delete `forgotten`, and wait until Kafka has acknowledged all records."""
    records: list[tuple[bytes, bytes | None]] = [encode_order(order) for order in orders]
    write_records(kafka, records + [(key_of(order.scope), None) for order in forgotten])


def write_records(kafka: KafkaSettings, records: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Write these keys and values, and wait until Kafka has acknowledged all records.

    A value of None deletes its key.
    """
    options = client_options(kafka, f"control-{os.getpid()}")
    try:
        with closing(make_producer(options, None)) as producer:
            pending = [producer.send(CONTROL, value, key, [], PARTITION) for key, value in records]
            producer.flush()
            for future in pending:
                future.get(WRITE_S)
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error


def forgotten(orders: Iterable[Order], now_ms: int) -> list[Order]:
    """Return the orders that ended so long ago that they can be deleted."""
    return [
        order
        for order in orders
        if order.is_over(now_ms) and max(order.at_ms, order.expires_at_ms) + KEPT_MS < now_ms
    ]


def in_force(orders: Iterable[Order], scope: Scope, now_ms: int) -> Order | None:
    """Return the order in force on exactly this scope; None if there is no such order."""
    found = next((order for order in orders if order.scope == scope), None)
    return None if found is None or found.is_over(now_ms) else found


def order_on_message(kafka: KafkaSettings, mail_id: str) -> Order | None:
    """Return the order in force on exactly this message; None if there is no such order."""
    return in_force(read_orders(kafka), Scope(mail_id=mail_id), now_ms())


def message_order(verb: Verb, mail_id: str, author: str, reason: str, at_ms: int) -> Order:
    """Return an order on one message, which lasts for the default time of its verb."""
    lasts_s = duration_s(DEFAULT_FOR[verb]) or 0
    scope = Scope(mail_id=mail_id)
    return Order(verb, scope, author, reason[:MAX_TEXT_CHARS], at_ms, at_ms + lasts_s * 1_000)


def resumption(found: Order, resume: Order) -> Order:
    """Return the order that ends `found`, with the author, reason and time of `resume`."""
    return replace(
        found,
        verb=Verb.RESUME,
        author=resume.author,
        reason=resume.reason,
        at_ms=resume.at_ms,
        expires_at_ms=0,
        target="",
    )


def orders_on(story: Story, orders: Iterable[Order], now_ms: int) -> list[Order]:
    """Return the orders in force whose scope is known to include the message.

    An order on a provider or a lane is left out, because events contain neither.
    """
    known = {
        "client": story.client,
        "mailing": story.mailing_id,
        "sub_client": story.sub_client,
        "domain": story.recipient.rpartition("@")[2].lower(),
        "site": next((each.data.site for each in reversed(story.events) if each.data.site), ""),
        "mail_id": story.mail_id,
    }
    return [
        order
        for order in orders
        if not order.is_over(now_ms)
        and all(known.get(name, "") == value for name, value in order.scope.given())
    ]

"""`sluice cancel`: ends a waiting message without a delivery attempt.

The command writes an order on the mail id. The deliver process that holds the message, or that
reads the message next, ends the message with one `cancelled` event. If an attempt has already
begun, the attempt is finished, and its outcome is valid. The order is deleted when the event
exists, because the event contains the author and the reason of the order. A second cancellation
changes nothing.

Exit codes: 0 the message is cancelled, or the order is recorded and the message will not be sent; 1
the message has ended in another way; 2 wrong usage; 3 Kafka is unavailable.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

import click
from msgspec import Struct, structs

from cli.answer import Exit, print_json, say
from cli.clients.faults import answering
from cli.control.options import author_of, authored
from cli.control.orders import at, recorded_line
from cli.control.topic import message_order, order_on_message, write_orders
from cli.options import find_kafka, kafka_options
from shared.events.log import Reading, Span
from shared.events.stories import WAITING, Read, Story, Wanted, stories
from shared.runtime.clock import Deadline, now_ms
from shared.runtime.commands import run_command
from shared.settings.sections import KafkaSettings
from shared.topics import ids
from shared.topics.control import Order, Verb
from shared.topics.records import Event, EventType

READ_S: Final = 60.0
_LOOK_S: Final = 0.5
_MARGIN_MS: Final = 60_000


class Answer(StrEnum):
    """The state of the message after the order."""

    CANCELLED = "cancelled"
    # The final event of the message is not `cancelled`, because the message had already ended when
    # the order was recorded, or because an attempt had already begun.
    ENDED = "ended"
    # The message will not be sent; the event is written when the message is read from its queue.
    RECORDED = "recorded"


class Cancellation(Struct, frozen=True):
    """The answer, the message's state, and the time of the message's next read (0 if not known)."""

    mail_id: str
    answer: Answer
    state: str
    due_at_ms: int = 0
    has_events: bool = True


def judge(mail_id: str, events: Iterable[Event]) -> Cancellation:
    """Return the result of a cancellation; without events, the message counts as waiting."""
    found: Story | None = next(iter(stories(events)), None)
    if found is None or found.state == WAITING:
        due_ms = found.next_attempt_at_ms if found is not None else 0
        return Cancellation(mail_id, Answer.RECORDED, WAITING, due_ms, found is not None)
    if found.state == EventType.CANCELLED:
        return Cancellation(mail_id, Answer.CANCELLED, found.state)
    return Cancellation(mail_id, Answer.ENDED, found.state)


@click.command()
@click.argument("mail_id")
@authored
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 3_600),
    default=5.0,
    show_default=True,
    help="Seconds to wait for the event.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@kafka_options
@answering
def main(mail_id: str, author: str, reason: str, as_json: bool, **rest: Any) -> None:
    """End a message that waits, before it is sent.

    Mail that waits for a retry or for its earliest time is not sent any more; its event
    is written when the deliver service next reads the message. If an attempt has begun already, the
    outcome of the attempt counts, and the command says so.
    """
    try:
        ids.to_bytes(mail_id)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    kafka = find_kafka(rest["bootstrap"], rest["line"])
    looked = _events(kafka, mail_id, int.from_bytes(ids.to_bytes(mail_id)[:6], "big"))
    known = looked.events
    found = judge(mail_id, known)
    if found.answer is Answer.RECORDED:
        order = _recorded(kafka, mail_id)
        if order is None:
            order = message_order(Verb.CANCEL, mail_id, author_of(author), reason, now_ms())
            write_orders(kafka, [order])
        else:
            say(f"recorded before: {recorded_line(order)}")
        found = _wait(kafka, order, known, rest["wait_s"])
    if found.due_at_ms < now_ms():
        # The message was read since, and waits again: it is held in doubt, or a limit delays it.
        found = structs.replace(found, due_at_ms=0)
    if not looked.is_complete:  # Some events of the message may not have been read.
        say(f"not all events were read in {READ_S:g} s")
        found = structs.replace(found, has_events=True)
    if as_json:
        print_json(found)
    else:
        click.echo(sentence(found))
    sys.exit(Exit.CHECK_FAILED if found.answer is Answer.ENDED else Exit.OK)


def _recorded(kafka: KafkaSettings, mail_id: str) -> Order | None:
    """Return an earlier order that cancels this message. The order keeps its author and reason."""
    found = order_on_message(kafka, mail_id)
    return found if found is not None and found.verb is Verb.CANCEL else None


def _wait(kafka: KafkaSettings, order: Order, known: list[Event], wait_s: float) -> Cancellation:
    mail_id = order.scope.mail_id
    deadline = Deadline(wait_s)
    found = judge(mail_id, known)
    while not deadline.is_over():
        found = judge(mail_id, [*known, *_events(kafka, mail_id, order.at_ms).events])
        if found.answer is not Answer.RECORDED:
            write_orders(kafka, [], [order])
            break
        time.sleep(deadline.at_most(_LOOK_S))
    return found


def _events(kafka: KafkaSettings, mail_id: str, since_ms: int) -> Read:
    wanted = Wanted(mail_id)
    span = Span(max(0, since_ms - _MARGIN_MS), READ_S)
    reading = Reading(kafka, span, wanted.may_be, lambda _done, _total: None)
    events = list(filter(wanted.matches, reading.events()))
    return Read(events, reading.is_complete)


def sentence(found: Cancellation) -> str:
    """Return the sentence that describes the message and the order."""
    match found.answer:
        case Answer.CANCELLED:
            return f"{found.mail_id}: cancelled"
        case Answer.ENDED:
            return f"{found.mail_id}: not cancelled, it has ended as {found.state}"
        case Answer.RECORDED:
            if not found.has_events:
                return (
                    f"{found.mail_id}: the order is recorded, but no event of this message was "
                    "found: the message has no event yet, or no message has this id; if the "
                    "deliver service reads the message, it ends as cancelled"
                )
            when = f" at {at(found.due_at_ms)} or earlier" if found.due_at_ms else ""
            return (
                f"{found.mail_id}: the order is recorded; the message ends as cancelled when "
                f"the deliver service next reads it{when}, unless an attempt has begun already"
            )


if __name__ == "__main__":
    run_command(main, "cancel")

"""`sluice indoubt`: lists, sends or drops mail that is held because a server may already have it.

`send` writes an order that releases the message. The deliver service sends the message at its next
check of held mail: within a minute, or within five minutes if the message has been held for more
than an hour. If the server already had the message, the recipient gets it twice. `drop` cancels the
message, so the message ends with a `cancelled` event that contains the author. Without a command, a
held message is not sent, and when its time is over, it ends as `expired`.

A release applies only to doubts that are older than the release. If the delivery is in doubt again
later, the message is held again. A cancelled message cannot be released, because the command that
cancelled it has confirmed that it will not be sent.

Exit codes: 0 success, 1 no such message is held or the message to send is cancelled, 2 wrong usage,
3 Kafka is unavailable.
"""

from __future__ import annotations

import sys
from typing import Any, Final, NoReturn

import click

from cli.answer import Exit, print_json, say
from cli.clients.faults import answering
from cli.control.options import author_of, authored
from cli.control.orders import at, recorded_line
from cli.control.topic import message_order, order_on_message, write_orders
from cli.options import common, find_kafka, progress
from cli.queue.counting import Waiting
from cli.queue.reading import QueueReading
from cli.terminal import Column, Kind, lay_out, terminal_width
from shared.plurals import counted
from shared.runtime.clock import now_ms
from shared.runtime.commands import HelpGroup, run_command
from shared.settings.sections import KafkaSettings
from shared.topics import ids
from shared.topics.control import Order, Verb

# At most this many messages are shown, because a person decides on them one by one.
MAX_SHOWN: Final = 10_000
_SAID: Final = {
    Verb.RELEASE: "released; the deliver service sends it at {due} or earlier",
    Verb.CANCEL: "dropped; the deliver service ends it as cancelled at {due} or earlier",
}


@click.group(cls=HelpGroup)
def main() -> None:
    """List, send or drop mail that is held because its server may have it already.

    Such mail is held if its client or its code has `on_doubt: hold`.
    """


@main.command("list")
@common
@answering
def list_(as_json: bool, **rest: Any) -> None:
    """List the messages that are held."""
    with progress("reading the queues") as shown:
        reading = QueueReading(
            find_kafka(rest["bootstrap"], rest["line"]), rest["timeout_s"], shown
        )
        held = reading.held(MAX_SHOWN)
    if not reading.is_complete:
        say(
            f"not all was read in {rest['timeout_s']:g} s: more may be held; set a longer --timeout"
        )
    if as_json:
        print_json({"is_complete": reading.is_complete, "messages": [_row(each) for each in held]})
    else:
        if held:
            click.echo("\n".join(_table(held)))
        click.echo(f"{counted(len(held), 'message')} held")


@main.command()
@click.argument("mail_id")
@authored
@common
@answering
def send(mail_id: str, **rest: Any) -> None:
    """Send a held message, although its server may have it already."""
    _decide(Verb.RELEASE, mail_id, rest)


@main.command()
@click.argument("mail_id")
@authored
@common
@answering
def drop(mail_id: str, **rest: Any) -> None:
    """End a held message as cancelled."""
    _decide(Verb.CANCEL, mail_id, rest)


def _decide(verb: Verb, mail_id: str, rest: dict[str, Any]) -> None:
    try:
        ids.to_bytes(mail_id)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    kafka = find_kafka(rest["bootstrap"], rest["line"])
    with progress("reading the queues") as shown:
        reading = QueueReading(kafka, rest["timeout_s"], shown)
        found = reading.find(mail_id)
    if found is None or not found.envelope.held_since_ms:
        _not_held(mail_id, found, is_complete=reading.is_complete)
        if rest["as_json"]:
            print_json({"mail_id": mail_id, "decision": ""})
        sys.exit(Exit.CHECK_FAILED)
    earlier = order_on_message(kafka, mail_id)
    if earlier is not None and earlier.verb is Verb.CANCEL:
        _cancelled(earlier, verb, as_json=rest["as_json"])
    write_orders(kafka, [_order(verb, found, author_of(rest["author"]), rest["reason"])])
    if verb is Verb.RELEASE:
        _check_still_released(kafka, mail_id, as_json=rest["as_json"])
    if earlier is not None:
        say(f"replaced: {recorded_line(earlier)}")
    if rest["as_json"]:
        print_json({**_row(found), "decision": "send" if verb is Verb.RELEASE else "drop"})
    else:
        said = _SAID[verb].format(due=at(found.envelope.due_at_ms))
        click.echo(f"{mail_id}: {said}")


def _check_still_released(kafka: KafkaSettings, mail_id: str, *, as_json: bool) -> None:
    """Report a cancellation that another command wrote just before the release.

    The cancellation stays in force. It is written again, because the release is the last record of
    its key, and compaction keeps only the last record.
    """
    found = order_on_message(kafka, mail_id)
    if found is not None and found.verb is Verb.CANCEL:
        write_orders(kafka, [found])
        _cancelled(found, Verb.RELEASE, as_json=as_json)


def _cancelled(order: Order, verb: Verb, *, as_json: bool) -> NoReturn:
    """Report that the message is cancelled already. A cancellation cannot be taken back."""
    mail_id = order.scope.mail_id
    say(f"recorded before: {recorded_line(order)}")
    if as_json:
        print_json({"mail_id": mail_id, "decision": "drop"})
    else:
        click.echo(f"{mail_id}: it ends as cancelled when the deliver service next reads it")
    sys.exit(Exit.OK if verb is Verb.CANCEL else Exit.CHECK_FAILED)


def _order(verb: Verb, found: Waiting, author: str, reason: str) -> Order:
    # The order must be later than the doubt, even if this clock is behind the clock of the deliver
    # service.
    now = max(now_ms(), found.envelope.held_since_ms)
    return message_order(verb, found.envelope.mail_id, author, reason, now)


def _not_held(mail_id: str, found: Waiting | None, *, is_complete: bool) -> None:
    if found is not None:
        say(f"{mail_id} waits on {found.topic}, but is not held; `sluice cancel` ends it")
    elif is_complete:
        say(f"{mail_id} is in no queue; `sluice message` shows what became of it")
    else:
        say(f"{mail_id} was not found in time: set a longer --timeout")


def _row(held: Waiting) -> dict[str, Any]:
    envelope = held.envelope
    return {
        "mail_id": envelope.mail_id,
        "client": envelope.client,
        "recipient": envelope.recipient,
        "message_id": envelope.message_id,
        "held_since_ms": envelope.held_since_ms,
        "looked_at_ms": envelope.due_at_ms,
        "expires_at_ms": envelope.expires_at_ms,
        "attempts": envelope.attempts.count,
    }


def _table(held: list[Waiting]) -> list[str]:
    columns = [Column(name, Kind.KEY) for name in ("mail id", "client", "to", "held since")]
    columns.append(Column("expires"))
    rows = [
        [
            each.envelope.mail_id,
            each.envelope.client,
            each.envelope.recipient,
            at(each.envelope.held_since_ms),
            at(each.envelope.expires_at_ms) if each.envelope.expires_at_ms else "",
        ]
        for each in held
    ]
    return lay_out(columns, rows, terminal_width())


if __name__ == "__main__":
    run_command(main, "indoubt")

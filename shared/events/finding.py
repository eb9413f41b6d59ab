"""Finds all events of the messages that a text names.

A recipient's address is not in every event of its message: that of forwarded mail names who got it.
So what is not a mail id is looked for in two passes: the messages that it names, then all events of
these. Owns: the two passes. Does not own: reading and its bounds (log.py, given as `read`), what an
event says of its message (stories.py). On failure it raises what `read` raises.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from shared.events.log import Sieve
from shared.events.stories import Wanted, since_of
from shared.topics.records import Event


class Read(Struct, frozen=True):
    """The events that were read; `is_complete` is False if a bound was reached before the end."""

    events: list[Event]
    is_complete: bool


Choose = Callable[[Event], bool]
# Reads the events since a time (Unix milliseconds) that pass the sieve and are then chosen.
ReadEvents = Callable[[int, Sieve, Choose], Read]


def find_events(wanted: Wanted, since_ms: int, client: str, read: ReadEvents) -> Read:
    """Return the events of the messages wanted, of one client or (with "") of any.

    A mail id is found however old it is. Any other text is looked for since `since_ms`; a message
    that it names has its earlier events, too.
    """

    def names(event: Event) -> bool:
        return client in ("", event.data.client) and wanted.matches(event)

    first = since_of(wanted.mail_id) if wanted.mail_id else since_ms
    named = read(first, wanted.may_be, names)
    mail_ids = {event.subject for event in named.events}
    if wanted.mail_id or not mail_ids:
        return named
    keys = {mail_id.encode() for mail_id in mail_ids}
    begins = [since_of(mail_id) for mail_id in mail_ids if Wanted(mail_id).mail_id]
    rest = read(
        min(begins, default=since_ms),
        lambda key, _value: key in keys,
        lambda event: event.subject in mail_ids,
    )
    # Those of the first pass are kept: the second may have been cut off before it came to them.
    is_complete = named.is_complete and rest.is_complete
    return Read([*named.events, *rest.events], is_complete)

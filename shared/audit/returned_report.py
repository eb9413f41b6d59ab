"""The account of returned mail, as `sluice audit` shows it."""

from __future__ import annotations

from msgspec import Struct


class ReturnedRow(Struct, frozen=True):
    """What came back for one client, and what became of it.

    `open` is what has no end yet: came_back - events - not_understood. While mail flows it may be
    less than nothing, as events are read up to a later end than the mail. `kept_back` is of what
    came back or was given up and has been read by validate; the metrics of validate say why.
    """

    client: str
    came_back: int
    events: int
    not_understood: int  # on mail.refused, because of a programming error
    open: int
    given_up: int  # by validate and deliver; not part of came_back
    forwarded: int
    not_forwarded: int  # refused by the forwarding address, or expired
    kept_back: int = 0  # not wanted, a loop, only listed in a digest, or still on its way there


class ReturnedReport(Struct, frozen=True):
    """The account of returned mail by client; `waiting` are those that validate has not read."""

    came_back: int
    events: int
    waiting: int
    rows: list[ReturnedRow]

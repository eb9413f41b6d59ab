"""What a report says of one recipient, before it has a kind."""

from __future__ import annotations

from msgspec import Struct


class Statement(Struct, frozen=True):
    """What a report says of one recipient.

    `diagnostic` is the remote server's reply or the reporting system's reason, `around` the text
    for people at this recipient. `is_trusted`: the reporting system checks recipients itself.
    `aliases` are its other addresses in the report: what it was before an alias or a mail server
    changed it.
    `is_doubtful`: the message may be no report at all; `can_be_hard`: if so, a machine sent it.
    """

    address: str
    action: str = ""  # failed, delayed, delivered, relayed, expanded; "" if it is not given
    status: str = ""
    diagnostic: str = ""
    around: str = ""
    is_trusted: bool = False
    is_doubtful: bool = False
    can_be_hard: bool = True
    aliases: tuple[str, ...] = ()

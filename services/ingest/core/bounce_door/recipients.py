"""Judges the recipients of the bounce door, and builds the records of their mail. This module does
no I/O.

| recipient | answer |
| --- | --- |
| a return path of a sending domain | accepted if its HMAC is right and it has not expired |
| `postmaster`, `abuse` at a sending domain | accepted |
| any other address at a sending domain | accepted: replies and auto-replies to From addresses |
| `postmaster` without a domain; `postmaster`, `abuse` at the door name | accepted for one client |
| any other address | refused: the door relays nothing |

This module owns this table, the refusals and the other replies of the policy. It does not own the
form of a return path (shared/mail/verp.py), the keys and the limits. A local part that begins like
a return path is never accepted as an ordinary address. A forged return path is refused before the
rest of the address is parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.mail import verp
from shared.mail.address import ParsedAddress, parse_path
from shared.mail.domains import normalise
from shared.mail.verp import Keys, ReturnPath
from shared.registry.client import Client
from shared.smtp.reply import Reply
from shared.topics.records import ReturnAddressKind, Returned

TOO_FAST: Final = Reply(450, "4.7.1", "Too many messages a minute from your address")
TOO_FAST_FOR_CLIENT: Final = Reply(450, "4.7.1", "Too much mail a minute for this domain")
FULL: Final = Reply(451, "4.3.1", "Too much mail at once; try again later")
# The only way to stop a message that is arriving is to end the connection.
FULL_WHILE_RECEIVING: Final = Reply(421, "4.3.1", "Too much mail at once; try again later")


class Refusal(StrEnum):
    """The reason why a recipient is refused."""

    FORGED = "forged"
    EXPIRED = "expired"
    RELAYING = "relaying"
    SYNTAX = "syntax"
    POSTMASTER = "postmaster"


REPLIES: Final = {
    Refusal.FORGED: Reply(550, "5.1.1", "No such return path"),
    Refusal.EXPIRED: Reply(550, "5.1.1", "This return path has expired"),
    Refusal.RELAYING: Reply(550, "5.7.1", "Relaying denied: no mail is taken for this domain"),
    Refusal.SYNTAX: Reply(550, "5.1.3", "Not a valid address"),
    Refusal.POSTMASTER: Reply(550, "5.1.1", "Write to postmaster@ the domain in question"),
}
_ROLES: Final = {
    "postmaster": ReturnAddressKind.POSTMASTER,
    "abuse": ReturnAddressKind.ABUSE,
}


class Known(Struct, frozen=True):
    """The data that is needed to judge recipients. If `keys` is None, no return path can be
    verified.

    `host` is the name of the door itself. Mail to the postmaster at this name is for the client
    `postmaster`.
    """

    client_of_domain: Callable[[str], Client | None]
    keys: Keys | None
    today: int
    days_valid: int
    host: str = ""
    postmaster: Client | None = None


class Accepted(Struct, frozen=True):
    """An accepted recipient in normal form.

    `path` is the parsed return path, or None if the recipient is not a return path.
    """

    client: Client
    address: str
    kind: ReturnAddressKind
    path: ReturnPath | None = None


def judge_recipient(address: str, known: Known) -> Accepted | Refusal:
    """Judge the recipient of a RCPT command; return the accepted recipient or the reason for the
    refusal."""
    local, at, domain = address.rpartition("@")
    if not at:
        return _own_postmaster(address, known)
    domain = domain.lower() if domain.isascii() else normalise(domain)
    client = known.client_of_domain(domain)
    if client is None:
        return _own_postmaster(local, known) if domain == known.host else Refusal.RELAYING
    if verp.is_return_path(local):
        return _return_path(client, local, domain, known)
    parsed = parse_path(address)
    if not isinstance(parsed, ParsedAddress):
        return Refusal.SYNTAX
    if verp.is_return_path(parsed.local):  # the local part was a quoted string
        return _return_path(client, parsed.local, domain, known)
    kind = _ROLES.get(parsed.local.lower(), ReturnAddressKind.FROM)
    return Accepted(client, parsed.address, kind)


def returned(accepted: Accepted, return_id: str, sender: str, at_ms: int, peer: str) -> Returned:
    """Return the record of mail.returned for a message to this recipient."""
    path, client = accepted.path, accepted.client
    if path is None:
        return Returned(
            return_id, client.name, accepted.address, sender, at_ms, accepted.kind, peer
        )
    mailing = client.mailings.get(path.mailing)
    return Returned(
        return_id=return_id,
        client=client.name,
        recipient=accepted.address,
        sender=sender,
        received_at_ms=at_ms,
        address_kind=accepted.kind,
        peer=peer,
        mailing_id=mailing.mailing_id if mailing is not None else "",
        sub_client=mailing.sub_client if mailing is not None else "",
        mail_id=path.mail_id,
        recipient_hash=path.recipient,
    )


def _return_path(client: Client, local: str, domain: str, known: Known) -> Accepted | Refusal:
    if known.keys is None:
        return Refusal.FORGED
    path = verp.verify(
        known.keys, client.name, local, today=known.today, days_valid=known.days_valid
    )
    if isinstance(path, verp.Refused):
        return Refusal(path.value)
    return Accepted(client, f"{local.lower()}@{domain}", ReturnAddressKind.RETURN_PATH, path)


def _own_postmaster(local: str, known: Known) -> Accepted | Refusal:
    """Judge a recipient of the door itself (RFC 5321, 4.5.1)."""
    kind = _ROLES.get(local.lower())
    if kind is None:
        return Refusal.RELAYING
    if known.postmaster is None:
        return Refusal.POSTMASTER
    return Accepted(known.postmaster, f"{local.lower()}@{known.host}", kind)


def accepted_reply(return_id: str) -> Reply:
    """Return the reply to a message that Kafka has acknowledged."""
    return Reply(250, "2.0.0", f"Ok: queued as {return_id}")

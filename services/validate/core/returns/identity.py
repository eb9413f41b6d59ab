"""Finds the message to which returned mail refers, and checks which address is the recipient of
that message. Pure.

The return path of a message proves that a report refers to this message. Either the report was sent
to this return path, or the report quotes this return path. The return path is signed and has a hash
of the recipient. So a report about any other address changes nothing, no matter who wrote the
report.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct

from shared.mail import verp
from shared.mail.comparison import comparable
from shared.mail.unsubscribe import Unsubscription
from shared.mail.verp import Keys, ReturnPath
from shared.registry.client import Client
from shared.topics.records import Returned

# A feedback report quotes the return path of the message, usually in the first lines of the report.
SEARCHED_BYTES: Final = 262_144
MAX_QUOTED: Final = 8
MAX_ADDRESSES: Final = 100
# Matches a return path in plain form, in a URL (mailto: in List-Unsubscribe), or in
# quoted-printable.
_QUOTED: Final = re.compile(
    rb"rp(?:=|=3d|%3d)([0-9a-v]{61})(?:@|=40|%40)([0-9a-z.-]{0,253})", re.IGNORECASE
)
_SOFT_BREAKS: Final = re.compile(rb"=[ \t]{0,20}\r?\n")


class Identity(Struct, frozen=True):
    """The message that came back. Its recipient is known only as a hash."""

    mail_id: str
    mailing_id: str
    sub_client: str
    recipient_hash: bytes


class Verification(Struct, frozen=True):
    """The keys and the largest age for verifying a quoted return path."""

    keys: Keys
    days_valid: int


def identify(
    returned: Returned,
    content: bytes,
    client: Client | None,
    by: Verification | None,
    tokens: Sequence[Unsubscription] = (),
) -> Identity | None:
    """Return the message to which this mail refers; None if nothing proves which message it is.

    `tokens` are the verified tokens of this client that the report quotes (judging.py).
    """
    if returned.mail_id:
        return Identity(
            returned.mail_id,
            returned.mailing_id,
            returned.sub_client,
            returned.recipient_hash,
        )
    if client is None or by is None:
        return None
    if (proved := proved_path(returned, content, lambda _domain: client, by)) is not None:
        path = proved[1]
        return _identity(client, path.mail_id, path.mailing, path.recipient)
    if tokens:
        token = tokens[0]
        hashed = verp.recipient_hash(token.mail_id, token.recipient)
        return _identity(client, token.mail_id, token.mailing, hashed)
    return None


def proved_path(
    returned: Returned,
    content: bytes,
    client_of: Callable[[str], Client | None],
    by: Verification,
) -> tuple[Client, ReturnPath] | None:
    """Return the first valid quoted return path and its client; None if no quoted path is valid.

    `client_of` returns the client of a domain in lower case.
    """
    today = verp.day_of(returned.received_at_ms)
    for local, domain in islice(_quoted_paths(content), MAX_QUOTED):
        if (client := client_of(domain)) is None:
            continue
        path = verp.verify(by.keys, client.name, local, today=today, days_valid=by.days_valid)
        if isinstance(path, ReturnPath):
            return client, path
    return None


def _quoted_paths(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield each possible return path as (local part, domain)."""
    for found in _QUOTED.finditer(_SOFT_BREAKS.sub(b"", content[:SEARCHED_BYTES])):
        yield verp.PREFIX + found[1].decode("ascii"), found[2].decode("ascii").lower()


def _identity(client: Client, mail_id: str, mailing: bytes, recipient: bytes) -> Identity:
    found = client.mailings.get(mailing)
    return Identity(
        mail_id,
        found.mailing_id if found else "",
        found.sub_client if found else "",
        recipient,
    )


def recipient_among(identity: Identity, addresses: Iterable[str]) -> str:
    """Return the address that is the recipient of the message; "" if none of the addresses is."""
    for address in islice(addresses, MAX_ADDRESSES):
        if address and comparable(address) and _is_recipient(identity, address):
            return address
    return ""


def _is_recipient(identity: Identity, address: str) -> bool:
    try:
        found = verp.recipient_hash(identity.mail_id, address)
    except ValueError:  # the mail id is not valid
        return False
    return hmac.compare_digest(found, identity.recipient_hash)

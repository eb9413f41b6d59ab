"""Recognises mail that must not be forwarded, because forwarding could begin an endless loop. Pure.

All forwarded mail has a signed hop in its Message-ID and in the field X-Sluice-Hop. If mail quotes
a hop that this installation has signed, the mail is an answer to mail that this installation
forwarded. If mail has X-Sluice-Hop in its own header, another installation forwarded the mail. The
keys of the other installation are not known here, so the field is trusted without a check. If
somebody forges the field in a report, the only effect is that the report is not forwarded. The
report is still counted.

Automatic answers get no answer (RFC 3834, 2). Mail from the forwarding address is never forwarded
to that address.
"""

from __future__ import annotations

import hmac
import re
from enum import StrEnum
from itertools import islice
from typing import Final

from services.validate.core.returns.identity import SEARCHED_BYTES
from shared.mail.comparison import comparable
from shared.mail.verp import Keys
from shared.registry.client import Client
from shared.responses.mime.parts import Fields

HOP_FIELD: Final = "X-Sluice-Hop"
MAX_QUOTED: Final = 8
_PREFIX: Final = "sluice-fw-"
_MAC_DIGITS: Final = 16
_HOP: Final = re.compile(rb"sluice-fw-([0-9A-Z]{26})-([0-9a-f]{2})([0-9a-f]{16})(?![0-9a-zA-Z])")


class Loop(StrEnum):
    """The reason why mail is not forwarded."""

    OWN_HOP = "own_hop"
    OTHER_HOP = "other_hop"
    FORWARDING_ADDRESS = "forwarding_address"


def hop_of(keys: Keys | None, day: int, return_id: str) -> str:
    """Return the hop of a message: a word for a Message-ID, signed if there are keys."""
    if keys is None:
        return f"{_PREFIX}{return_id}"
    key = keys.signing(day)
    return f"{_PREFIX}{return_id}-{key.id:02x}{_mac(key.secret, return_id)}"


def loop_of(
    content: bytes, fields: Fields, senders: list[str], client: Client, keys: Keys | None
) -> Loop | None:
    """Return the reason why this mail must not be forwarded to the client; None if it may be
    forwarded.

    `fields` is the header of `content`; `senders` are the envelope sender and the From addresses.
    """
    if keys is not None and _quotes_own_hop(content, keys):
        return Loop.OWN_HOP
    if HOP_FIELD.lower() in fields:
        return Loop.OTHER_HOP
    back = comparable(client.forwarding_address)
    if any(comparable(each) == back for each in senders if each):
        return Loop.FORWARDING_ADDRESS
    return None


def _quotes_own_hop(content: bytes, keys: Keys) -> bool:
    for found in islice(_HOP.finditer(content, 0, SEARCHED_BYTES), MAX_QUOTED):
        return_id, key_id, mac = (part.decode("ascii") for part in found.groups())
        key = keys.get(int(key_id, 16))
        if key is not None and hmac.compare_digest(_mac(key.secret, return_id), mac):
            return True
    return False


def _mac(secret: bytes, return_id: str) -> str:
    signed = b"sluice hop\0" + return_id.encode("ascii")
    return hmac.digest(secret, signed, "sha256").hex()[:_MAC_DIGITS]

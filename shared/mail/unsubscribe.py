"""Makes and reads the token of an unsubscribe link (RFC 8058). This module does no I/O.

<61 characters of 0-9 a-v><base64url of the client's name, a NUL and the recipient>

A token identifies the recipient, the client and the message. Its first part is the return path of
the message without the prefix `rp=` (verp.py). This part contains the mail id, hashes of the
mailing and of the recipient, and an HMAC over these values and the client's name. The second part
contains the client's name and the recipient. The HMAC proves that both are genuine.

Mail with a link also has a mailto: address, whose subject contains the same token. In mail without
a link, the header field RECIPIENT_FIELD contains the token.

This module owns the form of a token, and finds tokens in a field. It does not own the return path,
the keys and their rotation (verp.py), the processing of an unsubscription (the validate service),
and the fields that contain tokens (the deliver service).

No stored state is needed to read a token. Each accepted text has one meaning. On a given day, all
texts with the same meaning differ at most in the upper and lower case of the recipient.
read_token() never raises an exception, and computes at most one HMAC and two hashes for a text of
any length. See docs/decisions/0142-unsubscribe-links.md.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from shared.mail import verp
from shared.mail.verp import Keys, Refused

# No valid token is longer, because a client's name is short and an address has at most 254 octets.
MAX_CHARS: Final = 700
# The header field for the token in mail without a link. A complaint that hides the recipient
# usually quotes this field.
RECIPIENT_FIELD: Final = "X-Sluice-Recipient-Token"
_PATH_CHARS: Final = 61
# Matches a token in a URL, in the subject of a mailto: address, or alone. Tokens are
# case-sensitive.
_TOKENS: Final = re.compile(
    r"(?:(?<![0-9A-Za-z_-])|(?<=%20))[0-9a-v]{61}[0-9A-Za-z_-]{4,639}(?![0-9A-Za-z_%=-])"
)


class Unsubscription(Struct, frozen=True):
    """The recipient who unsubscribes, the client, and the message that contained the link."""

    client: str
    recipient: str  # The address in the spelling to which the message was sent.
    mailing: bytes  # The result of mailing_hash() for the mailing and its sub-client.
    mail_id: str


def make_token(client: str, local: str, recipient: str) -> str:
    """Return the token. `local` is the signed local part of the message's return path."""
    named = f"{client}\0{recipient}".encode()
    return local.removeprefix(verp.PREFIX) + urlsafe_b64encode(named).rstrip(b"=").decode()


def read_token(keys: Keys, text: str, *, today: int, days_valid: int) -> Unsubscription | Refused:
    """Return the content of a token, or the reason why it is refused."""
    named = _named(text[_PATH_CHARS:]) if _PATH_CHARS < len(text) <= MAX_CHARS else None
    if named is None:
        return Refused.FORGED
    client, recipient = named
    if text != make_token(client, text[:_PATH_CHARS].lower(), recipient):
        return Refused.FORGED
    local = verp.PREFIX + text[:_PATH_CHARS]
    path = verp.verify(keys, client, local, today=today, days_valid=days_valid)
    if isinstance(path, Refused):
        return path
    if not hmac.compare_digest(path.recipient, verp.recipient_hash(path.mail_id, recipient)):
        return Refused.FORGED
    return Unsubscription(client, recipient, path.mailing, path.mail_id)


def find_tokens(text: str) -> Iterator[str]:
    """Find possible tokens in a header field. Only read_token() decides which are genuine."""
    return (found[0] for found in _TOKENS.finditer(text))


def _named(text: str) -> tuple[str, str] | None:
    """Return the client and the recipient from the second part of a token. Return None if this part
    is malformed."""
    try:
        octets = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        client, nul, recipient = octets.decode().partition("\0")
    except (UnicodeError, binascii.Error):
        return None
    return (client, recipient) if nul and client and recipient else None

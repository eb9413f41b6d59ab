"""The field that names the recipient of a message, sealed, to ourselves. Pure.

Mailbox providers hide the recipient in the complaints that they send, but return the rest of the
header. The field has the token of shared/mail/unsubscribe.py, which is signed: it proves the
message, and has the address that the signed return path has only a hash of. Nothing has to be kept.

Owns: the field. Does not own: the token, the links that have it, too (marketing.py), what follows
from a complaint (validate).
Guarantees: total; the field is put in front, and nothing else changes; a message whose link has the
token does not get it twice.
"""

from __future__ import annotations

from typing import Final

from shared.mail.unsubscribe import RECIPIENT_FIELD, make_token
from shared.mail.verp import PREFIX
from shared.topics.records import Envelope

# A link that was added stands before everything else (marketing.py).
_LINK: Final = b"List-Unsubscribe: "
# RFC 5322, 2.1.1: a line has at most 998 characters.
_LINE_BYTES: Final = 1_000


def with_recipient_token(content: bytes, envelope: Envelope) -> bytes:
    """Return the content with the field in front; the same object if it gets none."""
    local = envelope.sender.rpartition("@")[0]
    if not local.startswith(PREFIX):
        return content  # without a signed return path there is nothing that proves it
    token = make_token(envelope.client, local, envelope.recipient).encode()
    if content.startswith(_LINK) and content.find(token, 0, _LINE_BYTES) >= 0:
        return content
    line_end = content.find(b"\n", 0, _LINE_BYTES)
    end = b"\r\n" if line_end < 0 or content[line_end - 1 : line_end] == b"\r" else b"\n"
    return b"".join((RECIPIENT_FIELD.encode(), b": ", token, end, content))

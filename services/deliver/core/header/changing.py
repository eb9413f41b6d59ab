"""Adds and removes header fields before a message is signed. Pure.

Marketing mail gets List-Unsubscribe and Feedback-ID if it lacks them. List-Unsubscribe (RFC 2369)
contains the URL of a web page and a mail address; List-Unsubscribe-Post (RFC 8058) says that one
POST to the page is enough. The URL of the page and the address contain the recipient and the signed
return path of the message. So no stored state is needed to find out which recipient unsubscribes
from which mail, even if the recipient writes to the address from another mailbox.

A signed token that identifies the recipient can be added to any mail as a header field
(shared/mail/unsubscribe.py). Mailbox providers hide the recipient in the complaints that they send,
but return the rest of the header. The token proves which message the complaint is about. The token
also contains the recipient's address, because the return path contains only a hash of that address.

The field with the mailing code is removed. Field names are not case-sensitive (RFC 5322, 2.2), and
obsolete white space before the colon is allowed (4.5.8).

Owns: the fields. Does not own: the return path (shared/mail/verp.py), the token, the page and the
handling of complaints (the validate service), the signature over the fields (core/signing/dkim.py).

Guarantees: no content causes an exception; except for the removed field, the client's fields are
not changed; added fields are put in front; a message whose link contains the token does not get the
token twice.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from shared.mail.headers import header_end
from shared.mail.unsubscribe import RECIPIENT_FIELD, make_token
from shared.mail.verp import PREFIX
from shared.topics.records import Envelope, MailClass

_UNSUBSCRIBE: Final = re.compile(rb"(?:\A|\n)List-Unsubscribe(?:-Post)?[ \t]*:", re.IGNORECASE)
_FEEDBACK: Final = re.compile(rb"(?:\A|\n)Feedback-ID[ \t]*:", re.IGNORECASE)
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]")
_MAX_PART_CHARS: Final = 60
# RFC 5322, 2.1.1: a line has at most 998 characters.
_MAX_LINE_CHARS: Final = 998
_LINE_BYTES: Final = 1_000  # The limit includes the line end.
# A link that the deliver service added is the first field of the header.
_LINK: Final = b"List-Unsubscribe: "


class MarketingFields(Struct, frozen=True):
    """The fields of marketing mail. If a value is "", its field is not added.

    `unsubscribe_url` is the URL of the page, without a fragment. `feedback_sender` is the last part
    of Feedback-ID.
    """

    unsubscribe_url: str = ""
    feedback_sender: str = ""

    def added_to(self, content: bytes, envelope: Envelope) -> bytes:
        """Return the content with the fields in front; the same object if no field is added."""
        if envelope.mail_class is not MailClass.MARKETING:
            return content
        if not (self.unsubscribe_url or self.feedback_sender):
            return content
        fields = []
        header = content[: header_end(content)]
        if self.unsubscribe_url and not _UNSUBSCRIBE.search(header):
            fields += _unsubscribe(self.unsubscribe_url, envelope)
        if self.feedback_sender and not _FEEDBACK.search(header):
            fields.append(_feedback(self.feedback_sender, envelope))
        if not fields:
            return content
        line_end = b"\r\n" if b"\r\n" in header else b"\n"
        return b"".join(field.encode("ascii") + line_end for field in fields) + content


class FieldRemover:
    """Removes all fields of one name. With the name "", no field is removed."""

    def __init__(self, name: str) -> None:
        self._name = name.lower().encode("ascii")
        self._pattern = (
            re.compile(
                rb"(?:\A|(?<=\n))%b[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)"
                % re.escape(name.encode("ascii")),
                re.IGNORECASE,
            )
            if name
            else None
        )

    def removed_from(self, content: bytes) -> bytes:
        """Return the content without these fields; the same object if there are no such fields."""
        if self._pattern is None:
            return content
        end = header_end(content)
        header = content[:end]
        if self._name not in header.lower():
            return content
        left = self._pattern.sub(b"", header)
        return left + content[end:] if len(left) < end else content


def with_recipient_token(content: bytes, envelope: Envelope) -> bytes:
    """Return the content with the token field in front; the same object if no field is added."""
    local = envelope.sender.rpartition("@")[0]
    if not local.startswith(PREFIX):
        return content  # only a signed return path proves the recipient
    token = make_token(envelope.client, local, envelope.recipient).encode()
    if content.startswith(_LINK) and content.find(token, 0, _LINE_BYTES) >= 0:
        return content
    line_end = content.find(b"\n", 0, _LINE_BYTES)
    end = b"\r\n" if line_end < 0 or content[line_end - 1 : line_end] == b"\r" else b"\n"
    return b"".join((RECIPIENT_FIELD.encode(), b": ", token, end, content))


def _unsubscribe(url: str, envelope: Envelope) -> list[str]:
    local, _, domain = envelope.sender.rpartition("@")
    if not local.startswith(PREFIX) or not domain.isascii():
        return []  # only a signed return path proves the recipient
    token = make_token(envelope.client, local, envelope.recipient)
    post = _post(local, domain, token)
    page = f"List-Unsubscribe: <{_page(url, token)}>,"
    if len(page) > _MAX_LINE_CHARS:
        return [f"List-Unsubscribe: {post}"]
    return [page, f" {post}", "List-Unsubscribe-Post: List-Unsubscribe=One-Click"]


def _post(local: str, domain: str, token: str) -> str:
    """Return the mailto URL with the token as the subject, so any mailbox may send the mail."""
    address = f"<mailto:{quote(local, safe='')}@{domain}?subject=unsubscribe"
    named = f"{address}%20{token}>"
    return named if len("List-Unsubscribe: " + named) <= _MAX_LINE_CHARS else f"{address}>"


def _page(url: str, token: str) -> str:
    """Return the URL of the page. The token comes after the path and before the query."""
    path, question, query = url.partition("?")
    return f"{path.rstrip('/')}/{token}{question}{query}"


def _feedback(sender: str, envelope: Envelope) -> str:
    parts = (envelope.mailing_id, envelope.client, envelope.mail_class.value, sender)
    return f"Feedback-ID: {':'.join(map(_part, parts))}"


def _part(text: str) -> str:
    """Return a part of Feedback-ID. Separators, blanks and other odd characters become `_`."""
    return _ODD.sub("_", text)[:_MAX_PART_CHARS]

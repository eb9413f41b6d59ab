"""Prepares a message for its way out: the mailing code goes, fields of marketing mail come, it is
converted where needed, and signed.

Whether a server takes 8-bit text is known only on the connection, after the message was signed. So
the message goes to the pools signed as it is, together with a function that makes its other form:
converted first, then signed. The pools call it when the connection that the message got does not
offer 8BITMIME, or not SMTPUTF8 for a header with raw UTF-8. See
docs/decisions/0067-bodies-for-seven-bit-servers.md and 0189-utf8-headers.md.

Owns: the order of the steps. Does not own: the conversion (core/mime/seven_bit.py), the
signature (signer.py), which form a connection needs (edge/pool/site_pool.py).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

from services.deliver.core.attempt.outcome import Outcome
from services.deliver.core.attempt.return_path import from_domain
from services.deliver.core.header.adding import MarketingFields, with_recipient_token
from services.deliver.core.header.removing import FieldRemover
from services.deliver.core.mime.seven_bit import to_ascii_header, to_seven_bit
from services.deliver.edge.pool.delivery import SevenBit
from services.deliver.edge.signing.signer import Signer
from shared.mail.domains import domain_of
from shared.smtp.extensions import Unsendable
from shared.topics.records import Envelope


class EightBit(StrEnum):
    """The way of 8-bit text to a server without 8BITMIME or SMTPUTF8."""

    CONVERT = "convert"
    BOUNCE = "bounce"


class FormSender(Protocol):
    """Attempts a delivery, in the form that the server takes: the pools."""

    def send(
        self,
        envelope: Envelope,
        content: bytes,
        begin: Callable[[], bool],
        *,
        seven_bit: SevenBit | None = None,
    ) -> Coroutine[Any, Any, Outcome | None]:
        """Attempt once; see Sender."""
        ...


class PreparingSender:
    """Signs for the domain of the envelope's sender, then passes the message to the pools.

    Forwarded mail has the null return path: it is signed for the domain of its From. `signer` None:
    mail is not signed.
    """

    def __init__(
        self,
        sender: FormSender,
        signer: Signer | None,
        eight_bit: EightBit,
        *,
        code_header: str = "",
        marketing: MarketingFields | None = None,
        has_token: bool = False,
    ) -> None:
        self._sender = sender
        self._signer = signer
        self._eight_bit = eight_bit
        self._code = FieldRemover(code_header)
        self._marketing = marketing or MarketingFields()
        self._has_token = has_token

    def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Coroutine[Any, Any, Outcome | None]:
        """Attempt once; see Sender."""
        domain = domain_of(envelope.sender)
        if envelope.forwards:
            domain = domain or from_domain(content)
        else:
            content = self._marketing.added_to(self._code.removed_from(content), envelope)
            content = with_recipient_token(content, envelope) if self._has_token else content
        signed = partial(self._signed, client=envelope.client, domain=domain)
        seven_bit = None
        if self._eight_bit is EightBit.CONVERT:
            seven_bit = partial(_in_seven_bit, content, signed)
        return self._sender.send(envelope, signed(content), begin, seven_bit=seven_bit)

    def _signed(self, content: bytes, *, client: str, domain: str) -> bytes:
        return content if self._signer is None else self._signer.sign(content, domain, client)


def _in_seven_bit(
    content: bytes, signed: Callable[[bytes], bytes], *, keeps_body: bool = False
) -> bytes | Unsendable:
    converted = to_ascii_header(content) if keeps_body else to_seven_bit(content)
    return converted if isinstance(converted, Unsendable) else signed(converted)

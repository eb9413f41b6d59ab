"""Prepares a message for sending.

The preparation sets the return path of the message, changes its header, converts its text and signs
it.

The events and the retry topics contain the submitted sender. Only the message that is sent to the
server has the return path as its sender. A message whose From does not agree with its return path
is not sent (rule R11).

A message is signed before it gets a connection, but only the connection shows whether the server
accepts 8-bit text. So the pools get the signed message in its original form, together with a
function. The function converts the message and then signs the converted form. The pools call the
function if the connection does not offer 8BITMIME, or if a header has raw UTF-8 and the connection
does not offer SMTPUTF8. See docs/decisions/0067-bodies-for-seven-bit-servers.md and
0189-utf8-headers.md.

Owns: the order of the steps. Does not own: the return path and its agreement with From
(core/attempt/return_path.py), the header fields (core/header/changing.py), the conversion
(core/mime/seven_bit.py), the signature (signer.py), the choice of the form for a connection
(edge/pool/site_pool.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

from msgspec.structs import replace

from services.deliver.core.attempt.results import Bounced, Outcome
from services.deliver.core.attempt.return_path import from_domain, misalignment, return_path
from services.deliver.core.header.changing import (
    FieldRemover,
    MarketingFields,
    with_recipient_token,
)
from services.deliver.core.mime.seven_bit import to_ascii_header, to_seven_bit
from services.deliver.core.signing.dkim import BodyForm
from services.deliver.edge.attempt.parts import Sender
from services.deliver.edge.pool.delivery import SevenBit
from services.deliver.edge.signing.signer import KeyFollower, Signer
from services.deliver.settings import DeliverSettings
from shared.mail.domains import domain_of
from shared.runtime.clock import Clock
from shared.settings.secret_files import KeysFile
from shared.smtp.extensions import Unsendable
from shared.topics.records import Envelope

log = logging.getLogger(__name__)


class EightBit(StrEnum):
    """The treatment of 8-bit text for a server without 8BITMIME or SMTPUTF8."""

    CONVERT = "convert"
    BOUNCE = "bounce"


class FormSender(Protocol):
    """Attempts a delivery in the form that the server accepts; implemented by the pools."""

    def send(
        self,
        envelope: Envelope,
        content: bytes,
        begin: Callable[[], bool],
        *,
        seven_bit: SevenBit | None = None,
    ) -> Coroutine[Any, Any, Outcome | None]:
        """Attempt the delivery once; see Sender."""
        ...


class PreparingSender:
    """Signs for the domain of the envelope's sender, then passes the message to the pools.

    Forwarded mail has the null return path, so a forwarded message is signed for the domain of its
    From. If `signer` is None, mail is not signed.
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
        """Attempt the delivery once; see Sender."""
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


class ReturnPathSender:
    """Passes messages on with their return path, or with the submitted sender if `keys` is None."""

    def __init__(self, sender: Sender, keys: KeysFile | None) -> None:
        self._sender = sender
        self._keys = keys

    def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Coroutine[Any, Any, Outcome | None]:
        """Attempt the delivery once; see Sender. A message that violates R11 is not attempted."""
        keys = self._keys.keys if self._keys is not None else None
        sender = return_path(envelope, keys)
        fault = misalignment(sender, content)
        if fault is None:
            return self._sender.send(replace(envelope, sender=sender), content, begin)
        return self._refused(envelope, fault, begin)

    async def _refused(
        self, envelope: Envelope, fault: Bounced, begin: Callable[[], bool]
    ) -> Outcome | None:
        if not begin():
            return None
        log.error(
            "a message was not sent because it violates R11",
            extra={"mail_id": envelope.mail_id, "client": envelope.client, "reason": fault.reason},
        )
        return fault


def load_keys(deliver: DeliverSettings) -> KeyFollower | None:
    """Load the DKIM keys that the settings specify.

    Return None if the settings specify no keys. Raises UsageError.
    """
    if not deliver.dkim_key_file and not deliver.dkim_keys:
        return None
    return KeyFollower(deliver.dkim_keys, deliver.dkim_key_file, deliver.dkim_selector)


def make_signer(deliver: DeliverSettings, keys: KeyFollower | None, clock: Clock) -> Signer | None:
    """Return the signer with these keys, or None if mail is not signed."""
    return Signer(keys, clock, BodyForm(deliver.dkim_body)) if keys is not None else None


def make_preparing(
    deliver: DeliverSettings, sender: FormSender, keys: KeyFollower | None, clock: Clock
) -> PreparingSender:
    """Return the sender that prepares messages and passes them to `sender`."""
    return PreparingSender(
        sender,
        make_signer(deliver, keys, clock),
        EightBit(deliver.eight_bit),
        code_header=deliver.code_header,
        marketing=MarketingFields(deliver.unsubscribe_url, deliver.feedback_sender),
        has_token=deliver.recipient_token,
    )


def _in_seven_bit(
    content: bytes, signed: Callable[[bytes], bytes], *, keeps_body: bool = False
) -> bytes | Unsendable:
    converted = to_ascii_header(content) if keeps_body else to_seven_bit(content)
    return converted if isinstance(converted, Unsendable) else signed(converted)

"""The TLS policies of outbound connections."""

from __future__ import annotations

import ssl
from typing import Final

from msgspec import Struct


class TlsPolicy(Struct, frozen=True):
    """How a connection uses TLS: with this context if the server offers it, or not at all (None).

    `fault` says why it is not used after all.
    """

    context: ssl.SSLContext | None
    fault: str = ""


def in_clear(fault: str) -> TlsPolicy:
    """The policy for a server whose TLS has failed."""
    return TlsPolicy(None, fault)


def _accept_any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# RFC 7435: any certificate is better than no encryption.
OPPORTUNISTIC: Final = TlsPolicy(_accept_any_certificate())

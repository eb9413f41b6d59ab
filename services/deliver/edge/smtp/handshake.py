"""The steps of a new connection that aiosmtplib carries out: EHLO or HELO, STARTTLS, an early QUIT.

Does not own: their order and what follows when one fails (opening.py).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import Final

import aiosmtplib

from services.deliver.core.attempt.results import SERVICE_NOT_READY
from services.deliver.edge.smtp.connection import GOODBYE_S, Timeouts
from shared.smtp.reply import make_reply

# aiosmtplib reports an answer that is not valid SMTP with a code of its own.
REPLY_CODES: Final = range(200, 600)
_READY: Final = 220
_GOODBYE: Final = re.compile(rb"421[ \t-]([^\r\n]*)")
_REFUSALS: Final = range(400, 600)
# Connections that wait for the reply to QUIT, each for at most GOODBYE_S; more are closed at once.
MAX_GOODBYES: Final = 100


class Partings:
    """The connections that end after a refusal."""

    def __init__(self) -> None:
        self._goodbyes: set[asyncio.Task[None]] = set()

    def part(self, smtp: aiosmtplib.SMTP, code: int) -> None:
        """Close a connection after a refusal: after QUIT if the server may still answer it."""
        # A connection that ends its service needs no QUIT (RFC 5321, 3.8).
        is_refusal = code in _REFUSALS and code != SERVICE_NOT_READY
        if not (is_refusal and smtp.is_connected) or len(self._goodbyes) >= MAX_GOODBYES:
            smtp.close()
            return
        task = asyncio.get_running_loop().create_task(say_goodbye(smtp))
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)


async def say_goodbye(smtp: aiosmtplib.SMTP) -> None:
    """Send QUIT, wait a moment for its reply, and close; raises nothing."""
    try:
        await smtp.execute_command(b"QUIT", timeout=GOODBYE_S)
    except (aiosmtplib.SMTPException, OSError):
        pass  # the refusal has been reported; nothing depends on the reply to QUIT
    finally:
        smtp.close()


async def start_tls(
    smtp: aiosmtplib.SMTP, context: ssl.SSLContext, timeouts: Timeouts
) -> tuple[str, str]:
    """Start TLS: the TLS version and "", or "" and the reply of a server that refuses STARTTLS.

    Raises SSLError if the connection cannot be used afterwards (a server that answers 2xx or 3xx
    may wait for a handshake), and SMTPResponseException for a 421, or a refusal of EHLO over TLS,
    which say nothing about TLS.
    """
    try:
        await smtp.starttls(tls_context=context, timeout=timeouts.command_s)
        # With TLS 1.3 a server's refusal of the handshake appears only at the first read.
        await hello(smtp, timeouts)
        return str(smtp.get_transport_info("ssl_object").version()), ""
    except aiosmtplib.SMTPResponseException as error:
        is_encrypted = smtp.is_connected and smtp.get_transport_info("ssl_object") is not None
        if error.code == SERVICE_NOT_READY or (is_encrypted and error.code in _REFUSALS):
            raise  # it ends its service; connecting again at once, without TLS, is no answer to it
        if not smtp.is_connected or error.code not in _REFUSALS:
            raise _failed(f"{max(error.code, 0) or ''} {error.message}".strip()) from None
        return "", str(make_reply(error.code, error.message))
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _failed(str(error)) from error


def _failed(reason: str) -> ssl.SSLError:
    # An OSError with one argument shows it as a tuple.
    return ssl.SSLError(ssl.SSL_ERROR_SSL, reason)


def check_in_turn(smtp: aiosmtplib.SMTP) -> None:
    """Raise ConnectionError if the server has sent more than the replies to our commands.

    Its next bytes would be taken for the reply to a command that it has not seen. A 421 may come at
    any time (RFC 5321, 3.8): it raises SMTPResponseException.
    """
    surplus = bytes(getattr(smtp.protocol, "_buffer", b""))
    if not surplus:
        return
    if found := _GOODBYE.match(surplus):
        raise aiosmtplib.SMTPResponseException(
            SERVICE_NOT_READY, found[1].decode("utf-8", "replace")
        )
    raise ConnectionError("The server sent data out of turn")


async def hello(smtp: aiosmtplib.SMTP, timeouts: Timeouts) -> None:
    """Send EHLO, and HELO if it is refused, but not after a 421, which ends the service.

    Raises SMTPException, ConnectionError.
    A server that greets again would answer HELO with its reply to EHLO, and so on.
    """
    try:
        await smtp.ehlo(timeout=timeouts.command_s)
    except aiosmtplib.SMTPHeloError as refused:
        if refused.code == _READY:
            raise ConnectionError("The server greeted again and did not answer EHLO") from None
        if refused.code == SERVICE_NOT_READY:
            raise
        try:
            await smtp.helo(timeout=timeouts.command_s)
        except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError):
            raise refused from None  # the refusal of EHLO says more

"""The steps that aiosmtplib performs on a new connection: EHLO or HELO, STARTTLS, an early QUIT.

Owns: a variant of aiosmtplib's client whose dialog can be traced and which does not send QUIT. Does
not own: the order of the steps, the reaction to a failed step (opening.py).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import Any, Final

import aiosmtplib

from services.deliver.core.attempt.results import SERVICE_NOT_READY
from services.deliver.edge.smtp.connection import GOODBYE_S, Timeouts
from services.deliver.edge.tracing.dialog import Dialog
from shared.smtp.reply import make_reply

# If an answer is not valid SMTP, aiosmtplib reports a code outside this range.
REPLY_CODES: Final = range(200, 600)
_READY: Final = 220
_GOODBYE: Final = re.compile(rb"421[ \t-]([^\r\n]*)")
_REFUSALS: Final = range(400, 600)
# At most this many connections wait for the reply to QUIT, each for at most GOODBYE_S. Further
# connections are closed at once.
MAX_GOODBYES: Final = 100


class TracedClient(aiosmtplib.SMTP):
    """aiosmtplib's client, except that a connection stays open for QUIT after a refused greeting.

    `dialog` shows commands and replies to operators, with the credentials masked.
    """

    is_greeted = False
    dialog: Dialog | None = None

    async def greet(self, timeout_s: float) -> None:
        """Read the greeting. If greet() raises, the caller must call close()."""
        try:
            response = await self.connect(timeout=timeout_s)
            self._show(response.code, response.message)
        except aiosmtplib.SMTPResponseException as error:
            self._show(error.code, error.message)
            raise
        finally:
            self.is_greeted = True

    async def execute_command(self, *args: bytes, **options: Any) -> aiosmtplib.SMTPResponse:
        if self.dialog is not None:
            self.dialog.sent(b" ".join(args) + b"\r\n")
        try:
            response = await super().execute_command(*args, **options)
        except aiosmtplib.SMTPResponseException as error:
            self._show(error.code, error.message)
            raise
        self._show(response.code, response.message)
        return response

    async def starttls(self, **options: Any) -> aiosmtplib.SMTPResponse:
        if self.dialog is not None:
            self.dialog.sent(b"STARTTLS\r\n")
        try:
            response = await super().starttls(**options)
        except aiosmtplib.SMTPResponseException as error:
            self._show(error.code, error.message)
            raise
        self._show(response.code, response.message)
        if self.dialog is not None:
            peer = self.get_transport_info("ssl_object")
            cipher = str((peer.cipher() or ("",))[0])
            resumed = ", resumed" if peer.session_reused else ""
            self.dialog.encrypted(str(peer.version()), f"{cipher}{resumed}")
        return response

    def close(self) -> None:
        if self.is_greeted:
            super().close()

    def _show(self, code: int, text: str) -> None:
        if self.dialog is None:
            return
        if code > 0:
            self.dialog.replied(code, text)
        else:
            self.dialog.said(text)  # the reply is not SMTP, so this is aiosmtplib's text


class Partings:
    """The connections that are being closed after a refusal."""

    def __init__(self) -> None:
        self._goodbyes: set[asyncio.Task[None]] = set()

    def part(self, smtp: aiosmtplib.SMTP, code: int) -> None:
        """Close a connection after a refusal. Send QUIT first if the server may still answer it."""
        # A server that has ended its service needs no QUIT (RFC 5321, 3.8).
        is_refusal = code in _REFUSALS and code != SERVICE_NOT_READY
        if not (is_refusal and smtp.is_connected) or len(self._goodbyes) >= MAX_GOODBYES:
            smtp.close()
            return
        task = asyncio.get_running_loop().create_task(say_goodbye(smtp))
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)


async def say_goodbye(smtp: aiosmtplib.SMTP) -> None:
    """Send QUIT, wait for its reply for at most GOODBYE_S, and close. Raises nothing."""
    try:
        await smtp.execute_command(b"QUIT", timeout=GOODBYE_S)
    except (aiosmtplib.SMTPException, OSError):
        pass  # the refusal has been reported; nothing depends on the reply to QUIT
    finally:
        smtp.close()


async def start_tls(
    smtp: aiosmtplib.SMTP, context: ssl.SSLContext, timeouts: Timeouts
) -> tuple[str, str]:
    """Start TLS. Return (version, ""), or ("", reply) if the server refuses STARTTLS.

    Raises SSLError if the connection cannot be used afterwards. For example, a server that answers
    STARTTLS with 2xx or 3xx may wait for a handshake. Raises SMTPResponseException for a 421 or a
    refusal of EHLO over TLS, because these replies do not mean that TLS has failed.
    """
    try:
        await smtp.starttls(tls_context=context, timeout=timeouts.command_s)
        # With TLS 1.3 a server's refusal of the handshake appears only at the first read.
        await hello(smtp, timeouts)
        return str(smtp.get_transport_info("ssl_object").version()), ""
    except aiosmtplib.SMTPResponseException as error:
        is_encrypted = smtp.is_connected and smtp.get_transport_info("ssl_object") is not None
        if error.code == SERVICE_NOT_READY or (is_encrypted and error.code in _REFUSALS):
            raise  # the server ends its service, so do not connect again at once without TLS
        if not smtp.is_connected or error.code not in _REFUSALS:
            raise _failed(f"{max(error.code, 0) or ''} {error.message}".strip()) from None
        return "", str(make_reply(error.code, error.message))
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _failed(str(error)) from error


def _failed(reason: str) -> ssl.SSLError:
    # The text of an OSError with one argument would be a tuple.
    return ssl.SSLError(ssl.SSL_ERROR_SSL, reason)


def check_in_turn(smtp: aiosmtplib.SMTP) -> None:
    """Raise ConnectionError if the server has sent more bytes than the replies to our commands.

    Surplus bytes would be read as the reply to a command that the server has not received. The
    reply 421 is allowed at any time (RFC 5321, 3.8). For this reply, check_in_turn() raises
    SMTPResponseException.
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
    """Send EHLO. If EHLO is refused, send HELO, except after a 421, which ends the service.

    Raises SMTPException. Raises ConnectionError if the server answers EHLO with a second greeting,
    because each further reply would belong to the previous command.
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
            raise refused from None  # the refusal of EHLO says more than the refusal of HELO

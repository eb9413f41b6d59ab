"""aiosmtplib's client as connections are opened with it: it leaves QUIT to us, and can be traced.

Does not own: the steps of an opening (opening.py, handshake.py).
"""

from __future__ import annotations

from typing import Any

import aiosmtplib

from services.deliver.edge.tracing.dialog import Dialog


class TracedClient(aiosmtplib.SMTP):
    """aiosmtplib closes the connection of a refused greeting; here it stays open for QUIT.

    `dialog` shows its commands and replies to operators, the credentials masked.
    """

    is_greeted = False
    dialog: Dialog | None = None

    async def greet(self, timeout_s: float) -> None:
        """Read the greeting. If this raises, the caller must close()."""
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
            self.dialog.said(text)  # of aiosmtplib: the reply is not SMTP

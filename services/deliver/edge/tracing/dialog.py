"""One traced dialog, which passes its lines to the channels of all traces that match it.

Owns: the time of each line. Does not own: the content of a line (core/tracing/dialog_text.py), the
number of lines that are shown (core/tracing/traces.py). Guarantees: nothing here waits or raises,
no matter what a server sends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from services.deliver.core.attempt.results import Broken, TransactionResult
from services.deliver.core.tracing.dialog_text import DialogText, Line
from services.deliver.core.tracing.traces import Channel, DialogInfo
from shared.smtp.extensions import Unsendable


class Dialog:
    """One opening of a connection, or one transaction on it."""

    __slots__ = ("_channels", "_info", "_now_ms", "_text")

    def __init__(
        self, channels: Sequence[Channel], info: DialogInfo, now_ms: Callable[[], int]
    ) -> None:
        self._channels = channels
        self._info = info
        self._now_ms = now_ms
        self._text = DialogText()

    def reaches(self, server: str, source: str = "") -> None:
        """Set the server to which the following lines belong."""
        self._info = replace(self._info, server=server, source=source, tls="")

    def encrypted(self, version: str, cipher: str) -> None:
        """Add a line about the start of TLS, and store the TLS version."""
        self._info = replace(self._info, tls=version)
        self.said(f"TLS: {version} {cipher}")

    def sent(self, data: bytes) -> None:
        """Add the commands that we send."""
        self._add(self._text.sent(data))

    def sent_content(self, size_bytes: int) -> None:
        """Add a line for the content that we send."""
        self._add(self._text.sent_content(size_bytes))

    def received(self, data: bytes) -> None:
        """Add each line of the server that these bytes complete."""
        self._add(self._text.received(data))

    def replied(self, code: int, text: str) -> None:
        """Add an already parsed reply of the server."""
        self._add(self._text.replied(code, text))

    def said(self, text: str) -> None:
        """Add a line of our own text, which neither side has sent."""
        self._add(self._text.said(text))

    def ended(self, result: TransactionResult) -> None:
        """Add the end of the transaction."""
        self._add(self._text.ended())
        if isinstance(result, Broken):
            doubt = "; the server may have the message" if result.in_doubt else ""
            self.said(f"{result.reason}{doubt}")
        elif isinstance(result, Unsendable):
            self.said(f"not sent: {result}")

    def _add(self, lines: list[Line]) -> None:
        at_ms = self._now_ms()
        for kind, text in lines:
            for channel in self._channels:
                channel.add(self._info, kind, text, at_ms)

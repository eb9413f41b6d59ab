"""Reads a message in a server's session: finds its end and size, and reasons to refuse it.

Owns: the limit of bytes in memory, the line rules. Does not own: the dialog around it.
Guarantees: a message that is too large is dropped while it arrives, but its line ends are checked
all the same: if they are malformed, it is uncertain whether its end was intended.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from shared.smtp.buffer import Buffer
from shared.smtp.content import decode_content, has_longer_line, has_only_crlf
from shared.smtp.events import Content, Data
from shared.smtp.reply import Reply
from shared.smtp.server import refusals
from shared.smtp.server.dialog import ServerOptions

# How much is read beyond the content limit, to answer 552 in order, before the session is ended.
MAX_OVERRUN_BYTES: Final = 16 * 1_048_576


class UnterminatedMessage(Struct, frozen=True):
    """The message has no end within MAX_OVERRUN_BYTES: the session must be ended."""


class ContentReader:
    """One message that is being received.

    The end of a message with a bare CR or LF `is_doubtful`: a sender that passes these on may also
    have passed on the end mark as part of somebody's text (SMTP smuggling).
    """

    __slots__ = ("_carried", "_data", "_dropped_bytes", "_is_bare", "_options", "is_doubtful")

    def __init__(self, data: Data, options: ServerOptions) -> None:
        self._data = data
        self._options = options
        self.is_doubtful = False
        self._dropped_bytes = 0
        self._carried = b""  # a CR at the end of the last dropped part
        self._is_bare = False

    def take(self, buffer: Buffer) -> Content | UnterminatedMessage | None:
        """Take the message; None while its end has not arrived."""
        stuffed = buffer.take_content()
        if stuffed is not None:
            return self._received(stuffed, buffer.may_be_stuffed)
        limit = self._options.max_content_bytes
        # Stuffed dots make a message at most a third longer ("..CRLF" for ".CRLF").
        if self._dropped_bytes or len(buffer) > limit + limit // 3 + 5:
            self._drop(buffer.drop_content())
            if self._dropped_bytes > limit + MAX_OVERRUN_BYTES:
                return UnterminatedMessage()
        return None

    def _drop(self, part: bytes) -> None:
        self._dropped_bytes += len(part)
        whole = self._carried + part
        self._carried = b"\r" if whole.endswith(b"\r") else b""
        self._is_bare |= not has_only_crlf(whole.removesuffix(b"\r"))

    def _received(self, stuffed: bytes, may_be_stuffed: bool) -> Content:
        options, sender, recipients = self._options, self._data.sender, self._data.recipients
        is_bare = self._is_bare or not has_only_crlf(self._carried + stuffed)
        self.is_doubtful = is_bare and options.refuse_bare_line_ends
        if self._dropped_bytes:
            size = len(stuffed) + self._dropped_bytes
            return Content(sender, recipients, b"", size, refusals.TOO_LARGE)
        content = decode_content(stuffed) if may_be_stuffed else stuffed
        return Content(sender, recipients, content, len(content), self._refusal(content))

    def _refusal(self, content: bytes) -> Reply | None:
        options = self._options
        if len(content) > options.max_content_bytes:
            return refusals.TOO_LARGE
        if self.is_doubtful:
            return refusals.BARE
        if options.refuse_nul and b"\0" in content:
            return refusals.NUL
        longest = options.max_text_line_bytes
        return refusals.LONG_TEXT if longest and has_longer_line(content, longest) else None

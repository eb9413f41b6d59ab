"""Reads a message in a session of a server. Finds the end and the size of the message, and reasons
to refuse it.

This module owns the rules for lines, and the limit of the message's bytes in memory. It does not
own the dialog before and after the message. If a message is too large, its bytes are dropped while
it arrives, but its line ends are still checked. The reason is that with malformed line ends, it is
uncertain whether the sender intended the end of the message.
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

# A message that is too large is read up to this number of bytes after the content limit, so that
# the reply to the end of the message can be 552. If the message is even longer, the session ends.
MAX_OVERRUN_BYTES: Final = 16 * 1_048_576


class UnterminatedMessage(Struct, frozen=True):
    """The message does not end within MAX_OVERRUN_BYTES after the limit, so the session must
    end."""


class ContentReader:
    """One message that is being received.

    If `is_doubtful` is True, the message contains a bare CR or LF, so its end is uncertain. A
    sender that forwards a bare CR or LF may also have forwarded an end mark that is part of
    somebody's text (SMTP smuggling).
    """

    __slots__ = ("_carried", "_data", "_dropped_bytes", "_is_bare", "_options", "is_doubtful")

    def __init__(self, data: Data, options: ServerOptions) -> None:
        self._data = data
        self._options = options
        self.is_doubtful = False
        self._dropped_bytes = 0
        self._carried = b""  # A CR if the last dropped part ended with a CR.
        self._is_bare = False

    def take(self, buffer: Buffer) -> Content | UnterminatedMessage | None:
        """Take the message. Return None until its end has arrived."""
        stuffed = buffer.take_content()
        if stuffed is not None:
            return self._received(stuffed, buffer.may_be_stuffed)
        limit = self._options.max_content_bytes
        # With stuffed dots, a message is at most a third longer ("..CRLF" instead of ".CRLF").
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

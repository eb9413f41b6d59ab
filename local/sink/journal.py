"""The sink's journal: one JSON line per answer to a message and per refusal of a recipient.

Owns: the lines, and the decision when the lines are written to the operating system. Guarantees:
after `flush()`, all lines are written, so they are not lost if this process is killed. `flush()` is
called before an answer is sent.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct

_MESSAGE_ID: Final = re.compile(rb"(?:\A|\r\n)message-id:[ \t]*(?:\r\n[ \t]+)?([^\r\n]*)", re.I)
_USUAL: Final = (b"\r\nMessage-ID: ", b"\r\nMessage-Id: ")


class Line(Struct, frozen=True):
    """One line. `t` is the time in Unix seconds. `message_id` is "" before the content is
    received."""

    t: float
    verdict: str
    message_id: str
    mail_from: str
    rcpt: str
    size: int
    reply: str
    stage: str


class Answered(Struct, frozen=True):
    """The answer to a recipient or a message."""

    verdict: str
    reply: str
    stage: str
    message_id: str = ""
    size: int = 0


class Journal:
    """Appends lines to a file. If there is no path, nothing is written."""

    def __init__(self, path: Path | None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(path, flags, 0o644) if path else None
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()
        if self._file is not None:
            os.close(self._file)

    @property
    def is_kept(self) -> bool:
        """Return True if the journal is written to a file."""
        return self._file is not None

    def add(self, answered: Answered, mail_from: str, rcpt: str) -> None:
        """Add the line of an answer."""
        if self._file is None:
            return
        line = Line(
            time.time(),
            answered.verdict,
            answered.message_id,
            mail_from,
            rcpt,
            answered.size,
            answered.reply,
            answered.stage,
        )
        self._lines.append(self._encode(line))

    def flush(self) -> None:
        """Write all lines to the operating system, in one write."""
        if not self._lines or self._file is None:
            return
        data = b"\n".join(self._lines) + b"\n"
        self._lines.clear()
        # A write to a regular file is incomplete only if the disk is full. In this case, the next
        # write raises an error.
        while data:
            data = data[os.write(self._file, data) :]


def message_id_of(content: bytes) -> str:
    """Return the Message-ID of a message, or "" if the message has none."""
    end = content.find(b"\r\n\r\n")
    end = len(content) if end < 0 else end + 2
    for usual in _USUAL:
        at = content.find(usual, 0, end)
        if at >= 0:
            start = at + len(usual)
            value = content[start : content.find(b"\r\n", start)]
            return value.decode("utf-8", "replace").strip()
    found = _MESSAGE_ID.search(content, 0, end)
    return found[1].decode("utf-8", "replace").strip() if found else ""

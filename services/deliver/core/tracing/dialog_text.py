"""Makes the lines of a dialog for a trace, without secrets and control characters. Pure.

Owns: the rule that decides what is masked. After an AUTH command, everything in both directions is
shown as `<hidden>` until the final reply to AUTH, because a server may repeat what it received.
Only the codes of the server's replies to AUTH are shown. Content is shown as its size. Does not
own: the decision which bytes are content (the caller decides).

Every byte that is not printable UTF-8 is shown as an escape such as \\x1b, so no text of a server
reaches a terminal as a control sequence. A line is cut after MAX_LINE_CHARS, and a dialog after
MAX_LINES.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MAX_LINE_CHARS: Final = 600
# This number is enough for two EHLO replies with all extensions and for 20 commands. Without a
# limit, a server might answer endlessly.
MAX_LINES: Final = 200
# A line without an end is cut at this length. RFC 5321, 4.5.3.1 allows 512 octets, but servers send
# more.
MAX_LINE_BYTES: Final = 4 * MAX_LINE_CHARS
HIDDEN: Final = "<hidden>"
SENT: Final = ">"
RECEIVED: Final = "<"
SAID: Final = "*"
_AUTH: Final = re.compile(rb"AUTH(?:[ \t]+([A-Za-z0-9_-]{1,20}))?(?:[ \t]|\Z)", re.IGNORECASE)
_REPLY: Final = re.compile(rb"([0-9]{3})([ -]|\Z)")
_CHALLENGE: Final = b"334"

Line = tuple[str, str]  # kind and text


class DialogText:
    """The lines of one dialog. All bytes of the dialog must be passed, in their order."""

    __slots__ = ("_lines", "_received", "_secret", "_skips_rest")

    def __init__(self) -> None:
        self._received = b""  # The part of a line whose end has not been received.
        self._skips_rest = False  # True while the rest of a cut line is skipped.
        self._secret = False
        self._lines = 0

    def sent(self, data: bytes) -> list[Line]:
        """Return the lines of these commands."""
        lines = data.split(b"\r\n")
        if lines[-1] == b"":
            lines.pop()
        return self._counted((SENT, self._command(line)) for line in lines)

    def sent_content(self, size_bytes: int) -> list[Line]:
        """Return the line that stands for content."""
        return self._counted([(SENT, f"<{size_bytes:,} bytes>")])

    def received(self, data: bytes) -> list[Line]:
        """Return the lines that are complete after these bytes."""
        *ended, rest = (self._received + data).split(b"\n")
        if self._skips_rest and ended:
            self._skips_rest = False
            ended.pop(0)
        if self._skips_rest:
            rest = b""
        elif len(rest) > MAX_LINE_BYTES:
            ended.append(rest)
            self._skips_rest, rest = True, b""
        self._received = rest
        return self._counted([(RECEIVED, self._reply(line.removesuffix(b"\r"))) for line in ended])

    def replied(self, code: int, text: str) -> list[Line]:
        """Return the lines of a reply that is already parsed."""
        lines = text.split("\n")
        marks = ["-"] * (len(lines) - 1) + [" "]
        data = (
            f"{code}{mark}{line}".encode("utf-8", "surrogateescape")
            for mark, line in zip(marks, lines, strict=True)
        )
        return self._counted([(RECEIVED, self._reply(line)) for line in data])

    def said(self, text: str) -> list[Line]:
        """Return a line with our own text, such as a reason; the text may quote the server."""
        if self._secret:
            return self._counted([(SAID, HIDDEN)])
        return self._counted([(SAID, shown(text.encode("utf-8", "backslashreplace")))])

    def ended(self) -> list[Line]:
        """Return the received part of a line whose end has not been received."""
        rest, self._received = self._received, b""
        return self._counted([(RECEIVED, self._reply(rest) + " (no line end)")]) if rest else []

    def _command(self, line: bytes) -> str:
        if self._secret:
            return HIDDEN
        found = _AUTH.match(line)
        if found is None:
            return shown(line)
        self._secret = True
        mechanism = (found[1] or b"").decode().upper()
        return " ".join(filter(None, ("AUTH", mechanism, HIDDEN)))

    def _reply(self, line: bytes) -> str:
        if not self._secret:
            return shown(line)
        found = _REPLY.match(line)
        if found is None:
            return HIDDEN
        if found[1] != _CHALLENGE and found[2] != b"-":
            self._secret = False
        return f"{found[1].decode()} {HIDDEN}"

    def _counted(self, lines: Iterator[Line] | list[Line]) -> list[Line]:
        # All lines are read even if no line is shown, because a reply may end the hidden part.
        found = list(lines)
        room = MAX_LINES - self._lines
        self._lines += len(found)
        if room < 0:
            return []
        if len(found) <= room:
            return found
        return [*found[:room], (SAID, f"the rest of this dialog is not shown ({MAX_LINES} lines)")]


def shown(line: bytes) -> str:
    """Return the line as text, in which all bytes except printable characters are escaped."""
    text = line[:MAX_LINE_BYTES].decode("utf-8", "surrogateescape")
    cut = text[:MAX_LINE_CHARS]
    safe = "".join(char if char.isprintable() else _escaped(char) for char in cut)
    if len(cut) == len(text) and len(line) <= MAX_LINE_BYTES:
        return safe
    left = len(line) - len(cut.encode("utf-8", "surrogateescape"))
    return f"{safe}... ({left:,} bytes more)"


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))

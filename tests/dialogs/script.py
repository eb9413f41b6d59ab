"""Reads the scripts of scripts/ and bounce/: the client's input, the expected replies and messages.

A file starts with comment lines: what the client does and why, and `# Source:` with the deciding
RFC, CVE or paper. Then come options, then steps, one per line:

    start: STAGE     where the dialog starts (Stage); the runner performs the steps before it
    only: door       not with the bare session; `only: session` is the opposite
    cuts: whole      each write is read at once, because the result depends on it
    for: a b         the file is a table: it runs once for each row, {a} and {b} filled in
    | cell | cell

    c: TEXT          the client sends the text and CRLF; consecutive lines are one write, as from
                     a client that does not wait for replies
    r: TEXT          the same without CRLF
    plain: TEXT      the bytes are written outside TLS, which has started
    s: REGEX         the next reply, its lines joined by " / ", starts like this; s*9: the next nine
    tls              the client starts TLS; `no tls`: it tries, and this must fail
    close            the server sends nothing more and has disconnected
    leave            the client disconnects; otherwise a script ends with QUIT, 221 and the close
    messages: N      this many messages were accepted

Escapes in texts: \\r \\n \\0 \\t \\\\ \\xNN \\uNNNN. Braces: {x*100} repeats, {b64 TEXT} encodes,
a name is replaced (Words), {scram ...} is computed from the last reply (scram.py).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from msgspec import Struct

FOLDER: Final = Path(__file__).parent / "scripts"
BOUNCE_FOLDER: Final = Path(__file__).parent / "bounce"
NAME: Final = "dialog-client"
DOMAIN: Final = "news.dialog.example"
SENDER: Final = f"news@{DOMAIN}"
PASSWORD: Final = "correct-horse-battery"

_STEP: Final = re.compile(r"([a-z ]+)(?:\*([0-9]+))?(?::(?: (.*))?)?")
_BORDER: Final = re.compile(r" \|(?= |$)")
_ESCAPE: Final = re.compile(r"\\(r|n|0|t|\\|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})")
_LETTERS: Final = {"r": b"\r", "n": b"\n", "0": b"\0", "t": b"\t", "\\": b"\\"}
_REPEAT: Final = re.compile(r"(.+)\*([0-9]+)", re.DOTALL)


class Stage(StrEnum):
    """Where a dialog starts; each stage follows the previous one, except SMTPS."""

    CONNECTED = "connected"  # before the greeting
    GREETED = "greeted"
    HELLO = "hello"  # EHLO in plain text
    TLS = "tls"  # inside TLS, by STARTTLS; no EHLO in it yet
    SECURED = "secured"  # EHLO inside TLS
    LOGIN = "login"
    DATA = "data"  # 354 was received
    SMTPS = "smtps"  # TLS from the first byte on; greeted


class Say(Struct, frozen=True):
    """Send this after its braces are replaced."""

    text: str
    is_line: bool


class Plain(Struct, frozen=True):
    """Write this outside TLS."""

    text: str


class Expect(Struct, frozen=True):
    """The next reply."""

    pattern: str


class StartTls(Struct, frozen=True):
    """Perform the handshake; it must succeed, or fail."""

    goes_well: bool


class Close(Struct, frozen=True):
    """The server has disconnected."""


class Leave(Struct, frozen=True):
    """The client disconnects."""


Step = Say | Plain | Expect | StartTls | Close | Leave


class Script(Struct, frozen=True):
    """One dialog: a file, or one row of it."""

    id: str
    start: Stage
    only: str
    is_cut: bool
    steps: tuple[Step, ...]
    messages: int

    @property
    def recipient(self) -> str:
        """A recipient that only this dialog uses."""
        return f"{self.id[-60:]}@r.example.net"


class _Draft:
    """The dialog of which the script has been read in part."""

    def __init__(self) -> None:
        self.options: dict[str, str] = {}
        self.names: list[str] = []
        self.rows: list[list[str]] = []
        self.steps: list[tuple[str, str]] = []


def load_all(folder: Path = FOLDER) -> list[Script]:
    """Every dialog of the folder. Raises ValueError that names the file and the line."""
    return [script for path in sorted(folder.glob("*.smtp")) for script in load(path)]


def load(path: Path) -> list[Script]:
    """The dialogs of one file."""
    lines = path.read_text().splitlines()
    draft = _Draft()
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#"):
            try:
                _read(draft, line)
            except ValueError as error:
                raise ValueError(f"{path.name}:{number}: {line!r}: {error}") from None
    rows = draft.rows or [[]]
    if "messages" not in draft.options or any(len(row) != len(draft.names) for row in rows):
        raise ValueError(f"{path.name}: messages: is missing, or a row has not one cell a name")
    ids = [path.stem] if not draft.rows else [f"{path.stem}-{n}" for n in range(1, len(rows) + 1)]
    return [
        _script(draft, id_, dict(zip(draft.names, row, strict=True)))
        for id_, row in zip(ids, rows, strict=True)
    ]


def _read(draft: _Draft, line: str) -> None:
    if line.startswith("|"):
        draft.rows.append([cell.strip() for cell in _BORDER.split(line[1:])])
        return
    found = _STEP.fullmatch(line)
    if found is None:
        raise ValueError("not a step or an option")
    word, times, rest = found[1], int(found[2] or 1), found[3] or ""
    if word == "for":
        draft.names = rest.split()
    elif word in ("start", "only", "cuts", "messages"):
        draft.options[word] = rest
    elif word in _STEPS:
        draft.steps += [(word, rest)] * times
    else:
        raise ValueError("not a step or an option")


_STEPS: Final[dict[str, Callable[[str], Step]]] = {
    "c": lambda text: Say(text, is_line=True),
    "r": lambda text: Say(text, is_line=False),
    "plain": Plain,
    "s": Expect,
    "tls": lambda _: StartTls(goes_well=True),
    "no tls": lambda _: StartTls(goes_well=False),
    "close": lambda _: Close(),
    "leave": lambda _: Leave(),
}


def _script(draft: _Draft, id_: str, row: Mapping[str, str]) -> Script:
    def filled(text: str) -> str:
        for name, cell in row.items():
            text = text.replace(f"{{{name}}}", cell)
        return text

    options = draft.options
    return Script(
        id=id_,
        start=Stage(options.get("start", "greeted")),
        only=options.get("only", ""),
        is_cut=options.get("cuts", "") != "whole",
        steps=tuple(_STEPS[word](filled(text)) for word, text in draft.steps),
        messages=int(filled(options["messages"])),
    )


class Words:
    """The values of names in braces. `scram` gets the text after {scram and returns the value.

    `more`: names beside those of every script.
    """

    def __init__(
        self, script: Script, scram: Callable[[str], bytes], more: Mapping[str, str]
    ) -> None:
        self._more = more
        self._to = script.recipient
        self._id = script.id
        self._scram = scram

    def fill(self, text: str) -> bytes:
        """The bytes of a text. Raises ValueError for an unknown name."""
        out, at = b"", 0
        while (start := text.find("{", at)) >= 0:
            end = _matching(text, start)
            out += unescape(text[at:start]) + self._word(text[start + 1 : end])
            at = end + 1
        return out + unescape(text[at:])

    def _word(self, word: str) -> bytes:
        if (repeat := _REPEAT.fullmatch(word)) is not None:
            return self.fill(repeat[1]) * int(repeat[2])
        name, _, rest = word.partition(" ")
        match name:
            case "b64":
                return b64encode(self.fill(rest))
            case "scram":
                return self._scram(self.fill(rest).decode("utf-8", "surrogateescape"))
            case "HEAD":
                return self._head(rest) + b"\r\n"
            case "HEADERS":
                return self._head(rest)
        known = {"NAME": NAME, "PASSWORD": PASSWORD, "DOMAIN": DOMAIN, "SENDER": SENDER}
        known |= {"TO": self._to, "ID": self._id, **self._more}
        known["PLAIN"] = b64encode(f"\0{NAME}\0{PASSWORD}".encode()).decode()
        known["ENVELOPE"] = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{self._to}>\r\nDATA"
        if name not in known:
            raise ValueError(f"{{{word}}} stands for nothing")
        return known[name].encode()

    def _head(self, number: str) -> bytes:
        """Headers that keep the rules; with a number, those of another message."""
        name = f"{self._id}-{number}" if number else self._id
        head = f"From: <{SENDER}>\r\nTo: <{self._to}>\r\nSubject: {name}\r\n"
        return f"{head}Message-ID: <{name}@{DOMAIN}>\r\n".encode()


def _matching(text: str, start: int) -> int:
    depth = 0
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return at
    raise ValueError("a brace is not closed")


def unescape(text: str) -> bytes:
    """The bytes of a text with escapes, in UTF-8."""
    out, at = b"", 0
    for found in _ESCAPE.finditer(text):
        code = found[1]
        out += text[at : found.start()].encode()
        if code in _LETTERS:
            out += _LETTERS[code]
        else:
            letter = int(code[1:], 16)
            out += bytes([letter]) if code[0] == "x" else chr(letter).encode()
        at = found.end()
    return out + text[at:].encode()

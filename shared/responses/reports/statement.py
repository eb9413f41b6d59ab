"""Defines the statement of a report about one recipient, and finds the evidence in it.

Every form of report is converted to statements. This module owns the form of a statement. In a
statement, it finds the words of a server, the refused step of the session and the status, and it
decides whether the failure is permanent. It does not own the kind of a statement (classing.py). No
function raises an exception. At most MAX_TEXT_CHARS characters of a text are read, in linear time.
This module does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from shared.responses.reports.addresses import without_aliases
from shared.smtp.events import Stage

MAX_TEXT_CHARS: Final = 2_000

# The look-behind follows the first characters. A search that begins with a set of characters is
# several times faster, because it skips all other characters.
_REPLY: Final = re.compile(
    r"([45]\d\d)(?<![\w.:/@=-]\d\d\d)(?:[ -]|: |:$)(?![\d.]+[\])])", re.ASCII
)
# `\d` would also match the digits of other scripts.
_STATUS: Final = re.compile(r"([245](?<![\w.\-/][245])\.[0-7]\.[0-9]{1,3})(?![\w]|\.\d)")
# Matches the code and status of each line of a reply, after the lines have been joined.
_CONTINUED: Final = re.compile(
    r"[45]\d\d(?<=\s\d\d\d)(?:-| (?=[45]\.\d))(?:[45]\.\d{1,3}\.\d{1,3}\s)?"
)
# Matches the recipient and the host before a quoted reply, which are not part of the reply.
_QUOTED: Final = re.compile(
    r"\A\s{0,8}<?[^<>\s]{1,320}>[^\n:]{0,330}:\s{1,12}host\s{1,8}\S{1,320}\s{1,8}said:"
)
# Matches the beginning of the text that a reporting system adds after a quoted reply.
_TAIL: Final = re.compile(
    r"\(in\s{1,6}reply\s{1,6}to|giving up on |i'm not going to try|\[rcpt_to\]|\[mail_from\]"
    r"|message details:|<<< 503",
    re.IGNORECASE,
)
# Each match of _TAIL contains one of these texts.
_TAIL_WORDS: Final = ("(in", "giving up on ", "not going to try", "_", "message details", "<<< 503")

# The pattern is in lower case, because the text to search is in lower case.
_STAGES: Final = re.compile(
    r"(?:(?:reply|response|respond\w*)\s{1,6}to|after|following|like our|for|error,|>>>|-->|smtp:"
    r"|\[|command|stage|sending|sent|issuing|at)\s{0,6}:?\s{0,6}(?:the |an? |final |last )?"
    r"(end\s{1,6}of\s{1,6}data|end\s{1,6}of\s{1,6}message|mail|rcpt|data|text|bdat|helo|ehlo"
    r"|initial|connect)\b"
)
_COMMAND_LINE: Final = re.compile(
    r"^[ \t<>-]{0,8}(mail|rcpt|data|helo|ehlo)\b(?: ?(?:to|from)?:|$)", re.MULTILINE
)
_STAGE_NAMES: Final = {
    "end": Stage.CONTENT,
    "data": Stage.CONTENT,
    "text": Stage.CONTENT,
    "bdat": Stage.CONTENT,
    "mail": Stage.MAIL,
    "rcpt": Stage.RCPT,
    "helo": Stage.EHLO,
    "ehlo": Stage.EHLO,
    "init": Stage.CONNECT,
    "conn": Stage.CONNECT,
}
# Words that indicate the step without the name of the command.
_TELLING: Final = (
    ("does not like recipient", Stage.RCPT),
    ("but recipient was rejected", Stage.RCPT),
    ("recipient address rejected", Stage.RCPT),
    (" in rcpt", Stage.RCPT),
    ("550 rcpt to:", Stage.RCPT),
    ("but my name was rejected", Stage.EHLO),
    ("but sender was rejected", Stage.MAIL),
    ("failed after i sent the message", Stage.CONTENT),
)


class Statement(Struct, frozen=True):
    """The content of a report about one recipient, before its kind is known.

    `diagnostic` is the remote server's reply or the reporting system's reason. `around` is the part
    of the report's readable text that is near this recipient. If `is_trusted` is True, the
    reporting system checks recipients itself. `aliases` are the recipient's addresses before an
    alias or a mail server changed them. If `is_doubtful` is True, the message may not be a report.
    The kind of a doubtful statement can be hard only if a machine sent the message (`can_be_hard`).
    """

    address: str
    # One of failed, delayed, delivered, relayed and expanded; "" if the report has no action.
    action: str = ""
    status: str = ""
    diagnostic: str = ""
    around: str = ""
    is_trusted: bool = False
    is_doubtful: bool = False
    can_be_hard: bool = True
    aliases: tuple[str, ...] = ()


class Words(Struct, frozen=True):
    """A text, with the reply code before it (0 if none) and the status in it ("" if none)."""

    text: str
    code: int
    status: str


def words_of(statement: Statement) -> list[Words]:
    """Return the texts to search, beginning with the most specific text. Never returns []."""
    found: list[Words] = []
    for text in (statement.diagnostic, statement.around):
        said = without_aliases(text[:MAX_TEXT_CHARS])
        found += (one for one in _replies(said) if one not in found)
    return found or [Words("", 0, "")]


def status_of(statement: Statement, words: Sequence[Words]) -> str:
    """Return the most specific status: of the reply, or else of the field, or else of the text."""
    given = statement.status
    first = words[0].status if statement.diagnostic else ""
    for one in (first, given):
        if one and not one.endswith(".0.0"):
            return one
    return next((one.status for one in words if one.status), "") or given


def stage_of(statement: Statement) -> Stage | None:
    """Return the step of the session that was refused. Return None if the step is not known."""
    text = f"{statement.around[:MAX_TEXT_CHARS]}\n{statement.diagnostic[:MAX_TEXT_CHARS]}".lower()
    for words, stage in _TELLING:
        if words in text:
            return stage
    found = _STAGES.search(text) or _COMMAND_LINE.search(text)
    return _STAGE_NAMES[found[1][:4].strip()] if found else None


def is_permanent(statement: Statement, words: Sequence[Words], status: str) -> bool:
    """Return True if the reply's code or, without a code, its status means a permanent failure."""
    code = next((one.code for one in words if one.code), 0)
    if code:
        return code >= 500
    given = statement.status or status
    return not given or given.startswith("5")


def _replies(text: str) -> Iterator[Words]:
    """Yield the reply that a text quotes, then its first paragraph, then the whole text."""
    lowered = text.lower()
    tail = _TAIL.search(text) if any(word in lowered for word in _TAIL_WORDS) else None
    whole = _QUOTED.sub("", text[: tail.start()] if tail else text)
    found = _REPLY.search(whole)
    reply = whole[found.end() :] if found else ""
    for one in dict.fromkeys((reply, whole.strip().partition("\n\n")[0], whole)):
        # A leading colon is kept, because the pattern for the filter of the provider au begins with
        # a colon.
        clean = _CONTINUED.sub("", one).lstrip(" \t\n;-").rstrip(" \t\n:;-")
        if clean:
            status = _STATUS.search(clean)
            yield Words(clean, int(found[1]) if found else 0, status[1] if status else "")

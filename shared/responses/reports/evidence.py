"""What a report offers as evidence: a server's words, the step that was refused, the status. Pure.

Owns: reading them from a statement. Does not own: their meaning (classing.py). Guarantees: never
raises; at most MAX_TEXT_CHARS of a text are read, in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from shared.responses.reports.addresses import without_aliases
from shared.responses.reports.statement import Statement
from shared.smtp.events import Stage

MAX_TEXT_CHARS: Final = 2_000

# The look behind the first characters stands after them: a search that begins with a set of
# characters skips all others, several times faster.
_REPLY: Final = re.compile(
    r"([45]\d\d)(?<![\w.:/@=-]\d\d\d)(?:[ -]|: |:$)(?![\d.]+[\])])", re.ASCII
)
_STATUS: Final = re.compile(r"([245](?<![\w.\-/]\d)\.[0-7]\.\d{1,3})(?![\w]|\.\d)")
# The code and status that begin each line of a reply, where the lines have been joined.
_CONTINUED: Final = re.compile(
    r"[45]\d\d(?<=\s\d\d\d)(?:-| (?=[45]\.\d))(?:[45]\.\d{1,3}\.\d{1,3}\s)?"
)
# Whose recipient a quoted reply is about: not a part of what it says.
_QUOTED: Final = re.compile(
    r"\A\s{0,8}<?[^<>\s]{1,320}>[^\n:]{0,330}:\s{1,12}host\s{1,8}\S{1,320}\s{1,8}said:"
)
# What the reporting system adds to the reply that it quotes.
_TAIL: Final = re.compile(
    r"\(in\s{1,6}reply\s{1,6}to|giving up on |i'm not going to try|\[rcpt_to\]|\[mail_from\]"
    r"|message details:|<<< 503",
    re.IGNORECASE,
)
# One of these stands in each match of it.
_TAIL_WORDS: Final = ("(in", "giving up on ", "not going to try", "_", "message details", "<<< 503")

# In lower case, as the text that they are searched in.
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
# Words that tell the step without naming the command.
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


class Words(Struct, frozen=True):
    """A text of a report, the reply code before it (0: none) and the status in it ("": none)."""

    text: str
    code: int
    status: str


def words_of(statement: Statement) -> list[Words]:
    """The texts to search, the best first; at least one, which may be empty."""
    found: list[Words] = []
    for text in (statement.diagnostic, statement.around):
        said = without_aliases(text[:MAX_TEXT_CHARS])
        found += (one for one in _replies(said) if one not in found)
    return found or [Words("", 0, "")]


def _replies(text: str) -> Iterator[Words]:
    """The reply that a text quotes, then its first paragraph, then the whole text."""
    lowered = text.lower()
    tail = _TAIL.search(text) if any(word in lowered for word in _TAIL_WORDS) else None
    whole = _QUOTED.sub("", text[: tail.start()] if tail else text)
    found = _REPLY.search(whole)
    reply = whole[found.end() :] if found else ""
    for one in dict.fromkeys((reply, whole.strip().partition("\n\n")[0], whole)):
        # A colon before the words is telling: au's filter has nothing but them after it.
        clean = _CONTINUED.sub("", one).lstrip(" \t\n;-").rstrip(" \t\n:;-")
        if clean:
            status = _STATUS.search(clean)
            yield Words(clean, int(found[1]) if found else 0, status[1] if status else "")


def status_of(statement: Statement, words: Sequence[Words]) -> str:
    """The most telling status: the reply's own, then the field, then any in the text."""
    given = statement.status
    first = words[0].status if statement.diagnostic else ""
    for one in (first, given):
        if one and not one.endswith(".0.0"):
            return one
    return next((one.status for one in words if one.status), "") or given


def stage_of(statement: Statement) -> Stage | None:
    """The step of the session that was refused; None if the report does not say."""
    text = f"{statement.around[:MAX_TEXT_CHARS]}\n{statement.diagnostic[:MAX_TEXT_CHARS]}".lower()
    for words, stage in _TELLING:
        if words in text:
            return stage
    found = _STAGES.search(text) or _COMMAND_LINE.search(text)
    return _STAGE_NAMES[found[1][:4].strip()] if found else None


def is_permanent(statement: Statement, words: Sequence[Words], status: str) -> bool:
    """Whether the failure is permanent: by the reply's code, then by the status."""
    code = next((one.code for one in words if one.code), 0)
    if code:
        return code >= 500
    told = statement.status or status
    return not told or told.startswith("5")

"""Defines the rules for the meaning of returned mail, and the matching of each rule.

This module owns the form of the rules after they have been loaded. It does not own the files and
their faults (loading.py) and the rules for SMTP replies (shared/responses/replies). Each rule has
an example that it matches and a counter-example that it does not match. The tests check both. All
patterns are in lower case and are searched in lower-case text. No pattern repeats a group, and each
gap in a pattern has a length limit. This module does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from shared.responses.replies.literals import Search
from shared.responses.replies.refusal_text import Refusal
from shared.responses.replies.reply_rules import ReplyRule, has_status
from shared.responses.understood import ResponseKind
from shared.smtp.events import Stage


class Span(Struct, frozen=True):
    """The positions in a text where a match begins and ends."""

    start: int
    end: int


class LineSearch:
    """Searches for the first line that begins with one of several expressions.

    A search for a pattern with `^` tries every character of a text. Fourteen such searches took
    half of the time for a message. This class joins all expressions to one expression, and tries
    only the beginning of each line. `prefix` is a pattern before each expression. `prefix` must not
    match a line end.
    """

    __slots__ = ("_joined", "patterns")

    def __init__(self, prefix: str, rows: Sequence[str]) -> None:
        self.patterns = tuple(re.compile(f"{prefix}(?:{row})", re.MULTILINE) for row in rows)
        self._joined = re.compile(f"{prefix}(?:{'|'.join(rows)})", re.MULTILINE)

    def first_in(self, text: str) -> Span | None:
        """Return the span from the beginning of the first matching line to the end of the match."""
        match = self._joined.match
        at = 0
        while at >= 0:
            if not text.startswith("\n", at):
                found = match(text, at)
                if found is not None:
                    return Span(at, found.end())
            at = text.find("\n", at) + 1 or -1
        return None


class MessageRule(Struct, frozen=True):
    """Recognises a whole message. All parts of the rule must match."""

    name: str
    kind: str
    header: tuple[tuple[str, Search], ...]
    subject: Search | None
    sender: Search | None
    text: Search | None
    unless: Search | None
    example: str
    counter: str


class ReasonRule(Struct, frozen=True):
    """Decides the kind of a reported recipient by the status and the words of the report."""

    name: str
    kind: ResponseKind
    text: Search | None
    status: tuple[str, ...]
    unless: Search | None
    stages: frozenset[Stage]
    is_fallback: bool
    is_certain: bool
    example: str
    counter: str

    def applies(self, stage: Stage, refusal: Refusal) -> bool:
        """Return True if the step of the session, the status and the words match."""
        if self.stages and stage not in self.stages:
            return False
        if self.status and not has_status(refusal.detail, self.status):
            return False
        words, grams = refusal.words, refusal.grams
        if self.text is not None and not self.text.is_in(words, grams):
            return False
        return self.unless is None or not self.unless.is_in(words, grams)


class Format(Struct, frozen=True):
    """A layout of free-text reports: the words that identify it, and where its recipients are.

    `reason` captures the report's text about a recipient. If `reason` is None, the text after the
    address is used. If `is_trusted` is True, the system checks recipients itself. So its words
    about an unknown recipient are accepted even without an SMTP step or status.
    """

    name: str
    marks: tuple[str, ...]
    recipient: re.Pattern[str]
    reason: re.Pattern[str] | None
    is_trusted: bool
    example: str
    recipients: tuple[str, ...]
    counter: str


class Rules(Struct, frozen=True):
    """All rules for the meaning of returned mail."""

    replies: tuple[ReplyRule, ...]
    reasons: tuple[ReasonRule, ...]
    formats: tuple[Format, ...]
    original: LineSearch  # A returned message follows one of these lines.
    messages: Mapping[str, tuple[MessageRule, ...]]  # The key is the name of a rule set.

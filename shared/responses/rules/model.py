"""The rules by which returned mail is understood, as they are written in TOML. Pure.

Owns: the form of the rules, and their faults as one line each. Does not own: the rules themselves
(*.toml), the rules on SMTP replies (shared/responses/replies). Each rule carries an example that
it matches and a counter-example that it does not match; the tests run both. All patterns are in
lower case and are searched in lower-case text; no group is repeated, and gaps have a limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from shared.responses.replies.literals import Search
from shared.responses.replies.refusal_text import Refusal
from shared.responses.replies.reply_rules import ReplyRule, has_status
from shared.responses.rules.line_search import LineSearch
from shared.responses.understood import ResponseKind
from shared.smtp.events import Stage

_IN_TEXT: Final = re.MULTILINE | re.IGNORECASE


class RuleError(ValueError):
    """A rules file is faulty; the text is one line."""


class MessageRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A row of a file of rules on whole messages."""

    name: str
    kind: str
    example: str
    counter: str
    header: dict[str, str | list[str]] = {}
    subject: str | list[str] = ""
    sender: str | list[str] = ""
    text: str | list[str] = ""
    unless: str | list[str] = ""


class ReasonRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the rules on the reasons that reports give."""

    name: str
    kind: str
    example: str
    counter: str
    text: str | list[str] = ""
    status: list[str] = []
    unless: str | list[str] = ""
    stages: list[str] = []
    is_fallback: bool = False
    is_certain: bool = False


class FormatRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the rules on the layouts of free-text reports."""

    name: str
    marks: list[str]
    recipient: list[str]
    example: str
    recipients: list[str]
    counter: str
    reason: str = ""
    is_trusted: bool = False


class MessageRule(Struct, frozen=True):
    """Recognises a whole message: every given part of the rule must match."""

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
    """Gives the kind of a reported recipient from the status and the words of the report."""

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
        """Whether the status, the words and the step of the session match."""
        if self.stages and stage not in self.stages:
            return False
        if self.status and not has_status(refusal.detail, self.status):
            return False
        words, grams = refusal.words, refusal.grams
        if self.text is not None and not self.text.is_in(words, grams):
            return False
        return self.unless is None or not self.unless.is_in(words, grams)


class Format(Struct, frozen=True):
    """A layout of free-text reports: words that show it, and where its recipients stand.

    `reason` captures what the report says about a recipient; without it that is the text that
    follows the address. `is_trusted`: the system checks recipients itself, so that its words
    about an unknown one need no SMTP step or status to be believed.
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
    """Every rule by which returned mail is understood."""

    replies: tuple[ReplyRule, ...]
    reasons: tuple[ReasonRule, ...]
    formats: tuple[Format, ...]
    original: LineSearch  # the line after which the returned message stands
    messages: Mapping[str, tuple[MessageRule, ...]]  # by the name of their file


def parse_message_rules(file: str, text: str) -> tuple[MessageRule, ...]:
    """Parse a file of rules on whole messages. Raises RuleError."""
    return tuple(_message_rule(file, row) for row in _rows(file, text, "rule", list[MessageRow]))


def parse_reason_rules(file: str, text: str) -> tuple[ReasonRule, ...]:
    """Parse the rules on reasons. Raises RuleError."""
    return tuple(_reason_rule(file, row) for row in _rows(file, text, "reason", list[ReasonRow]))


def parse_formats(file: str, text: str) -> tuple[Format, ...]:
    """Parse the layouts of free-text reports. Raises RuleError."""
    return tuple(_format(file, row) for row in _rows(file, text, "format", list[FormatRow]))


def parse_original(file: str, text: str) -> LineSearch:
    """Parse the lines that begin the returned message. Raises RuleError."""
    rows = _rows(file, text, "original", list[str])
    for row in rows:
        _pattern(f"{file}: original", row)
    return LineSearch(r"[^a-z0-9\n]{0,24}", rows)


def _rows(file: str, text: str, table: str, kind: type[Any]) -> Any:
    try:
        document = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise RuleError(f"{file}: not TOML: {error}") from None
    if table not in document:
        raise RuleError(f"{file}: no [[{table}]] in it")
    try:
        return msgspec.convert(document[table], kind)
    except msgspec.ValidationError as error:
        raise RuleError(f"{file}: {table}: {error}") from None


def _message_rule(file: str, row: MessageRow) -> MessageRule:
    where = f"{file}: rule {row.name!r}"
    if not (row.header or row.subject or row.sender or row.text):
        raise RuleError(f"{where}: needs header, subject, sender or text")
    header = tuple(
        (name, Search([_pattern(f"{where}: header.{name}", value)]))
        for name, value in row.header.items()
    )
    return MessageRule(
        row.name,
        row.kind,
        header,
        _compile(f"{where}: subject", row.subject),
        _compile(f"{where}: sender", row.sender),
        _compile(f"{where}: text", row.text, re.MULTILINE),
        _compile(f"{where}: unless", row.unless),
        row.example,
        row.counter,
    )


def _reason_rule(file: str, row: ReasonRow) -> ReasonRule:
    where = f"{file}: reason {row.name!r}"
    if not (row.text or row.status):
        raise RuleError(f"{where}: needs status or text")
    try:
        kind = ResponseKind(row.kind)
        stages = frozenset(Stage(stage) for stage in row.stages)
    except ValueError as error:
        raise RuleError(f"{where}: {error}") from None
    return ReasonRule(
        row.name,
        kind,
        _compile(f"{where}: text", row.text),
        tuple(row.status),
        _compile(f"{where}: unless", row.unless),
        stages,
        row.is_fallback,
        row.is_certain,
        row.example,
        row.counter,
    )


def _format(file: str, row: FormatRow) -> Format:
    where = f"{file}: format {row.name!r}"
    recipient = _pattern(f"{where}: recipient", row.recipient, _IN_TEXT)
    if not row.recipient or not recipient.groups or not row.marks:
        raise RuleError(f"{where}: needs marks, and a recipient with a group")
    return Format(
        row.name,
        tuple(row.marks),
        recipient,
        _pattern(f"{where}: reason", row.reason, _IN_TEXT) if row.reason else None,
        row.is_trusted,
        row.example,
        tuple(row.recipients),
        row.counter,
    )


def _compile(where: str, alternatives: str | list[str], flags: int = 0) -> Search | None:
    listed = [alternatives] if isinstance(alternatives, str) else alternatives
    return Search([_pattern(where, one, flags) for one in listed if one]) if alternatives else None


def _pattern(where: str, alternatives: str | list[str], flags: int = 0) -> re.Pattern[str]:
    listed = [alternatives] if isinstance(alternatives, str) else alternatives
    try:
        return re.compile("|".join(listed), flags)
    except re.error as error:
        raise RuleError(f"{where}: not a regular expression: {error}") from None

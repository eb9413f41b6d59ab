"""Loads the rules for returned mail from the TOML files beside the code.

This module owns the form and the order of the rules files, and a one-line text for each fault in
them. It does not own the form of the loaded rules (model.py) and the rules for SMTP replies
(shared/responses/replies).
"""

from __future__ import annotations

import importlib.resources
import re
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from shared.responses.replies.literals import Search
from shared.responses.replies.reply_rules import load_reply_rules
from shared.responses.rules.model import Format, LineSearch, MessageRule, ReasonRule, Rules
from shared.responses.understood import ResponseKind
from shared.smtp.events import Stage

# The rule sets for whole messages, and the names of each set's files without .toml.
MESSAGE_FILES: Final = {
    "auto_replies": ("auto_replies", "auto_replies_text"),
    "bounces": ("bounces_notices", "bounces", "bounces_rare"),
    "bounces_null_path": ("bounces_null_path",),
    "challenges": ("challenges",),
    "complaints": ("complaints",),
    "unsubscribes": ("unsubscribes",),
}
# The rules of these files are tried in this order.
FORMAT_FILES: Final = ("formats", "formats_rare", "formats_more")
REASON_FILES: Final = ("reasons", "reasons_languages", "reasons_fallback")
_IN_TEXT: Final = re.MULTILINE | re.IGNORECASE


class RuleError(ValueError):
    """A rules file is faulty. The text of the error is one line."""


class MessageRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A row of a rules file for whole messages."""

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
    """A row of the rules for the reasons in reports."""

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
    """A row of the rules for the layouts of free-text reports."""

    name: str
    marks: list[str]
    recipient: list[str]
    example: str
    recipients: list[str]
    counter: str
    reason: str = ""
    is_trusted: bool = False


@cache
def load_rules() -> Rules:
    """Load all rules. Raises RuleError, or ValueError for replies.toml. The text has one line."""
    return Rules(
        replies=load_reply_rules(),
        reasons=tuple(
            reason
            for name in REASON_FILES
            for reason in parse_reason_rules(f"{name}.toml", rules_text(name))
        ),
        formats=tuple(
            layout
            for name in FORMAT_FILES
            for layout in parse_formats(f"{name}.toml", rules_text(name))
        ),
        original=parse_original("formats.toml", rules_text("formats")),
        messages={
            kind: tuple(
                rule
                for name in names
                for rule in parse_message_rules(f"{name}.toml", rules_text(name))
            )
            for kind, names in MESSAGE_FILES.items()
        },
    )


def rules_text(name: str) -> str:
    """Return the text of a rules file. `name` has no suffix."""
    file = importlib.resources.files("shared.responses.rules").joinpath(f"{name}.toml")
    return file.read_text(encoding="utf-8")


def parse_message_rules(file: str, text: str) -> tuple[MessageRule, ...]:
    """Parse a rules file for whole messages. Raises RuleError."""
    return tuple(_message_rule(file, row) for row in _rows(file, text, "rule", list[MessageRow]))


def parse_reason_rules(file: str, text: str) -> tuple[ReasonRule, ...]:
    """Parse the rules for reasons. Raises RuleError."""
    return tuple(_reason_rule(file, row) for row in _rows(file, text, "reason", list[ReasonRow]))


def parse_formats(file: str, text: str) -> tuple[Format, ...]:
    """Parse the layouts of free-text reports. Raises RuleError."""
    return tuple(_format(file, row) for row in _rows(file, text, "format", list[FormatRow]))


def parse_original(file: str, text: str) -> LineSearch:
    """Parse the patterns for the line before a returned message. Raises RuleError."""
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

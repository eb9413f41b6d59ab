"""Matches the rules on whole messages. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

from shared.mail.encoded_words import decode
from shared.responses.mime.fields import first
from shared.responses.mime.parts import Message
from shared.responses.mime.text import text_of
from shared.responses.rules.model import MessageRule

# A shorter text says nothing, so the next part is read.
_SHORTEST_TEXT: Final = 12
_NO_SENDER: Final = "(none)"


class View:
    """What the rules look at: the decoded header and text of a message, in lower case."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.fields = message.fields

    @cached_property
    def subject(self) -> str:
        """The decoded Subject."""
        return _decoded(first(self.fields, "subject")).lower()

    @cached_property
    def sender(self) -> str:
        """The decoded From, or Sender if there is none. An empty one is that of a daemon."""
        for name in ("from", "sender"):
            if name in self.fields:
                return _decoded(first(self.fields, name)).lower()
        return _NO_SENDER

    @cached_property
    def text(self) -> str:
        """The text for people, without the returned message."""
        parts = [part for part in self.message.parts if not part.is_original]
        plain = [p for p in parts if p.content_type == "text/plain"]
        for part in (*plain[:3], *(p for p in parts if p.content_type.startswith("text/"))):
            text = text_of(part)
            if len(text.strip()) > _SHORTEST_TEXT:
                return text
        return text_of(plain[0]) if plain else ""

    @cached_property
    def lowered(self) -> str:
        """The text in lower case."""
        return self.text.lower()


def find_rule(rules: Sequence[MessageRule], view: View) -> MessageRule | None:
    """The first rule that matches."""
    return next((rule for rule in rules if matches(rule, view)), None)


def matches(rule: MessageRule, view: View) -> bool:
    """Whether every given part of the rule matches."""
    for name, pattern in rule.header:
        values = view.fields.get(name)
        if not values or not any(pattern.is_in(value.lower()) for value in values):
            return False
    if rule.sender is not None and not rule.sender.is_in(view.sender):
        return False
    if rule.subject is not None and not rule.subject.is_in(view.subject):
        return False
    if rule.text is not None and not rule.text.is_in(view.lowered):
        return False
    return rule.unless is None or not (
        rule.unless.is_in(view.subject) or rule.unless.is_in(view.lowered)
    )


def _decoded(value: str) -> str:
    return decode(value.encode("utf-8", "replace")) if "=?" in value else value

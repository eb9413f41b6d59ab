"""A returned message under the rules: what several steps of understanding ask for. Pure."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from shared.responses.matching import View, find_rule
from shared.responses.mime.fields import NO_FIELDS, Fields, first, parse_fields, split_header
from shared.responses.mime.parts import Message, Part
from shared.responses.mime.text import text_of
from shared.responses.reports.addresses import find_addresses, is_public
from shared.responses.rules.line_search import Span
from shared.responses.rules.model import MessageRule, Rules

_OWN_FIELDS: Final = (
    "to",
    "from",
    "return-path",
    "delivered-to",
    "x-original-to",
    "reply-to",
    "sender",
)

# The rule that needs no more than the null path and words (rules/bounces_null_path.toml).
_BY_PATH_ALONE: Final = "bounce/null-path"
_REPLY_PREFIXES: Final = (
    "re:",
    "re :",
    "aw:",
    "antw:",
    "sv:",
    "odp:",
    "r:",
    "回复:",
    "回复：",
    "答复:",
)


class Returned(View):
    """A returned message; each property is found once."""

    def __init__(self, message: Message, rules: Rules, has_null_sender: bool | None = None) -> None:
        super().__init__(message)
        self.rules = rules
        self.has_null_sender = has_null_sender

    @cached_property
    def evidence(self) -> MessageRule | None:
        """The rule by which the message is a bounce; words alone do not make a newsletter one."""
        found = find_rule(self.rules.messages["bounces"], self)
        if found is None and self.is_null_path:
            found = find_rule(self.rules.messages["bounces_null_path"], self)
        is_weak = found is not None and found.kind == "weak"
        return None if is_weak and "list-unsubscribe" in self.fields else found

    @cached_property
    def report_text(self) -> str:
        """The text for people, without the returned message."""
        found = self._original
        # Found in the lower-case text, whose length differs in a few scripts; a few characters
        # more or less do no harm.
        return self.text[: found.start] if found else self.text

    @cached_property
    def original_fields(self) -> Fields:
        """The header of the returned message, from its part or from below the text."""
        for part in self.message.parts:
            if part.is_original:
                return parse_fields(split_header(_octets(part).lstrip(b"\n"))[0])
        found = self._original
        if found is None:
            return NO_FIELDS
        below = self.text[found.end :].partition("\n")[2].lstrip()
        return parse_fields(split_header(below.encode("utf-8", "replace"))[0])

    @cached_property
    def hidden_recipient(self) -> str:
        """The recipient of the returned message, if it has just one; "" otherwise."""
        for name in ("x-hmxmroriginalrecipient", "x-original-to", "to"):
            value = first(self.original_fields, name)
            found = [each for each in find_addresses(value) if is_public(each)]
            if len(found) == 1:
                return found[0]
        return ""

    @cached_property
    def is_automatic(self) -> bool:
        """Whether the message has a sign of a machine that other mail lacks.

        These are the null return path (or a daemon in its place), RFC 3834's field, and the header
        of the returned message, of which a person who forwards it shows only the fields for people.
        """
        return (
            self.is_null_path
            or first(self.fields, "return-path").lower().startswith("<mailer-daemon")
            or first(self.fields, "auto-submitted").lower().startswith("auto-")
            or "x-failed-recipients" in self.fields
            or any(name in self.original_fields for name in ("received", "message-id"))
        )

    @cached_property
    def is_sure_machine(self) -> bool:
        """Whether a machine sent it that sends reports: the null path alone may be an answer's."""
        return self.is_automatic and (self.evidence is None or self.evidence.name != _BY_PATH_ALONE)

    @property
    def is_null_path(self) -> bool:
        """Whether the return path is null, by the envelope or the field that keeps it."""
        return bool(self.has_null_sender) or first(self.fields, "return-path").startswith("<>")

    @cached_property
    def is_from_mailbox(self) -> bool:
        """Whether it is known to come from an address, as no report should (RFC 5321, 4.5.5)."""
        has_path = self.has_null_sender is False or bool(first(self.fields, "return-path").strip())
        return has_path and not self.is_automatic

    @cached_property
    def is_answer(self) -> bool:
        """Whether the message says that it answers another one."""
        is_named = "in-reply-to" in self.fields or "references" in self.fields
        return is_named or self.subject.startswith(_REPLY_PREFIXES)

    @cached_property
    def is_letter(self) -> bool:
        """Whether a person answers: a postmaster writes of failed mail as a report does."""
        return self.is_answer and self.is_from_mailbox

    @cached_property
    def may_be_letter(self) -> bool:
        """Whether only its words make the message a report."""
        return self.is_from_mailbox or (self.is_answer and not self.is_automatic)

    @cached_property
    def _original(self) -> Span | None:
        """Where the returned message begins in the text."""
        return self.rules.original.first_in(self.lowered)

    @cached_property
    def own_addresses(self) -> frozenset[str]:
        """Addresses of the report's own header, which it does not report on."""
        values = (value for name in _OWN_FIELDS for value in self.fields.get(name))
        return frozenset(address for value in values for address in find_addresses(value))


def original_header(message: Message, rules: Rules) -> Fields:
    """The header of the message that a report returns; no fields if it returns none."""
    return Returned(message, rules).original_fields


def _octets(part: Part) -> bytes:
    """The bytes of a returned message, which some encode although RFC 2046, 5.2.1 forbids it."""
    encoding = first(part.fields, "content-transfer-encoding").lower()
    return text_of(part).encode() if encoding.startswith(("quoted", "base64")) else part.body

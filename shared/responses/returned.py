"""Prepares a returned message for the rules.

This module owns the decoded header and text, which are matched with the rules (View), the signs of
a report (Returned), and the search for a report that a gateway or a mail system has put into
another message. It does not own the meaning of the message (reading.py), the rules (rules/) and
MIME (mime/). No function raises an exception. Each property is computed once. A report inside an
opened report is not opened again. A report that a person has forwarded is not opened. The signs of
a forwarded report are addresses in the text of the outer message and a sender that is not a mail
system. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

from shared.mail.encoded_words import decode
from shared.responses.mime.parts import (
    NO_FIELDS,
    Fields,
    Message,
    Part,
    first,
    parse_fields,
    read_message,
    split_header,
)
from shared.responses.mime.text import text_of
from shared.responses.reports.addresses import find_addresses, is_public
from shared.responses.rules.model import MessageRule, Rules, Span

# If the text of a part is shorter, it has no meaning, so the next part is read.
_SHORTEST_TEXT: Final = 12
_NO_SENDER: Final = "(none)"

_OWN_FIELDS: Final = (
    "to",
    "from",
    "return-path",
    "delivered-to",
    "x-original-to",
    "reply-to",
    "sender",
)

# The name of the rule that needs only the null return path and some words
# (rules/bounces_null_path.toml).
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


class View:
    """The decoded header and text of a message, which are matched with the rules."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.fields = message.fields

    @cached_property
    def subject(self) -> str:
        """Return the decoded Subject in lower case."""
        return _decoded(first(self.fields, "subject")).lower()

    @cached_property
    def sender(self) -> str:
        """Return the decoded From field, or else Sender. An empty value indicates a daemon."""
        for name in ("from", "sender"):
            if name in self.fields:
                return _decoded(first(self.fields, name)).lower()
        return _NO_SENDER

    @cached_property
    def text(self) -> str:
        """Return the text for people, without the returned message."""
        parts = [part for part in self.message.parts if not part.is_original]
        plain = [p for p in parts if p.content_type == "text/plain"]
        for part in (*plain[:3], *(p for p in parts if p.content_type.startswith("text/"))):
            text = text_of(part)
            if len(text.strip()) > _SHORTEST_TEXT:
                return text
        return text_of(plain[0]) if plain else ""

    @cached_property
    def lowered(self) -> str:
        """Return the text in lower case."""
        return self.text.lower()

    def part_of(self, types: frozenset[str]) -> Part | None:
        """Return the first part with one of these types."""
        return next((part for part in self.message.parts if part.content_type in types), None)


class Returned(View):
    """A returned message. `has_null_sender` is None if the envelope sender is not known."""

    def __init__(self, message: Message, rules: Rules, has_null_sender: bool | None = None) -> None:
        super().__init__(message)
        self.rules = rules
        self.has_null_sender = has_null_sender

    @cached_property
    def evidence(self) -> MessageRule | None:
        """Return the rule that recognises the message as a bounce.

        A weak rule, which needs only words, does not apply to a newsletter.
        """
        found = find_rule(self.rules.messages["bounces"], self)
        if found is None and self.is_null_path:
            found = find_rule(self.rules.messages["bounces_null_path"], self)
        is_weak = found is not None and found.kind == "weak"
        return None if is_weak and "list-unsubscribe" in self.fields else found

    @cached_property
    def report_text(self) -> str:
        """Return the text for people, without the returned message."""
        found = self._original
        # The position was found in the lower-case text, whose length differs in a few scripts. So
        # the position may be wrong by a few characters, which is acceptable.
        return self.text[: found.start] if found else self.text

    @cached_property
    def original_fields(self) -> Fields:
        """Return the returned message's header, from its MIME part or from the end of the text."""
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
        """Return the recipient in the returned message's header. Return "" if it is not certain."""
        for name in ("x-hmxmroriginalrecipient", "x-original-to", "to"):
            value = first(self.original_fields, name)
            found = [each for each in find_addresses(value) if is_public(each)]
            if len(found) == 1:
                return found[0]
        return ""

    @cached_property
    def is_automatic(self) -> bool:
        """Return True if the message has a sign that a machine sent it.

        The signs are the null return path (or a daemon in its place), the field of RFC 3834, and
        technical fields of the returned message. A message that a person forwards contains only the
        fields that mail programs show to people.
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
        """Return True if a mail system surely sent the message. A null path alone is no proof."""
        return self.is_automatic and (self.evidence is None or self.evidence.name != _BY_PATH_ALONE)

    @property
    def is_null_path(self) -> bool:
        """Return True if the envelope or the Return-Path field shows a null return path."""
        return bool(self.has_null_sender) or first(self.fields, "return-path").startswith("<>")

    @cached_property
    def is_from_mailbox(self) -> bool:
        """Return True if the return path is an address, not null as in reports (RFC 5321,
        4.5.5)."""
        has_path = self.has_null_sender is False or bool(first(self.fields, "return-path").strip())
        return has_path and not self.is_automatic

    @cached_property
    def is_answer(self) -> bool:
        """Return True if the header shows that the message answers another message."""
        is_named = "in-reply-to" in self.fields or "references" in self.fields
        return is_named or self.subject.startswith(_REPLY_PREFIXES)

    @cached_property
    def is_letter(self) -> bool:
        """Return True if a person wrote the message, even if the text looks like a report."""
        return self.is_answer and self.is_from_mailbox

    @cached_property
    def may_be_letter(self) -> bool:
        """Return True if only words suggest a report, so a person may have written the message."""
        return self.is_from_mailbox or (self.is_answer and not self.is_automatic)

    @cached_property
    def _original(self) -> Span | None:
        """Return the position of the line after which the returned message begins."""
        return self.rules.original.first_in(self.lowered)

    @cached_property
    def own_addresses(self) -> frozenset[str]:
        """Return the addresses in the report's own header. They are not reported recipients."""
        values = (value for name in _OWN_FIELDS for value in self.fields.get(name))
        return frozenset(address for value in values for address in find_addresses(value))


def find_rule(rules: Sequence[MessageRule], view: View) -> MessageRule | None:
    """Return the first rule that matches."""
    return next((rule for rule in rules if matches(rule, view)), None)


def matches(rule: MessageRule, view: View) -> bool:
    """Return True if all parts of the rule match."""
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


def original_header(message: Message, rules: Rules) -> Fields:
    """Return the header of the message in a report. It is empty if the report has no message."""
    return Returned(message, rules).original_fields


def opened(message: Message, rules: Rules) -> Message:
    """Return the report inside the message, or the message itself if it contains no report."""
    if message.content_type == "multipart/report":
        return message
    if (pasted := _pasted_report(message)) and _is_daemon(message, rules):
        return read_message(pasted)
    wrapped = [part for part in message.parts if part.content_type == "message/rfc822"]
    if len(wrapped) != 1 or not _is_report(wrapped[0].body):
        return message
    others = [part for part in message.parts if not part.is_original]
    if any(b"@" in part.body for part in others) and not _is_daemon(message, rules):
        return message
    return read_message(wrapped[0].body)


def _decoded(value: str) -> str:
    return decode(value.encode("utf-8", "replace")) if "=?" in value else value


def _octets(part: Part) -> bytes:
    """Return the bytes of a returned message, decoded if a system has encoded them.

    RFC 2046, 5.2.1 forbids this encoding, but some systems use it.
    """
    encoding = first(part.fields, "content-transfer-encoding").lower()
    return text_of(part).encode() if encoding.startswith(("quoted", "base64")) else part.body


def _pasted_report(message: Message) -> bytes:
    """Return the report in the text below an mbox line. Return b"" if there is no report."""
    text = next((part for part in message.parts if part.content_type == "text/plain"), None)
    if text is None or b"multipart/report" not in text.body:
        return b""
    pasted = b"".join(text.body.partition(b"\nFrom MAILER-DAEMON")[1:])[1:]
    report = pasted.partition(b"\n")[2]
    return report if _is_report(report) else b""


def _is_report(content: bytes) -> bool:
    header = split_header(content)[0].lower()
    return b"multipart/report" in header and b"delivery-status" in header


def _is_daemon(message: Message, rules: Rules) -> bool:
    evidence = Returned(message, rules).evidence
    return evidence is not None and evidence.kind == "bounce"

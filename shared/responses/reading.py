"""Finds the meaning of a returned message.

This module owns the order in which the kinds are tried, and the kind of the whole message. It does
not own the parts of the message (mime/), the signs of a report and reports inside other mail
(returned.py), complaints (complaints.py), the forms of reports (reports/), and the rules (rules/,
replies/). No function raises an exception. Time and memory are bounded for any bytes
(mime/parts.py). The kind of a recipient is hard only if a report states a permanent failure, and a
rule knows the reason of the failure. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from shared.responses.complaints import read_complaint
from shared.responses.mime.parts import Message, Part, read_message
from shared.responses.mime.text import text_of
from shared.responses.reports.addresses import aliases_in, distinct, find_addresses, is_public
from shared.responses.reports.classing import Judged, judge
from shared.responses.reports.delivery import STATUS_PARTS, read_delivery_fields
from shared.responses.reports.free_text import (
    around,
    find_format,
    read_layout,
    read_unknown_layout,
    reasons_in,
)
from shared.responses.reports.statement import Statement
from shared.responses.returned import Returned, View, find_rule, opened
from shared.responses.rules.model import MessageRule, Rules
from shared.responses.understood import ResponseKind, Understood

# This name is used instead of a rule's name if no rule recognises the mail.
UNKNOWN_RULE: Final = "none"
# Possible beginnings of a delivery report (RFC 3464, 2.2), in lower case; the last two are base64.
_FIRST_FIELDS: Final = (
    b"reporting-mta:",
    b"final-recipient:",
    b"original-envelo",
    b"umvwb3j0aw5nlu1u",
    b"rmluywwtumvjaxbp",
)
_NOTIFICATION_PARTS: Final = frozenset(
    {"message/disposition-notification", "message/global-disposition-notification"}
)
# The kind of the whole message is the first kind in this order that a recipient has.
_GRAVEST_FIRST: Final = (
    ResponseKind.HARD,
    ResponseKind.CONTENT,
    ResponseKind.POLICY,
    ResponseKind.SOFT,
    ResponseKind.UNKNOWN,
)
_SUCCESS: Final = frozenset({"delivered", "relayed", "expanded"})
_NO_FAILURE: Final = frozenset({"delivered", "notice"})
# Only programs write the text that these rules match, so such mail has a known layout.
_OWN_FORMS: Final = frozenset({"bounce/amazon-json"})


def understand(content: bytes, rules: Rules) -> Understood:
    """Return the meaning of a returned message. Any bytes are accepted."""
    return understand_message(read_message(content), rules)


def understand_message(
    message: Message, rules: Rules, has_null_sender: bool | None = None
) -> Understood:
    """Return the meaning of a message that has been parsed.

    `has_null_sender` is None if the envelope is not known.
    """
    view = Returned(opened(message, rules), rules, has_null_sender)
    return (
        read_complaint(view)
        or _by_rule(view, "challenges")
        or _notification(view)
        or _delivery_report(view)
        or _free_text_report(view)
        or _by_rule(view, "unsubscribes")
        or _by_rule(view, "auto_replies")
        or _reply(view)
    )


def _by_rule(view: Returned, file: str) -> Understood | None:
    rule = find_rule(view.rules.messages[file], view)
    return Understood(ResponseKind(rule.kind), rule.name) if rule else None


def _notification(view: Returned) -> Understood | None:
    if view.part_of(_NOTIFICATION_PARTS) is None or _is_refusal(view):
        return None
    return Understood(ResponseKind.AUTO_REPLY, "disposition-notification")


def _is_refusal(view: Returned) -> bool:
    """Return True if a notification reports a refusal by a mail system (RFC 5429, 2.1.2)."""
    is_bounce = view.evidence is not None and view.evidence.kind == "bounce"
    return is_bounce and "automatically rejected" in view.report_text.lower()


def _delivery_report(view: Returned) -> Understood | None:
    """Read a report with RFC 3464 fields in their own part, in the text or in an attachment."""
    part = view.part_of(STATUS_PARTS)
    statements = read_delivery_fields(text_of(part)) if part else []
    text = view.report_text
    if not statements:
        statements = _fields_elsewhere(view, text)
    if not statements:
        return None
    if all(statement.action in _SUCCESS for statement in statements):
        return Understood(ResponseKind.AUTO_REPLY, "delivery-report/delivered")
    failed = [statement for statement in statements if statement.action not in _SUCCESS]
    full = [_completed(statement, text, view) for statement in failed]
    return _whole("delivery-report", [judge(view.rules, statement) for statement in full])


def _fields_elsewhere(view: Returned, text: str) -> list[Statement]:
    """Read the fields in the text or in an attachment, where a person may have put them."""
    evidence = view.evidence
    if evidence is None or evidence.kind in _NO_FAILURE or view.is_letter:
        return []
    is_doubtful = evidence.kind == "weak"
    can_be_hard = view.is_sure_machine or not is_doubtful
    found = read_delivery_fields(text) if "final-recipient" in text.lower() else []
    if not found:
        found = [one for part in view.message.parts for one in _fields_of_attachment(part)]
    return [replace(one, is_doubtful=is_doubtful, can_be_hard=can_be_hard) for one in found]


def _fields_of_attachment(part: Part) -> list[Statement]:
    """Read the fields of a part whose content is a delivery report although its type differs."""
    if part.is_original or not part.body.lstrip()[:16].lower().startswith(_FIRST_FIELDS):
        return []
    return read_delivery_fields(text_of(part))


def _completed(statement: Statement, text: str, view: Returned) -> Statement:
    """Add the text for people to a statement, and the recipient if the statement has none."""
    address = statement.address or view.hidden_recipient
    said = around(text, address) if address else ""
    aliases = distinct((*statement.aliases, *aliases_in(said)), but=address)
    return replace(statement, address=address, around=said or reasons_in(text), aliases=aliases)


def _free_text_report(view: Returned) -> Understood | None:
    evidence = view.evidence
    if evidence is None:
        return None
    if evidence.kind in _NO_FAILURE:
        return Understood(ResponseKind.AUTO_REPLY, evidence.name)
    if view.is_letter:
        return None
    text = view.report_text
    layout = find_format(view.rules.formats, f"{text}\n{view.subject}\n{view.sender}".lower())
    ours = view.own_addresses
    statements = read_layout(layout, text, ours) if layout else []
    name = layout.name if layout else evidence.name
    has_layout = bool(statements) or evidence.name in _OWN_FORMS
    if not statements:
        trusted = layout.is_trusted if layout else False
        statements = (
            _named_in_header(view, text, trusted)
            or read_unknown_layout(text, ours, trusted)
            or read_unknown_layout(view.subject, ours, trusted)
        )
    if not statements:
        address = view.hidden_recipient
        if not address and _could_be_a_letter(evidence, view):
            return None
        statements = [Statement(address, around=text)]
    statements = [
        replace(
            one,
            address=_full(one.address, view),
            action="delayed" if evidence.kind == "delayed" else "",
        )
        for one in statements
    ]
    is_weak = evidence.kind == "weak" or (not has_layout and view.may_be_letter)
    statements = [_doubted(one, is_weak, view) for one in statements]
    judged = [judge(view.rules, one) for one in statements]
    if not any(one.recipient.bounce_class for one in judged):
        judged = _judged_together(view.rules, statements, reasons_in(text))
    return _whole(name, judged)


def _judged_together(rules: Rules, statements: Sequence[Statement], said: str) -> list[Judged]:
    """Judge all statements by one common text, because the reason may precede the addresses.

    Statements that differ only in their address are judged once, because there may be many.
    """
    known: dict[Statement, Judged] = {}
    found = []
    for one in statements:
        alike = replace(one, address="", diagnostic="", around=said, aliases=())
        if alike not in known:
            known[alike] = judge(rules, alike)
        recipient = replace(known[alike].recipient, address=one.address, aliases=one.aliases)
        found.append(replace(known[alike], recipient=recipient))
    return found


def _could_be_a_letter(evidence: MessageRule, view: Returned) -> bool:
    """Return True if only the text suggests a report, so a person may have written the message."""
    return evidence.kind == "weak" and evidence.subject is None and not view.is_automatic


def _doubted(statement: Statement, is_weak: bool, view: Returned) -> Statement:
    """Mark a statement as doubtful if the evidence is weak or the statement has no recipient."""
    is_doubtful = is_weak or not statement.address
    can_be_hard = view.is_sure_machine or not is_doubtful
    return replace(statement, is_doubtful=is_doubtful, can_be_hard=can_be_hard)


def _full(address: str, view: Returned) -> str:
    """Return the full address of a recipient whose address is masked or has no domain."""
    if "*" in address:
        return view.hidden_recipient
    if "@" in address or not address:
        return address
    hidden = view.hidden_recipient
    if hidden.lower().startswith(f"{address.lower()}@"):
        return hidden
    domains = [found.rpartition("@")[2] for found in find_addresses(view.sender)]
    public = [domain for domain in domains if is_public(domain)]
    return f"{address}@{public[0]}" if public else ""


def _named_in_header(view: View, text: str, is_trusted: bool) -> list[Statement]:
    named = [
        address
        for value in view.fields.get("x-failed-recipients")
        for address in find_addresses(value)
    ]
    return [
        Statement(
            address,
            around=(said := around(text, address)) or text,
            is_trusted=is_trusted,
            aliases=distinct(aliases_in(said), but=address),
        )
        for address in dict.fromkeys(named)
    ]


def _whole(form: str, judged: Sequence[Judged]) -> Understood:
    kinds = {one.recipient.kind: one.rule for one in reversed(judged)}
    kind = next(one for one in _GRAVEST_FIRST if one in kinds)
    return Understood(kind, f"{form}/{kinds[kind]}", tuple(one.recipient for one in judged))


def _reply(view: Returned) -> Understood:
    """Return the meaning of mail that no rule recognises: REPLY for an answer, or UNKNOWN."""
    if view.is_answer:
        return Understood(ResponseKind.REPLY, "answer")
    return Understood(ResponseKind.UNKNOWN, UNKNOWN_RULE)

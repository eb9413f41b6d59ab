"""Reads feedback reports (RFC 5965, RFC 6591).

This module owns the kind of a report, the recipients in the report, and the decision which
addresses in the report are placeholders. A report about authentication (RFC 6591) or of the type
not-spam is not a complaint of a recipient. This module does not own the decision which recipient
the report is about (the validate service). This module does no I/O.

Many feedback loops hide the recipient (RFC 6590). Some loops replace the local part by an opaque
text and keep the domain. Other loops write a placeholder, such as `redacted@redacted.invalid`. If
an address is not a placeholder and has another domain, the address belongs to somebody else, for
example to the owner of a mailbox to which the message was forwarded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from shared.mail.parameters import without_comments
from shared.responses.mime.parts import Fields, Part, first, parse_fields
from shared.responses.reports.addresses import find_addresses, typed_address
from shared.responses.understood import ReportedRecipient, ResponseKind, Understood

# The name of the rule for a feedback report is this text, followed by the report's type.
FEEDBACK_RULE: Final = "feedback-report/"
_KINDS: Final = {
    "auth-failure": ResponseKind.POLICY,
    "dmarc": ResponseKind.POLICY,
    "not-spam": ResponseKind.UNKNOWN,
    "opt-out": ResponseKind.UNSUBSCRIBE,
    "opt-out-list": ResponseKind.UNSUBSCRIBE,
}
# The type in the name of the rule if the report's type is not a short token.
UNKNOWN_TYPE: Final = "unknown"
_TYPE: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_RECIPIENT_FIELDS: Final = ("original-rcpt-to", "removal-recipient", "x-original-to")
_ORIGINAL_FIELDS: Final = ("x-hmxmroriginalrecipient", "x-original-to", "to")
_PLACEHOLDER: Final = re.compile(
    r"[\W\d_]{0,20}(?:redact(?:ed)?|removed|hidden|masked|private|withheld|obfuscated|undisclosed"
    r"|anonym(?:ous|i[sz]ed)|suppressed|x{3,20})(?![a-z0-9])[^@]{0,60}",
    re.IGNORECASE,
)
# No real address can have a domain with one of these endings (RFC 2606).
_NO_DOMAINS: Final = (".invalid", "@invalid", "@redacted", "localhost")


def feedback_part(parts: Sequence[Part]) -> Part | None:
    """Find the part with the fields of a feedback report, first by type, then by content."""
    by_type = (part for part in parts if part.content_type == "message/feedback-report")
    return next(by_type, None) or next(filter(_is_by_content, parts), None)


def _is_by_content(part: Part) -> bool:
    is_text = part.is_original or part.content_type.startswith("text/")
    return not is_text and part.body.lstrip()[:14].lower() == b"feedback-type:"


def read_feedback(text: str, original: Fields) -> Understood:
    """Return the meaning of a feedback report.

    `text` contains the fields of the report. `original` contains the header of the returned
    message.
    """
    fields = parse_fields(text.lstrip().encode("utf-8", "replace"))
    feedback_type = _type_of(first(fields, "feedback-type"))
    kind = _KINDS.get(feedback_type, ResponseKind.COMPLAINT)
    named = [typed_address(value) for name in _RECIPIENT_FIELDS for value in fields.get(name)]
    addresses = [address for address in dict.fromkeys(named) if address]
    if not addresses:
        addresses = _only_recipient(original)
    recipients = tuple(ReportedRecipient(address, kind) for address in addresses)
    return Understood(kind, f"{FEEDBACK_RULE}{feedback_type}", recipients)


def _type_of(value: str) -> str:
    """Return the type of a report from the value of the field.

    The type is "abuse" if the value is empty, and UNKNOWN_TYPE if the value is not a short token.
    """
    text = (
        without_comments(value.encode("utf-8", "replace"))
        .decode("utf-8", "replace")
        .partition(";")[0]
        .strip(' "')
        .lower()
    )
    if not text:
        return "abuse"
    return text if _TYPE.fullmatch(text) else UNKNOWN_TYPE


def _only_recipient(original: Fields) -> list[str]:
    for name in _ORIGINAL_FIELDS:
        found = find_addresses(first(original, name))
        if len(found) == 1:
            return found
    return []


def is_hidden(named: str, recipient: str) -> bool:
    """Return True if the address in a report may be a placeholder for this recipient."""
    local, _, domain = named.lower().rpartition("@")
    if not local.strip("*.[]<>-_ ") or f"@{domain}".endswith(_NO_DOMAINS):
        return True
    same_domain = domain == recipient.lower().rpartition("@")[2]
    return same_domain or _PLACEHOLDER.fullmatch(local) is not None

"""Recognises complaints of recipients: feedback reports and forwarded complaints.

This module owns the search for the fields of a feedback report. The fields may be in their own
part, in the text, or below the words that a rule for complaints knows. This module does not own the
fields (reports/feedback.py) and the rules (rules/). This module does no I/O.
"""

from __future__ import annotations

from typing import Final

from shared.responses.mime.parts import first
from shared.responses.mime.text import text_of
from shared.responses.reports.delivery import STATUS_PARTS
from shared.responses.reports.feedback import feedback_part, read_feedback
from shared.responses.returned import Returned, find_rule
from shared.responses.understood import ReportedRecipient, ResponseKind, Understood

_FIRST_FIELD: Final = "feedback-type:"


def read_complaint(view: Returned) -> Understood | None:
    """Return the meaning of a feedback report or another complaint. Return None for other mail."""
    fields = _feedback_fields(view)
    if fields is not None:
        return read_feedback(fields, view.original_fields)
    rule = find_rule(view.rules.messages["complaints"], view)
    if rule is None and not _is_forwarded_complaint(view):
        return None
    name = rule.name if rule else "complaint/forwarded"
    recipient = ReportedRecipient(view.hidden_recipient, ResponseKind.COMPLAINT)
    return Understood(ResponseKind.COMPLAINT, name, (recipient,))


def _feedback_fields(view: Returned) -> str | None:
    """Return the text with the fields of a feedback report, or None for other mail."""
    part = feedback_part(view.message.parts)
    if part is not None:
        return text_of(part)
    at = view.lowered.find(_FIRST_FIELD)
    if _is_feedback(view):
        if at >= 0:
            return view.text
        # Only the message's type declares a report, because the part with the fields is missing.
        return "" if view.part_of(STATUS_PARTS) is None else None
    is_complaint = at >= 0 and find_rule(view.rules.messages["complaints"], view) is not None
    return view.text[at:] if is_complaint else None


def _is_feedback(view: Returned) -> bool:
    """Return True if the type or the beginning of the text declares a feedback report."""
    types = first(view.fields, "content-type").lower()
    return "feedback-report" in types or view.lowered.lstrip().startswith(_FIRST_FIELD)


def _is_forwarded_complaint(view: Returned) -> bool:
    """Return True if the returned message has a field that Hotmail adds only for complaints."""
    is_report = view.message.content_type == "multipart/report"
    return not is_report and "x-hmxmroriginalrecipient" in view.original_fields

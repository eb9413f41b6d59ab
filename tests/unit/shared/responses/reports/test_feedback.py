"""The type of a feedback report, also in unusual spellings and from hostile senders."""

from __future__ import annotations

import pytest

from shared.responses.mime.parts import parse_fields
from shared.responses.reports.feedback import FEEDBACK_RULE, UNKNOWN_TYPE, read_feedback
from shared.responses.understood import ResponseKind

NO_ORIGINAL = parse_fields(b"")


@pytest.mark.parametrize(
    ("value", "kind", "rule"),
    [
        ("abuse", ResponseKind.COMPLAINT, "abuse"),
        ("", ResponseKind.COMPLAINT, "abuse"),
        ("(none)", ResponseKind.COMPLAINT, "abuse"),
        ("not-spam", ResponseKind.UNKNOWN, "not-spam"),
        ("Not-Spam (they said)", ResponseKind.UNKNOWN, "not-spam"),
        ("(a (b) c) not-spam", ResponseKind.UNKNOWN, "not-spam"),
        ('"not-spam"', ResponseKind.UNKNOWN, "not-spam"),
        ("not-spam; x=1", ResponseKind.UNKNOWN, "not-spam"),
        ("auth-failure (x)", ResponseKind.POLICY, "auth-failure"),
        ("opt-out (x)", ResponseKind.UNSUBSCRIBE, "opt-out"),
        ("virus", ResponseKind.COMPLAINT, "virus"),
        ("x-own_type", ResponseKind.COMPLAINT, "x-own_type"),
        ("\xff\0", ResponseKind.COMPLAINT, UNKNOWN_TYPE),
        ("two words", ResponseKind.COMPLAINT, UNKNOWN_TYPE),
        ("a" * 41, ResponseKind.COMPLAINT, UNKNOWN_TYPE),
    ],
)
def test_the_type_is_read_without_comments_and_names_the_rule(
    value: str, kind: ResponseKind, rule: str
) -> None:
    found = read_feedback(f"Feedback-Type: {value}\n", NO_ORIGINAL)
    assert (found.kind, found.rule) == (kind, FEEDBACK_RULE + rule)

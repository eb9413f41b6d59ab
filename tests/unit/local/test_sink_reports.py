"""The reports that the sink sends back mean what they should."""

from __future__ import annotations

import pytest

from local.sink.reports import Report, compose, report_for
from services.validate.core.returns.identity import identify
from services.validate.core.returns.meaning import meaning_of
from shared.responses.reading import understand
from tests.support.response_rules import RULES
from tests.support.returned_mail import SHOP, to_return_path

CONTENT = b"From: news@news.shop.example\r\nTo: x\r\nSubject: Spring\r\n\r\nHello\r\n"


@pytest.mark.parametrize(
    ("recipient", "report", "word", "bounce_class"),
    [
        ("return-anna@people.example", Report.BOUNCE, "hard", "hard"),
        ("complain-anna@people.example", Report.COMPLAINT, "complaint", ""),
    ],
)
def test_a_report_names_its_recipient_and_is_understood(
    recipient: str, report: Report, word: str, bounce_class: str
) -> None:
    assert report_for(recipient) is report
    returned = to_return_path(1, recipient)
    content = compose(report, returned.recipient, recipient, CONTENT)
    identity = identify(returned, content, SHOP, None)
    found = meaning_of(returned, content, understand(content, RULES), identity).data
    assert (found.response, found.recipient, found.bounce_class) == (word, recipient, bounce_class)


@pytest.mark.parametrize(
    "recipient", ["anna@x.example", "bounce-a@x.example", "returned@x.example"]
)
def test_other_recipients_send_nothing_back(recipient: str) -> None:
    assert report_for(recipient) is None

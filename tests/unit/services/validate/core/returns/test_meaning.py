"""What returned mail means: its event, and whom it counts against."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.validate.core.returns.identity import Verification, identify
from services.validate.core.returns.meaning import Meaning, meaning_of
from shared.registry.client import Client
from shared.responses.counting.facts import Fact, FactKind, fact_of
from shared.responses.reading import understand
from shared.stream import outputs
from shared.topics.records import EventType, ReturnAddressKind, Returned
from tests.support.response_rules import RULES
from tests.support.returned_mail import (
    ANNA,
    KEYS,
    SHOP,
    delivery_report,
    feedback_report,
    letter,
    mail_id_of,
    return_path,
    to_address,
    to_return_path,
)

BY = Verification(KEYS, 60)
OTHER = "victim@people.example"
ABUSE = to_address(ReturnAddressKind.ABUSE, "abuse")


class Record:
    """The event as counting reads it."""

    def __init__(self, meaning: Meaning) -> None:
        written = outputs.event("returns", meaning.type, meaning.subject, meaning.data)
        self.key = written.key
        self.headers = list(written.headers)
        self.value = written.value


def meaning(
    returned: Returned, content: bytes, client: Client | None = SHOP, by: Verification | None = BY
) -> Meaning:
    identity = identify(returned, content, client, by)
    return meaning_of(returned, content, understand(content, RULES), identity)


def fact(returned: Returned, content: bytes) -> Fact | None:
    return fact_of(Record(meaning(returned, content)))


@pytest.mark.parametrize(
    ("report", "kind", "word", "status"),
    [
        (delivery_report(ANNA), FactKind.HARD, "hard", "5.1.1"),
        (delivery_report(ANNA.upper()), FactKind.HARD, "hard", "5.1.1"),
        (delivery_report(ANNA, "5.2.2", "552 mailbox full"), FactKind.SOFT, "soft", "5.2.2"),
        (delivery_report(ANNA, "5.7.1", "550 blocked for spam"), None, "policy", "5.7.1"),
        (delivery_report(ANNA, "4.2.2", "452 mailbox full"), None, "soft", "4.2.2"),
        (delivery_report(ANNA, "4.4.1", "connection timed out"), None, "soft", "4.4.1"),
        (letter(ANNA, "Away", headers="Auto-Submitted: auto-replied\n"), None, "auto-reply", ""),
        (letter(ANNA, "Re: Spring", headers="In-Reply-To: <1@x.example>\n"), None, "reply", ""),
        (letter(ANNA, "unsubscribe", "unsubscribe"), FactKind.UNSUBSCRIBED, "unsubscribe", ""),
        (feedback_report(ANNA), FactKind.COMPLAINED, "complaint", ""),
    ],
)  # fmt: skip
def test_mail_to_a_return_path_counts_against_the_recipient_of_that_message(
    report: bytes, kind: FactKind | None, word: str, status: str
) -> None:
    found = meaning(to_return_path(1), report)
    assert (found.data.response, found.data.enhanced) == (word, status)
    assert (found.data.mailing_id, found.data.sub_client) == ("spring", "north")
    assert found.subject == mail_id_of(1)
    assert found.data.response_rule
    fact_found = fact(to_return_path(1), report)
    assert (fact_found.kind if fact_found else None) == kind
    if fact_found is not None:
        assert (fact_found.recipient, fact_found.mail_id) == (ANNA, mail_id_of(1))


@pytest.mark.parametrize(
    "report",
    [
        delivery_report(OTHER),
        delivery_report(OTHER, "5.2.2", "552 mailbox full"),
        feedback_report(OTHER),
        letter(OTHER, "unsubscribe", "unsubscribe"),
        delivery_report("not an address"),
        delivery_report("anna+x@people.example"),
    ],
)
def test_a_report_on_another_address_counts_against_nobody(report: bytes) -> None:
    found = meaning(to_return_path(1), report)
    assert found.data.recipient == ""
    assert found.subject == mail_id_of(1)
    assert fact(to_return_path(1), report) is None


@pytest.mark.parametrize(
    ("quoted", "names_anna"),
    [
        (return_path(mail_id_of(3), ANNA), True),
        (return_path(mail_id_of(3), ANNA).upper(), True),
        (return_path(mail_id_of(3), OTHER), False),
        ("rp=" + "0" * 61, False),
        ("", False),
        (return_path(mail_id_of(3), ANNA, Client("evil", "e.example", "a@b.example", "m")), False),
    ],
)
def test_a_complaint_elsewhere_counts_by_the_return_path_that_it_quotes(
    quoted: str, names_anna: bool
) -> None:
    report = feedback_report(ANNA, f"{quoted}@news.shop.example")
    found = meaning(ABUSE, report)
    assert found.type is EventType.COMPLAINED
    assert bool(found.data.recipient) is names_anna
    counted = fact(ABUSE, report)
    assert (counted.recipient if counted else "") == (ANNA if names_anna else "")


def test_an_expired_return_path_that_is_quoted_proves_nothing() -> None:
    report = feedback_report(ANNA, f"{return_path(mail_id_of(3), ANNA)}@news.shop.example")
    late = replace(ABUSE, received_at_ms=ABUSE.received_at_ms + 61 * 86_400_000)
    assert identify(late, report, SHOP, BY) is None
    assert identify(ABUSE, report, SHOP, None) is None
    assert identify(ABUSE, report, None, BY) is None


def test_mail_that_proves_no_message_is_known_by_its_return_id() -> None:
    found = meaning(ABUSE, delivery_report(ANNA))
    assert (found.subject, found.data.recipient) == (ABUSE.return_id, "")
    assert found.type is EventType.RETURNED


def test_two_reports_of_one_message_have_different_event_ids() -> None:
    ids = set()
    for number in (1, 2):
        record = Record(meaning(to_return_path(1, return_number=number), delivery_report(ANNA)))
        ids.add(dict(record.headers)["ce_id"])
    assert len(ids) == 2


def test_a_mail_id_that_is_not_valid_names_no_recipient() -> None:
    odd = replace(to_return_path(1), mail_id="nonsense")
    assert meaning(odd, delivery_report(ANNA)).data.recipient == ""

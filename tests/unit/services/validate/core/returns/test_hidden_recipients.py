"""Complaints that hide their recipient, requests from another mailbox: our own token decides."""

from __future__ import annotations

import base64

import pytest
from msgspec.structs import replace

from services.deliver.core.header.changing import MarketingFields, with_recipient_token
from services.validate.core.returns.identity import Verification
from services.validate.core.returns.judging import judge_returned
from services.validate.core.returns.meaning import Meaning
from shared.registry.client import Client
from shared.topics.records import Envelope, EventType, Facts, MailClass, Origin, Returned
from shared.topics.records import ReturnAddressKind as Kind
from tests.support.response_rules import RULES
from tests.support.returned_mail import (
    ANNA,
    AT_MS,
    KEYS,
    SHOP,
    feedback_on,
    letter,
    mail_id_of,
    return_path,
    to_address,
    to_return_path,
)
from tests.support.returns_bench import Registry

BY = Verification(KEYS, 60)
EVIL = Client("evil", "e.example", "a@b.example", "m")
ABUSE = to_address(Kind.ABUSE, "abuse")
BERT = "bert@elsewhere.example"
PAGES = MarketingFields("https://shop.example/u")
DAY_MS = 86_400_000


def sent(
    number: int = 1, recipient: str = ANNA, fields: MarketingFields = PAGES, client: Client = SHOP
) -> str:
    """Return a message as the recipient's server has it, below its return path."""
    local = return_path(mail_id_of(number), recipient, client)
    envelope = Envelope(
        *(mail_id_of(number), client.name, f"{local}@{SHOP.sending_domain}", recipient, ""),
        *(AT_MS, Origin(), Facts()),
        mail_class=MailClass.MARKETING,
    )
    content = f"From: news@news.shop.example\nTo: {recipient}\nSubject: Spring\n\nHello.\n".encode()
    complete = with_recipient_token(fields.added_to(content, envelope), envelope).decode()
    return f"Return-Path: <{envelope.sender}>\n{complete}"


def hidden(original: str, by: str = "redacted@redacted.invalid") -> str:
    return original.replace(f"To: {ANNA}", f"To: {by}")


def meaning(returned: Returned, content: bytes, by: Verification | None = BY) -> Meaning:
    clients = Registry(SHOP)
    return judge_returned(returned, content, SHOP, by, rules=RULES, clients=clients).meaning


@pytest.mark.parametrize("fields", [PAGES, MarketingFields()], ids=["link", "field"])
@pytest.mark.parametrize("returned", [ABUSE, to_return_path(1)], ids=["abuse", "return path"])
@pytest.mark.parametrize("encoding", ["", "base64", "quoted-printable"])
@pytest.mark.parametrize(
    "named",
    [
        *(
            "",
            "<redacted@redacted.invalid>",
            "[redacted]",
            "redacted@mail.example",
            "***@x.example",
        ),
        *("6UYmBUvPQyyRVsVLnYdJlQ@people.example", "xxxx@mail.example", ANNA),
    ],
)
def test_a_complaint_that_hides_its_recipient_counts_by_the_token_of_the_message(
    named: str, encoding: str, returned: Returned, fields: MarketingFields
) -> None:
    found = meaning(returned, feedback_on(hidden(sent(fields=fields)), named, encoding))
    assert (found.type, found.data.recipient) == (EventType.COMPLAINED, ANNA)
    assert (found.subject, found.data.mailing_id) == (mail_id_of(1), "spring")


def test_a_complaint_without_any_return_path_counts_by_its_token_too() -> None:
    """Some replace every address, and a return path is one."""
    original = hidden(sent()).partition("\n")[2].replace("@news.shop.example", "@redacted.invalid")
    for kind, event in (("abuse", EventType.COMPLAINED), ("opt-out", EventType.UNSUBSCRIBED)):
        found = meaning(ABUSE, feedback_on(original, kind=kind))
        assert (found.type, found.data.recipient, found.subject) == (event, ANNA, mail_id_of(1))


def test_a_placeholder_beside_the_address_itself_hides_nothing() -> None:
    plain = sent().replace("List-Unsubscribe", "X")
    found = meaning(ABUSE, feedback_on(plain, "redacted@redacted.invalid"))
    assert found.data.recipient == ANNA


def inside(original: str, other: str) -> str:
    """Return a message that has another one in its body."""
    return original + "\n> Forwarded:\n" + other


@pytest.mark.parametrize(
    ("returned", "report"),
    [
        (ABUSE, feedback_on(sent(), BERT)),  # forwarded to another mailbox
        (to_return_path(1), feedback_on(sent(), BERT)),
        (ABUSE, feedback_on(sent(), f"redacted@x.invalid\nOriginal-Rcpt-To: {BERT}")),
        (to_return_path(2), feedback_on(hidden(sent(1)))),  # the token of another message
        (to_return_path(2), feedback_on(hidden(inside("Subject: x\n", sent(1))))),
        (ABUSE, feedback_on(hidden(inside("Subject: x\n", sent(1))))),
        (ABUSE, feedback_on(hidden(sent(client=EVIL)))),  # of another client
        (ABUSE, feedback_on(hidden(sent()).replace("List-Unsubscribe", "X"))),
        (replace(ABUSE, received_at_ms=AT_MS + 61 * DAY_MS), feedback_on(hidden(sent()))),
        (ABUSE, feedback_on(hidden(sent()), kind="not-spam")),
        (ABUSE, feedback_on(hidden(sent()), kind="auth-failure")),
    ],
)  # fmt: skip
def test_what_is_not_proved_counts_against_nobody(returned: Returned, report: bytes) -> None:
    assert meaning(returned, report).data.recipient == ""


def test_a_token_is_worth_nothing_without_keys_or_with_another_recipient() -> None:
    assert meaning(ABUSE, feedback_on(hidden(sent())), None).data.recipient == ""
    text = sent().partition("/u/")[2].partition(">")[0]
    named = base64.urlsafe_b64encode(f"shop\0{BERT}".encode()).decode().rstrip("=")
    forged = sent().replace(text, text[:61] + named)
    assert text in sent()
    assert meaning(ABUSE, feedback_on(hidden(forged))).data.recipient == ""


def mailto(content: str) -> tuple[str, str]:
    """Return the address and the subject of the mailto: link."""
    link = content.partition("<mailto:")[2].partition(">")[0]
    address, _, subject = link.partition("?subject=")
    return address.replace("%3D", "="), subject.replace("%20", " ")


@pytest.mark.parametrize("sender", [BERT, ANNA])
def test_whoever_writes_to_the_address_of_a_message_unsubscribes_its_recipient(sender: str) -> None:
    address, subject = mailto(sent())
    assert address == to_return_path(1).recipient
    found = meaning(replace(to_return_path(1), sender=sender), letter(sender, subject))
    assert (found.type, found.data.recipient) == (EventType.UNSUBSCRIBED, ANNA)
    assert found.subject == mail_id_of(1)


@pytest.mark.parametrize(
    ("number", "subject", "text"),
    [
        (1, "unsubscribe", ""),  # from another mailbox: of which mail is not proved
        (2, mailto(sent())[1], ""),  # to the address of another message
        (1, "Re: " + mailto(sent())[1], ""),
        (1, mailto(sent())[1][:-1], ""),
        (1, mailto(sent(client=EVIL))[1], ""),
        (1, "unsubscribe", sent()),  # a forwarded copy is no request of its recipient
    ],
)
def test_other_requests_from_another_mailbox_count_against_nobody(
    number: int, subject: str, text: str
) -> None:
    returned = replace(to_return_path(number), sender=BERT)
    assert meaning(returned, letter(BERT, subject, text)).data.recipient == ""

"""Mail with a signed return path names its recipient to ourselves, once."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.header.changing import MarketingFields, with_recipient_token
from shared.mail.unsubscribe import RECIPIENT_FIELD, Unsubscription, read_token
from shared.topics import ids
from shared.topics.records import Envelope, Facts, MailClass, Origin
from tests.support.returned_mail import AT_MS, KEYS, return_path

MAIL_ID = ids.encode(1 << 120)
RECIPIENT = "bücher@r.example"
SENDER = f"{return_path(MAIL_ID, RECIPIENT)}@news.shop.example"
ENVELOPE = Envelope(MAIL_ID, "shop", SENDER, RECIPIENT, "", AT_MS, Origin(), Facts())
CONTENT = b"Subject: x\r\n\r\nHello.\r\n"


@pytest.mark.parametrize("content", [CONTENT, CONTENT.replace(b"\r\n", b"\n"), b"\r\nbody", b""])
@pytest.mark.parametrize("mail_class", list(MailClass))
def test_the_field_stands_in_front_and_has_the_token(content: bytes, mail_class: MailClass) -> None:
    envelope = replace(ENVELOPE, mail_class=mail_class)
    made = with_recipient_token(content, envelope)
    line, rest = made.removesuffix(content), made[-len(content) :] if content else b""
    assert rest == content
    assert line.count(b"\r\n") == (b"\r" in content or not content)
    name, _, text = line.strip().decode().partition(": ")
    assert name == RECIPIENT_FIELD
    read = read_token(KEYS, text, today=AT_MS // 86_400_000, days_valid=1)
    assert isinstance(read, Unsubscription)
    assert (read.client, read.recipient, read.mail_id) == ("shop", RECIPIENT, MAIL_ID)


@pytest.mark.parametrize("sender", ["", "news@news.shop.example"])
def test_mail_without_a_signed_return_path_has_none(sender: str) -> None:
    assert with_recipient_token(CONTENT, replace(ENVELOPE, sender=sender)) is CONTENT


def test_mail_whose_link_has_the_token_does_not_get_it_twice() -> None:
    envelope = replace(ENVELOPE, mail_class=MailClass.MARKETING)
    linked = MarketingFields("https://shop.example/u").added_to(CONTENT, envelope)
    assert with_recipient_token(linked, envelope) is linked

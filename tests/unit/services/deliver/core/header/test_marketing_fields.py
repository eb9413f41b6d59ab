"""Marketing mail gets List-Unsubscribe and Feedback-ID where it lacks them, and both are signed."""

from __future__ import annotations

from email import message_from_bytes
from urllib.parse import unquote, urlsplit

import pytest
from msgspec import ValidationError, convert
from msgspec.structs import replace

from services.deliver.core.attempt.return_path import return_path
from services.deliver.core.header.changing import MarketingFields
from services.deliver.settings import DeliverSettings
from shared.mail import verp
from shared.mail.unsubscribe import Unsubscription, read_token
from shared.mail.verp import parse_keys
from shared.topics import ids
from shared.topics.records import Envelope, Facts, MailClass, Origin
from tests.support.dkim_verifying import is_verified, signer_of, tag

URL = "https://shop.example/u"
BOTH = MarketingFields(URL, "sluice1")
DOMAIN = "news.shop.example"
HEADER = b"From: a@news.shop.example\r\nSubject: x\r\n"
BODY = b"\r\nList-Unsubscribe: in the body\r\nFeedback-ID: in the body\r\n"
CONTENT = HEADER + BODY
KEYS = parse_keys(f"1 2026-01-01 {'ab' * 32}")
DAY = 20_788
SUBMITTED = Envelope(
    ids.encode(1 << 120),
    "shop",
    f"a@{DOMAIN}",
    "b@r.example",
    "",
    DAY * verp.DAY_MS,
    Origin(),
    Facts(),
    mailing_id="M-1: spring",
    sub_client="north",
)
ENVELOPE = replace(SUBMITTED, sender=return_path(SUBMITTED, KEYS))
OWN = b"List-Unsubscribe: <https://own.example/>\r\n"


def added(content: bytes, fields: MarketingFields = BOTH, envelope: Envelope = ENVELOPE) -> bytes:
    result = fields.added_to(content, envelope)
    assert result.endswith(content)
    return result.removesuffix(content)


def names(fields: bytes) -> list[str]:
    return list(message_from_bytes(fields + b"\r\n").keys())


UNSUBSCRIBE = ["List-Unsubscribe", "List-Unsubscribe-Post"]
ALL = [*UNSUBSCRIBE, "Feedback-ID"]
CASES = [
    ("both are lacking", HEADER, BOTH, ALL),
    ("no page is set", HEADER, MarketingFields("", "sluice1"), ["Feedback-ID"]),
    ("no sender is set", HEADER, MarketingFields(URL), UNSUBSCRIBE),
    ("nothing is set", HEADER, MarketingFields(), []),
    ("its own List-Unsubscribe", OWN + HEADER, BOTH, ["Feedback-ID"]),
    (
        "in odd case",
        HEADER + b"LIST-unsubscribe : <https://own.example/>\r\n",
        BOTH,
        ["Feedback-ID"],
    ),
    ("its own Feedback-ID", HEADER + b"feedback-id: 1:2:3:own\r\n", BOTH, UNSUBSCRIBE),
    (
        "in a value",
        b"X: a\r\n List-Unsubscribe: b\r\n" + HEADER,
        BOTH,
        [*UNSUBSCRIBE, "Feedback-ID"],
    ),
]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(
    ("header", "fields", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_what_is_lacking_is_added_and_what_is_there_stays(
    header: bytes, fields: MarketingFields, expected: list[str], end: bytes
) -> None:
    found = added((header + BODY).replace(b"\r\n", end), fields)
    assert names(found) == expected
    assert found.count(end) == found.count(b"\n")


@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        (replace(ENVELOPE, mail_class=MailClass.TRANSACTIONAL), []),
        (SUBMITTED, ["Feedback-ID"]),  # without a signed return path
        (replace(ENVELOPE, sender=""), ["Feedback-ID"]),
        (replace(ENVELOPE, sender="rp=1@bücher.example"), ["Feedback-ID"]),
    ],
)
def test_only_marketing_mail_with_a_signed_return_path_can_be_unsubscribed(
    envelope: Envelope, expected: list[str]
) -> None:
    assert names(added(CONTENT, BOTH, envelope)) == expected


@pytest.mark.parametrize(
    ("url", "path"),
    [(URL, "/u"), (f"{URL}/", "/u"), (f"{URL}?x=y", "/u"), ("https://shop.example", "")],
)
def test_page_and_address_tell_who_unsubscribes_from_what(url: str, path: str) -> None:
    message = message_from_bytes(added(CONTENT, MarketingFields(url)) + b"\r\n")
    page, address = (part.strip().strip("<>") for part in message["List-Unsubscribe"].split(","))
    target = urlsplit(page)
    head, _, token = target.path.rpartition("/")
    assert (head, target.query) == (path, urlsplit(url).query)
    assert read_token(KEYS, token, today=DAY, days_valid=1) == Unsubscription(
        "shop", "b@r.example", verp.mailing_hash("M-1: spring", "north"), ENVELOPE.mail_id
    )
    target = urlsplit(address)
    assert (target.scheme, target.query) == ("mailto", f"subject=unsubscribe%20{token}")
    assert unquote(target.path) == ENVELOPE.sender
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_a_feedback_id_names_mailing_client_class_and_sender() -> None:
    message = message_from_bytes(added(CONTENT, MarketingFields("", "sluice1")) + b"\r\n")
    assert message["Feedback-ID"] == "M-1__spring:shop:marketing:sluice1"


def test_the_fields_are_signed() -> None:
    signed = signer_of("ed25519-sha256").sign(BOTH.added_to(CONTENT, ENVELOPE), DOMAIN)
    assert is_verified(signed, "ed25519-sha256", DOMAIN)
    listed = tag(signed, b"h").split(b":")
    for name in (b"list-unsubscribe", b"list-unsubscribe-post", b"feedback-id"):
        assert listed.count(name) == 2
    changed = signed.replace(b"//shop.example", b"//evil.example")
    assert not is_verified(changed, "ed25519-sha256", DOMAIN)


@pytest.mark.parametrize(
    ("recipient", "has_page"),
    [("b@r.example", True), (f"b@{'r' * 242}.example", True), ("é" * 254, False)],
)
def test_no_line_is_longer_than_a_server_takes(recipient: str, has_page: bool) -> None:
    long = replace(ENVELOPE, client="c" * 100, mailing_id="m" * 300, recipient=recipient)
    fields = added(CONTENT, MarketingFields("https://" + "u" * 190 + "/", "s" * 15), long)
    assert max(map(len, fields.split(b"\r\n"))) <= 998
    assert (b"https://" in fields) == (b"One-Click" in fields) == has_page
    assert b"mailto:" in fields


@pytest.mark.parametrize(
    "url",
    [
        *("http://a.example/", "http://localhost.example/", "https://a.example/#b"),
        *("https://a.example/ b", "https://a.example/<", "https://ü.example"),
    ],
)
def test_a_page_that_no_field_can_hold_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        convert({"unsubscribe_url": url}, DeliverSettings)

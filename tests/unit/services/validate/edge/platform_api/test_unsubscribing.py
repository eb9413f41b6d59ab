"""A link to unsubscribe: GET shows a page, POST with the right form writes, nothing else does."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.validate.core.platform_api.requests import form_fields
from services.validate.core.platform_api.unsubscribing import is_one_click, language_of
from shared.topics import ids
from shared.topics.names import own_events
from shared.topics.records import EventType
from shared.topics.suppressions import Suppression, SuppressionReason
from tests.support.platform_api import DAY, NOON_MS, Api, token

MAIL_ID = ids.encode(9 << 90)
ANNA = "Anna@isp.example"
LINK = f"/u/{token('shop', ANNA, MAIL_ID)}"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
ENTRY = Suppression(
    "shop",
    SuppressionReason.UNSUBSCRIBED,
    "anna@isp.example",
    at_ms=NOON_MS,
    author="sluice",
    note="one-click",
    mail_id=MAIL_ID,
)
MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
)


def test_one_click_writes_the_event_and_the_entry_of_the_recipient(api: Api) -> None:
    found = api.door.post(LINK, data=ONE_CLICK)
    assert found.status_code == 200
    assert api.writer.records() == [ENTRY]
    (event,) = api.writer.events()
    assert (event.type, event.subject) == (EventType.UNSUBSCRIBED, MAIL_ID)
    data = event.data
    assert (data.client, data.mailing_id, data.recipient) == ("shop", "news", ANNA)
    assert (data.response, data.response_rule) == ("unsubscribe", "unsubscribe/one-click")


def test_the_page_names_its_charset_once(api: Api) -> None:
    assert api.door.get(LINK).headers["content-type"] == "text/html; charset=utf-8"


def test_a_second_click_is_answered_and_written_once(api: Api) -> None:
    codes = [api.door.post(LINK, data=ONE_CLICK).status_code for _ in range(2)]
    assert codes == [200, 200]
    assert len(api.writer.records()) == 1


def test_what_may_be_stale_is_written_again_with_the_same_event_id(api: Api) -> None:
    api.door.post(LINK, data=ONE_CLICK)
    api.entries.is_fresh_now = False
    api.door.post(LINK, data=ONE_CLICK)
    assert len(api.writer.records()) == 2
    assert len({event.id for event in api.writer.events()}) == 1


def test_a_client_with_its_own_events_gets_a_copy(api: Api) -> None:
    shop = api.clients.clients["shop"]
    api.clients.clients["shop"] = type(shop)(
        **{name: getattr(shop, name) for name in shop.__struct_fields__} | {"own_events": True}
    )
    api.door.post(LINK, data=ONE_CLICK)
    assert own_events("shop") in {each.topic for each in api.writer.written}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_no_other_method_changes_anything(api: Api, method: str) -> None:
    found = api.door.request(method, LINK)
    assert found.status_code == {"GET": 200, "HEAD": 200, "OPTIONS": 204}.get(method, 405)
    assert not api.writer.written


@pytest.mark.parametrize(
    ("path", "status"), [(LINK, 200), (LINK[:-3], 404), ("/health", 200), ("/v1/messages", 401)]
)
def test_head_is_answered_as_get_without_the_content(api: Api, path: str, status: int) -> None:
    whole, head = (api.door.request(method, path) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (status, b"")
    assert whole.content
    assert {**head.headers} == {**whole.headers}


@pytest.mark.parametrize(
    ("language", "title", "button"),
    [
        ("", "Unsubscribe?", "Unsubscribe"),
        ("de-AT,de;q=0.9,en;q=0.8", "Abmelden?", "Abmelden"),
        ("fr;q=1, de;q=0.3, en;q=0.4", "Unsubscribe?", "Unsubscribe"),
    ],
)
def test_the_page_asks_in_the_language_of_the_reader(
    api: Api, language: str, title: str, button: str
) -> None:
    found = api.door.get(LINK, headers={"Accept-Language": language})
    assert found.headers["content-type"].startswith("text/html")
    assert f"<h1>{title}</h1>" in found.text
    assert f"<button>{button}</button>" in found.text
    assert ANNA in found.text
    assert "shop.example" in found.text
    assert f'lang="{found.headers["content-language"]}"' in found.text


def test_the_page_loads_nothing_and_is_not_kept(api: Api) -> None:
    found = api.door.get(LINK)
    assert not re.findall(r"<script|https?://|@import|url\(", found.text)
    assert "default-src 'none'" in found.headers["content-security-policy"]
    assert found.headers["cache-control"] == "no-store"
    assert found.headers["referrer-policy"] == "no-referrer"


def test_a_name_in_the_link_is_shown_as_text(api: Api) -> None:
    odd = '"<script>{0}</script>"@isp.example'
    found = api.door.get(f"/u/{token('shop', odd, MAIL_ID)}")
    assert found.status_code == 200
    assert "<script" not in found.text
    assert "&lt;script&gt;{0}" in found.text


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("link", "status"),
    [
        (LINK[:-1], 404),
        ("/u/x", 404),
        (f"/u/{'0' * 61}{LINK[64:]}", 404),
        (f"/u/{token('shop', ANNA, MAIL_ID, DAY - 61)}", 410),
        (f"/u/{token('gone', ANNA, MAIL_ID)}", 410),
    ],
)
def test_a_link_that_was_not_made_here_or_is_old_writes_nothing(
    api: Api, method: str, link: str, status: int
) -> None:
    found = api.door.request(method, link, data=ONE_CLICK if method == "POST" else None)
    assert (found.status_code, api.writer.written) == (status, [])
    assert found.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/x-www-form-urlencoded", b"List-Unsubscribe=One-Click", 200),
        (
            "application/x-www-form-urlencoded; charset=utf-8",
            b"a=b&List-Unsubscribe=One-Click",
            200,
        ),
        ("multipart/form-data; boundary=x", MULTIPART, 200),
        ('multipart/form-data; boundary="x"', MULTIPART.replace(b"\r\n", b"\n"), 200),
        ("multipart/form-data; boundary=y", MULTIPART, 400),
        ("multipart/form-data", MULTIPART, 400),
        ("multipart/form-data; boundary=x\x7f\xff", b"\xff" * 400, 400),
        ("application/x-www-form-urlencoded", b"List-Unsubscribe=Two-Clicks", 400),
        ("application/x-www-form-urlencoded", b"\xff=%ff&" * 40, 400),
        ("application/x-www-form-urlencoded", b"", 400),
        ("application/json", b'{"List-Unsubscribe": "One-Click"}', 400),
        ("", b"List-Unsubscribe=One-Click", 400),
        ("application/x-www-form-urlencoded", b"a" * 20_000, 413),
    ],
)
def test_only_the_form_of_rfc_8058_unsubscribes(
    api: Api, content_type: str, body: bytes, status: int
) -> None:
    headers = [(b"Content-Type", content_type.encode("latin-1"))] if content_type else []
    found = api.door.post(LINK, content=body, headers=headers)
    assert found.status_code == status
    assert bool(api.writer.written) == (status == 200)


@given(st.text(max_size=80), st.binary(max_size=300))
def test_a_form_is_read_whatever_it_is(kind: str, body: bytes) -> None:
    for content_type in (kind, f"multipart/form-data; boundary={kind}"):
        assert is_one_click(form_fields(content_type, body)) in (True, False)


@given(st.text(max_size=200))
def test_every_header_names_a_language(accept: str) -> None:
    assert language_of(accept) in ("en", "de")


def test_without_kafka_the_answer_is_503_and_says_when_to_try_again(api: Api) -> None:
    api.writer.is_away = True
    found = api.door.post(LINK, data=ONE_CLICK)
    assert (found.status_code, found.headers["retry-after"]) == (503, "60")
    api.writer.is_away = False
    assert api.door.post(LINK, data=ONE_CLICK).status_code == 200


def test_nothing_is_decided_before_the_clients_are_known(api: Api) -> None:
    api.clients.is_ready = False
    assert api.door.post(LINK, data=ONE_CLICK).status_code == 503
    assert not api.writer.written

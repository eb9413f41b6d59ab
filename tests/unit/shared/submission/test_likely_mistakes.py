"""The mistakes that a refusal names: look-alike and invisible characters."""

from __future__ import annotations

import base64
import bz2
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.intake.kafka_record import read
from services.ingest.core.intake.submission import Refusal, Submission, accept
from shared.mail.headers import scan
from shared.mail.likely_mistakes import (
    mistake_in_address,
    mistake_in_bytes,
    mistake_in_event,
    visible,
)
from shared.registry.client import Client
from shared.submission.rules import Submission as Judged
from shared.submission.rules import judge
from shared.topics.records import Origin

CLIENT = Client("shop", "news.shop.example", "back@r.example.org", "standard")
MESSAGE = (
    b"From: a@news.shop.example\r\nTo: b@example.com\r\nSubject: hello\r\n"
    b"Message-ID: <1@shop>\r\n\r\nbody\r\n"
)
EVENT = {"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": MESSAGE.decode()}
BASE64 = base64.b64encode(MESSAGE)

LOOKS = [
    (json.dumps(EVENT).encode(), "content-type: application/cloudevents+json"),
    (b"\r\n " + json.dumps(EVENT, indent=2).encode(), "content-type: application/cloudevents+json"),
    (b'{"to": "b@example.com"}', "looks like JSON"),
    (json.dumps(MESSAGE.decode()).encode(), "looks like a JSON string"),
    (BASE64, "looks like base64"),
    (base64.encodebytes(MESSAGE), "looks like base64"),
    (base64.urlsafe_b64encode(MESSAGE).rstrip(b"="), "looks like base64"),
    (gzip.compress(MESSAGE, mtime=0), "compressed (gzip)"),
    (bz2.compress(MESSAGE), "compressed (bzip2)"),
    (b"\x28\xb5\x2f\xfd\x24\x00", "compressed (zstd)"),
    (MESSAGE.decode().encode("utf-16"), "looks like UTF-16"),
    (MESSAGE.decode().encode("utf-16-le"), "looks like UTF-16"),
    (MESSAGE.decode().encode("utf-16-be"), "looks like UTF-16"),
    (b"\0\0\0\0\x07\x02" + MESSAGE, "looks like Avro"),
    (b"Obj\x01\x04\x14avro.codec", "looks like Avro"),
    (b"\xef\xbb\xbf" + MESSAGE, "byte order mark"),
]


def unreadable(content: bytes) -> str:
    submission = Submission("shop", Origin("mail.intake.shop", 0, 1), 1, content)
    refusal = accept(submission, CLIENT, scan, 5)
    assert isinstance(refusal, Refusal)
    assert refusal.event.rules[0].rule == "unreadable"
    return refusal.event.rules[0].reason


@pytest.mark.parametrize(("content", "words"), LOOKS)
def test_what_a_value_looks_like_is_said_where_it_is_refused(content: bytes, words: str) -> None:
    reason = unreadable(content)
    assert reason.startswith("The record is not an RFC 5322 message: ")
    assert words in reason


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\0", b"Subject: x\r\n", MESSAGE, b"AAAA", b"a" * 400, b"\xff" * 90]
)
def test_of_what_looks_like_nothing_known_nothing_is_guessed(content: bytes) -> None:
    assert mistake_in_bytes(content) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (MESSAGE, "looks like a message: leave content-type out"),
        (BASE64, "looks like base64"),
        (gzip.compress(json.dumps(EVENT).encode(), mtime=0), "compressed (gzip)"),
        (json.dumps(json.dumps(EVENT)).encode(), "looks like a JSON string"),
        (b"\0\0\0\0\x07" + json.dumps(EVENT).encode(), "looks like Avro"),
    ],
)
def test_what_a_value_looks_like_is_said_where_it_is_no_json_object(
    value: bytes, words: str
) -> None:
    headers = [("content-type", b"application/cloudevents+json")]
    (fault,) = read(value, headers, 1_795_500_000_000).faults
    assert words in fault.reason
    assert mistake_in_event(b'{"specversion": "1.0"') == ""


NO_BREAK, ZERO_WIDTH = "\u00a0", "\u200b"
ADDRESSES = [
    ("taro..yamada@docomo.ne.jp", 'it needs quotes, "taro..yamada"@docomo.ne.jp'),
    ("Taro <taro.@docomo.ne.jp>", 'it needs quotes, "taro."@docomo.ne.jp'),
    (f"anna{NO_BREAK}@r.example", "U+00A0 (NO-BREAK SPACE) stands at position 5"),
    (f"{NO_BREAK}anna@r.example", "U+00A0 (NO-BREAK SPACE) stands at position 1"),
    (f"Anna <anna@r.example{ZERO_WIDTH}>", "U+200B (ZERO WIDTH SPACE) stands at position 21"),
    (f"Anna{NO_BREAK}S <an\ufeffna@r.example>", "U+FEFF (ZERO WIDTH NO-BREAK SPACE) stands at"),
    (f"anna..b{ZERO_WIDTH}@r.example", "U+200B (ZERO WIDTH SPACE) stands at position 8"),
    ("anna@my_shop.example", "a host name has no underscore"),
    ("anna@r.example", ""),
    ("anna", ""),
    ("a@r.example, b@r.example", ""),
    ('"a".b@r.example', ""),
    ("a@b@r.example", ""),
    ("", ""),
]


@pytest.mark.parametrize(("value", "words"), ADDRESSES)
def test_what_stands_in_the_way_of_an_address_is_named(value: str, words: str) -> None:
    assert mistake_in_address(value).startswith(words)
    assert bool(mistake_in_address(value)) == bool(words)


def test_a_refusal_names_the_mistake_and_shows_what_is_not_seen() -> None:
    content = MESSAGE.replace(b"b@example.com", f"b{NO_BREAK}@example.com".encode())
    (broken,) = judge(scan(content), Judged("news.shop.example"))
    assert broken.rule == "R3"
    assert broken.reason.endswith("U+00A0 (NO-BREAK SPACE) stands at position 2")
    assert broken.found == "To: b\\xa0@example.com"
    beside = judge(scan(MESSAGE), Judged("news.shop.example", code=f"SPRING{ZERO_WIDTH}26"))
    assert beside[0].found == "SPRING\\u200b26"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("M\u00fcnchen \u6771\u4eac \u2014", "M\u00fcnchen \u6771\u4eac \u2014"),
        ("a\tb", "a\tb"),
        ("a\x1b[31m\r\n\0", "a\\x1b[31m\\r\\n\\x00"),
        ("\u00a0\u200b\u00ad\u3164\u202e", "\\xa0\\u200b\\xad\\u3164\\u202e"),
        ("\ud800\U000e0041", "\\ud800\\U000e0041"),
    ],
)
def test_every_letter_that_is_not_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.binary(max_size=200), st.text(max_size=60))
def test_a_guess_never_raises_and_can_be_encoded(content: bytes, value: str) -> None:
    found = (mistake_in_bytes(content), mistake_in_event(content), mistake_in_address(value))
    for text in (*found, visible(value)):
        text.encode()

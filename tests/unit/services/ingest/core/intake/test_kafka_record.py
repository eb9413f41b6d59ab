"""One intake record in each mode: the values read from it, and the reasons for refusing it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.core.intake.attributes import BAD_HEADER, IntakeAttributes
from services.ingest.core.intake.kafka_record import MAX_HEADERS, Header, read
from services.ingest.core.intake.record_values import UNREADABLE, Reading
from shared.topics.intake_fields import MAX_AHEAD_DAYS
from tests.support.intake_records import (
    DAY,
    EVENT,
    KEYED,
    MESSAGE,
    NOW,
    STRUCTURED,
    binary,
    envelope,
    refused,
)


@pytest.mark.parametrize(
    ("value", "headers", "wanted"),
    [
        (MESSAGE, [], IntakeAttributes()),
        (MESSAGE, [("trace", b"\xff"), ("content-type", b"text/plain")], IntakeAttributes()),
        # Names that only resemble ours, and names of other systems.
        (
            MESSAGE,
            [(name, b"x") for name in ("code", "expires", "id", "x-id", "source", "cetacean")]
            + [("contentType", b"application/json"), ("sluicegate-code", b"x"), ("x", b"x")]
            + [
                ("excode", b"x"),
                ("ace_id", b"x"),
                ("data", b"x"),
                ("x-data", b"x"),
                ("x-correlation-id", b"x"),
                ("", b"x"),
            ],
            IntakeAttributes(),
        ),
        (
            MESSAGE,
            binary(("ce_time", b"now"), ("ce_subject", b"x")),
            KEYED,
        ),
        (MESSAGE, [("sluice-code", b" SPRING26 ")], IntakeAttributes(code="SPRING26")),
        (MESSAGE, [("Sluice-Sender", b"a@b.example")], IntakeAttributes(sender="a@b.example")),
        (
            MESSAGE,
            [("sluice-not-before", b"2026-11-25T06:00:00Z"), ("sluice-expires", b"1795672800000")],
            IntakeAttributes(not_before_ms=NOW + DAY, expires_at_ms=NOW + 2 * DAY),
        ),
        (MESSAGE, binary(), KEYED),
        (MESSAGE, binary(("content-type", b"message/rfc822")), KEYED),
        (
            MESSAGE,
            binary(("ce_code", b"A"), ("sluice-sender", b"a@b.example"), ("ce_other", b"\xff")),
            IntakeAttributes(
                "A", "a@b.example", submission_key="order-7", submission_source="/shop"
            ),
        ),
        (envelope(), [STRUCTURED], KEYED),
        (envelope(), [STRUCTURED, *EVENT], KEYED),
        (envelope(subject=None, other=[1]), [STRUCTURED], KEYED),
        (
            envelope(code=7),
            [STRUCTURED],
            IntakeAttributes("7", submission_key="order-7", submission_source="/shop"),
        ),
        (
            envelope(data=MESSAGE.decode(), data_base64="-", datacontenttype="message/rfc822"),
            [STRUCTURED],
            KEYED,
        ),
        (
            envelope(code="A", sender="a@b.example", notbefore=NOW + DAY),
            [STRUCTURED],
            IntakeAttributes("A", "a@b.example", NOW + DAY, 0, "order-7", "/shop"),
        ),
    ],
)
def test_each_mode_gives_the_message_and_what_was_said_beside_it(
    value: bytes, headers: list[Header], wanted: IntakeAttributes
) -> None:
    assert read(value, headers, NOW) == Reading(MESSAGE, wanted)


@pytest.mark.parametrize(
    ("value", "headers", "words"),
    [
        (MESSAGE, [("sluice-code", b"A")] * 2, "sluice-code is given twice"),
        (MESSAGE, binary(("ce_code", b"A"), ("sluice-code", b"A")), "sluice-code is given twice"),
        (MESSAGE, binary(("CE_ID", b"x")), "ce_id is given twice"),
        (MESSAGE, binary(("ce_data", b"x")), "ce_data is no attribute: the data is the value"),
        (MESSAGE, binary(("CE_Data_Base64", None)), "ce_data_base64 is no attribute"),
        (MESSAGE, binary(("cloudEvents:data", b"x")), "cloudevents:data is no attribute"),
        (MESSAGE, [("ce-data", b"x")], "ce-data is no attribute: the data is the value"),
        (envelope(), [STRUCTURED, ("ce_data", b"x")], "ce_data is no attribute"),
        (envelope(id=7), [STRUCTURED], "attribute id is the number 7: CloudEvents requires a"),
        (envelope(id=10**30), [STRUCTURED], "attribute id is not a string"),
        (envelope(id=7.5), [STRUCTURED], "attribute id is not a string"),
        (envelope(type=1), [STRUCTURED], "attribute type is the number 1: CloudEvents requires"),
        (envelope(source=1), [STRUCTURED], "attribute source is the number 1"),
        (envelope(specversion=1), [STRUCTURED], "attribute specversion is the number 1"),
        (envelope(datacontenttype=1), [STRUCTURED], "attribute datacontenttype is the number 1"),
        (MESSAGE, [("sluice-code", b"\xff\xfe")], "sluice-code is not UTF-8"),
        (MESSAGE, [("sluice-code", b"A\nB")], "sluice-code holds a control character"),
        (MESSAGE, [("sluice-code", b"A" * 201)], "sluice-code has 201 bytes"),
        (MESSAGE, [("sluice-code", b" ")], "sluice-code is empty"),
        (MESSAGE, [("sluice-sender", None)], "sluice-sender is empty"),
        (MESSAGE, [("sluice-sender", b"a" * 257)], "sluice-sender has 257 bytes"),
        (MESSAGE, [("sluice-notbefore", b"1")], "sluice-notbefore is not known"),
        (MESSAGE, [("sluice_kode", b"A")], "sluice_kode is not known: the names are sluice-code"),
        (MESSAGE, [("X-Sluice.Lane", b"A")], "x-sluice.lane is not known: the names are"),
        (MESSAGE, [("sluice-not-before", b"tomorrow")], "sluice-not-before is not a time"),
        (MESSAGE, [("sluice-not-before", b"1795557600")], "sluice-not-before is not a time"),
        (MESSAGE, [("sluice-expires", b"2026-11-24T05:59:59Z")], "sluice-expires is in the past"),
        (
            MESSAGE,
            [("sluice-not-before", b"%d" % (NOW + MAX_AHEAD_DAYS * DAY + 1))],
            "sluice-not-before is more than 35 days ahead",
        ),
        (
            MESSAGE,
            [("sluice-not-before", b"%d" % (NOW + 9)), ("sluice-expires", b"%d" % (NOW + 9))],
            "sluice-expires is not after the earliest time",
        ),
        (MESSAGE, EVENT[1:], "ce_specversion is missing"),
        (MESSAGE, [("ce_code", b"A"), *EVENT[:3]], "ce_source is missing"),
        (MESSAGE, [("ce_specversion", b"0.3"), *EVENT[1:]], "ce_specversion is 0.3"),
        (MESSAGE, binary(("content-type", b"text/plain")), "content-type is text/plain"),
        (
            MESSAGE,
            [("content-type", b"application/cloudevents-batch+json")],
            "content-type says application/cloudevents-batch+json, which is a batch",
        ),
        (MESSAGE, [("content-type", b"application/cloudevents+avro")], "which is not known"),
        (envelope(specversion="2.0"), [STRUCTURED], "attribute specversion is 2.0"),
        (envelope(id="-"), [STRUCTURED], "attribute id is missing"),
        (envelope(id=""), [STRUCTURED], "attribute id is empty"),
        (envelope(type=None), [STRUCTURED], "attribute type is missing"),
        (envelope(source=["x"]), [STRUCTURED], "attribute source is not a string"),
        (envelope(source=True), [STRUCTURED], "attribute source is not a string"),
        (envelope(notBefore="x"), [STRUCTURED], "attribute notBefore has a name"),
        (envelope(code="A" * 201), [STRUCTURED], "attribute code has 201 bytes"),
        (envelope(expires=NOW), [STRUCTURED], "attribute expires is in the past"),
        (envelope(datacontenttype="text/html"), [STRUCTURED], "attribute datacontenttype is text"),
        (envelope(data_base64="-"), [STRUCTURED], "data_base64 and data are both missing"),
        (envelope(data="x"), [STRUCTURED], "data_base64 and data are both given"),
        (envelope(data_base64="a b"), [STRUCTURED], "attribute data_base64 is not Base64"),
        (envelope(data_base64="ä"), [STRUCTURED], "attribute data_base64 is not Base64"),
        (envelope(data_base64=5), [STRUCTURED], "attribute data_base64 is not a string"),
        (
            envelope(data={"to": "x"}, data_base64="-"),
            [STRUCTURED],
            "attribute data is not a string",
        ),
        (envelope(), [STRUCTURED, ("sluice-code", b"A")], "sluice-code is outside"),
        (envelope(), [STRUCTURED, ("sluice-kode", b"A")], "sluice-kode is not known"),
        (MESSAGE, [("x", b"")] * (MAX_HEADERS + 1), "headers of the record are too many"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(
    value: bytes, headers: list[Header], words: str
) -> None:
    (reason,) = refused(value, headers)
    assert words in reason
    assert read(value, headers, NOW).faults[0].rule == BAD_HEADER


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b'"x"', b"{", MESSAGE, b'{"id": "\xff"}', b'{"id": "\\ud800"}', b'{"a":' * 9_999],
)
def test_a_structured_value_that_is_no_json_object_is_unreadable(value: bytes) -> None:
    (broken,) = read(value, [STRUCTURED], NOW).faults
    assert (broken.rule, broken.status) == (UNREADABLE, "5.6.0")
    assert "application/cloudevents+json" in broken.reason


def test_all_faults_of_a_record_are_told_at_once() -> None:
    headers: list[Header] = [("ce_id", b"\xff"), ("sluice-expires", b"soon"), ("sluice-x", b"")]
    reasons = refused(MESSAGE, headers)
    words = ["ce_id is not", "sluice-x", "specversion", "ce_type", "ce_source", "sluice-expires"]
    assert len(reasons) == len(words)
    for word, reason in zip(words, reasons, strict=True):
        assert word in reason


NAMES = st.sampled_from(
    [
        *("content-type", "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_code", "ce_x"),
        *("sluice-code", "sluice-sender", "sluice-not-before", "sluice-expires", "ce_expires"),
    ]
)
VALUES = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"1.0", b"message/rfc822", STRUCTURED[1], b"9999-12-31T23:59:59-23:59"]),
    st.sampled_from([b"0001-01-01T00:00:00+23:59", b"application/cloudevents-batch+json"]),
    st.integers(0, 10**16).map(lambda number: b"%d" % number),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
ATTRIBUTES = st.sampled_from(
    [
        *("specversion", "id", "type", "source", "data", "data_base64", "datacontenttype"),
        *("code", "sender", "notbefore", "expires"),
    ]
)


@settings(deadline=None, max_examples=300)
@given(
    st.none() | st.binary(max_size=80),
    st.lists(st.tuples(NAMES | st.text(max_size=12), VALUES), max_size=8),
    st.integers(0, 2**53),
)
def test_no_headers_and_no_value_make_the_reading_raise(
    value: bytes | None, headers: list[Header], now_ms: int
) -> None:
    reading = read(value, headers, now_ms)
    if reading.faults:
        assert reading.content == (value or b"")
    for broken in reading.faults:
        broken.reason.encode()
        broken.found.encode()


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(ATTRIBUTES | st.text(max_size=8), JSON, max_size=8))
def test_no_json_object_makes_the_reading_raise(event: dict[str, Any]) -> None:
    value = json.dumps(event).encode()
    reading = read(value, [STRUCTURED], NOW)
    given = reading.given
    for text in (given.code, given.sender, *(broken.reason for broken in reading.faults)):
        text.encode()


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_every_message_comes_out_of_a_structured_record_as_it_went_in(message: bytes) -> None:
    value = envelope(data_base64=base64.b64encode(message).decode())
    assert read(value, [STRUCTURED], NOW).content == message

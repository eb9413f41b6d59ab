"""One intake record in each mode: the values read from it, and the reasons for refusing it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.core.intake.attributes import BAD_HEADER, FIRST_MS, IntakeAttributes, unix_ms
from services.ingest.core.intake.kafka_record import MAX_HEADERS, UNREADABLE, Header, Reading, read
from shared.topics.intake_fields import MAX_AHEAD_DAYS

NOW = 1_795_500_000_000  # 2026-11-24T06:00:00Z
DAY = 86_400_000
MESSAGE = b"From: a@news.shop.example\r\nSubject: x\r\n\r\nbody\r\n"
EVENT: list[Header] = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"order-7"),
    ("ce_type", b"com.example.send"),
    ("ce_source", b"/shop"),
]
KEYED = IntakeAttributes(submission_key="order-7", submission_source="/shop")
STRUCTURED: Header = ("content-type", b"application/cloudevents+json; charset=UTF-8")


def binary(*more: Header) -> list[Header]:
    return [*EVENT, *more]


def envelope(**more: Any) -> bytes:
    event = {
        "specversion": "1.0",
        "id": "order-7",
        "type": "com.example.send",
        "source": "/shop",
        "data_base64": base64.b64encode(MESSAGE).decode(),
    }
    event.update(more)
    return json.dumps({name: value for name, value in event.items() if value != "-"}).encode()


def refused(value: bytes, headers: list[Header]) -> list[str]:
    reading = read(value, headers, NOW)
    assert reading.content == value
    return [broken.reason for broken in reading.faults]


TIMES = [
    ("2026-11-25T06:00:00Z", NOW + DAY),
    ("2026-11-25t07:00:00.250+01:00", NOW + DAY + 250),
    ("2026-11-25 05:00:00.123456789-01:00", NOW + DAY + 123),
    (str(NOW + DAY), NOW + DAY),
]


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
            + [("excode", b"x"), ("ace_id", b"x"), ("x-correlation-id", b"x"), ("", b"x")],
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
    ("name", "right"),
    [
        ("sluice_code", "sluice-code"),
        ("sluicecode", "sluice-code"),
        ("sluiceCode", "sluice-code"),
        ("SLUICE.CODE", "sluice-code"),
        ("X-Sluice-Code", "sluice-code"),
        ("x_sluice_sender", "sluice-sender"),
        ("sluice code", "sluice-code"),
        ("sluice-code ", "sluice-code"),
        ("sluice\u2010code", "sluice-code"),
        ("sluice\u200b-code", "sluice-code"),
        ("\uff53luice-code", "sluice-code"),
        ("sluice-notbefore", "sluice-not-before"),
        ("sluice_not_before", "sluice-not-before"),
        ("sluiceNotBefore", "sluice-not-before"),
        ("sluice_expires", "sluice-expires"),
        ("sluice-id", "ce_id"),
        ("ce-code", "ce_code"),
        ("ceCode", "ce_code"),
        ("ce:notbefore", "ce_notbefore"),
        ("ce_not_before", "ce_notbefore"),
        ("ce_not-before", "ce_notbefore"),
        ("ce_sluice_code", "sluice-code"),
        ("cloudEvents:expires", "ce_expires"),
        ("cloudEvents_sender", "ce_sender"),
        ("cloud-events-code", "ce_code"),
        ("cloudevent.code", "ce_code"),
        ("X-CE-Code", "ce_code"),
    ],
)
def test_a_header_that_was_meant_as_a_known_one_is_refused_with_the_right_name(
    name: str, right: str
) -> None:
    around = EVENT if name.lower().startswith("ce_") else []
    (reason,) = refused(MESSAGE, [*around, (name, b"SPRING26")])
    assert reason.endswith(f"is not known: write {right}")
    assert reason.isascii()


@pytest.mark.parametrize("prefix", ["ce-", "cloudEvents:", "cloudEvents_", "CE-", "ce.", "x-ce-"])
def test_a_cloudevent_of_another_binding_is_refused_with_each_right_name(prefix: str) -> None:
    headers = [(name.replace("ce_", prefix), octets) for name, octets in EVENT]
    reasons = refused(MESSAGE, headers)
    assert [reason.rpartition(" ")[2] for reason in reasons] == [name for name, _ in EVENT]


@pytest.mark.parametrize("name", ["contentType", "content_type", "Content.Type", "ContentType"])
def test_a_content_type_under_another_spelling_is_refused_where_it_says_cloudevent(
    name: str,
) -> None:
    (reason,) = refused(envelope(), [(name, STRUCTURED[1] or b"")])
    assert reason.endswith("is not known: write content-type")


@pytest.mark.parametrize(
    ("attribute", "right"),
    [
        ("notBefore", "notbefore"),
        ("not_before", "notbefore"),
        ("Code", "code"),
        ("sluicecode", "code"),
        ("sluice-code", "code"),
        ("cecode", "code"),
        ("ce_expires", "expires"),
        ("co\u0301de", ""),
        ("other-name", ""),
    ],
)
def test_an_attribute_that_was_meant_as_a_known_one_is_refused_with_the_right_name(
    attribute: str, right: str
) -> None:
    (reason,) = refused(envelope(**{attribute: "x"}), [STRUCTURED])
    assert reason.endswith(f": write {right}" if right else "use lower-case letters and digits")


def test_a_required_attribute_under_a_near_name_is_told_once() -> None:
    (reason,) = refused(envelope(id="-", ID="order-7"), [STRUCTURED])
    assert reason.endswith("write id")


@pytest.mark.parametrize(
    "twice",
    [
        b'"code": "A", "code": "B"',
        b'"code": "A", "code": "A"',
        b'"code": "A", "c\\u006fde": "B"',
        b'"code": null, "code": "B"',
        b'"x": {"a": 1}, "code": 1e99, "code": [2]',
        b'"code": "A", "x": 1' + b"0" * 18 + b', "code": "B"',
    ],
)
def test_a_json_key_given_twice_is_refused(twice: bytes) -> None:
    reasons = refused(envelope()[:-1] + b", " + twice + b"}", [STRUCTURED])
    assert "The attribute code is given twice: give it once" in reasons


@pytest.mark.parametrize("name", ["id", "specversion", "data_base64", "other"])
def test_every_json_key_counts_once(name: str) -> None:
    value = envelope(other="x")
    twice = value[:-1] + f', "{name}": {json.dumps(json.loads(value)[name])}'.encode() + b"}"
    (reason,) = refused(twice, [STRUCTURED])
    assert reason == f"The attribute {name} is given twice: give it once"


def test_keys_inside_an_extension_may_be_the_same_as_the_event_s() -> None:
    value = envelope(other={"id": 1, "code": 2})
    assert read(value, [STRUCTURED], NOW).given == KEYED


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (("ce_code", b"A"), "ce_code has no matching attribute code in the event"),
        (("ce_id", b"order-8"), "ce_id differs from the event's attribute id"),
        (("ce_notbefore", b"soon"), "ce_notbefore has no matching attribute notbefore"),
        (("ce_code", b""), "ce_code is empty"),
        (("ce-code", b"A"), "ce-code is not known: write ce_code"),
        (("sluice_code", b"A"), "sluice_code is not known: write sluice-code"),
    ],
)
def test_a_header_beside_a_json_object_that_says_something_else_is_refused(
    header: Header, words: str
) -> None:
    (reason,) = refused(envelope(), [STRUCTURED, header])
    assert words in reason


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


def test_an_expiry_far_ahead_counts_as_35_days_after_the_earliest_time() -> None:
    far: Header = ("sluice-expires", b"2099-01-01T00:00:00Z")
    assert read(MESSAGE, [far], NOW).given.expires_at_ms == NOW + 35 * DAY
    late: Header = ("sluice-not-before", b"%d" % (NOW + DAY))
    assert read(MESSAGE, [far, late], NOW).given.expires_at_ms == NOW + 36 * DAY


@pytest.mark.parametrize(("text", "wanted"), TIMES)
def test_a_time_is_read_in_both_forms(text: str, wanted: int) -> None:
    assert unix_ms(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-25",
        "2026-11-25T06:00Z",
        "2026-11-25T06:00:00",
        "2026-13-25T06:00:00Z",
        "2026-11-25T06:00:00+25:00",
        "0000-01-01T00:00:00Z",
        "20261125T060000Z",
        "-1",
        "1.5",
        "٣" * 13,
        str(FIRST_MS - 1),
        "9" * 16,
    ],
)
def test_any_other_form_is_no_time(text: str) -> None:
    assert unix_ms(text) is None


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

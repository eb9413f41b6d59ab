"""Names of headers and attributes: misspelt, of another binding, given twice."""

from __future__ import annotations

import json

import pytest

from services.ingest.core.intake.kafka_record import Header, read
from tests.support.intake_records import EVENT, KEYED, MESSAGE, NOW, STRUCTURED, envelope, refused


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

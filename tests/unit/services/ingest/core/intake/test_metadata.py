"""The metadata of a platform: what is carried to its events, and what is refused."""

from __future__ import annotations

import json

import pytest

from services.ingest.core.intake.attributes import (
    BAD_HEADER,
    MAX_ENTRIES,
    MAX_VALUE_CHARS,
    Text,
    parse_metadata,
)
from services.ingest.core.intake.kafka_record import read
from services.ingest.core.intake.submission import Refusal, Submission, accept
from shared.mail.headers import scan
from shared.registry.client import Client
from shared.topics.records import Message, Origin, Violation
from tests.support.intake_records import MESSAGE, NOW, STRUCTURED, binary, envelope

CLIENT = Client(
    name="shop",
    sending_domain="news.shop.example",
    forwarding_address="returns@owner.example",
    mailing_id="standard",
)
FULL = {f"n{number}": "v" for number in range(MAX_ENTRIES)}


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"order": "7"},
        {"a.b-c_D": "", "_": "\u00fcber \U0001f600"},
        {"n": "x" * MAX_VALUE_CHARS},
        FULL,
    ],
)
def test_an_object_of_strings_is_carried(wanted: dict[str, str]) -> None:
    assert parse_metadata(Text("header ce_metadata", json.dumps(wanted))) == wanted


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("order=7", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('["a"]', "not a JSON object"),
        ("null", "not a JSON object"),
        ("[" * 1_000, "not a JSON object"),
        ('{"a":7}', "not a string"),
        ('{"a":{"b":"c"}}', "not a string"),
        ('{"a":null}', "not a string"),
        ('{"a":"1","a":"2"}', "twice"),
        ('{"":"x"}', "a name that"),
        ('{"a b":"x"}', "a name that"),
        ('{"-a":"x"}', "a name that"),
        (json.dumps({"n" * 65: "x"}), "a name that"),
        (json.dumps({"a": "x" * (MAX_VALUE_CHARS + 1)}), "at most 256"),
        (json.dumps({**FULL, "more": "v"}), "at most 16"),
        ('{"a":"x\\u0000"}', "control"),
        ('{"a":"\\ud800"}', "control"),
    ],
)
def test_anything_else_is_refused_with_its_cause(text: str, cause: str) -> None:
    found = parse_metadata(Text("header ce_metadata", text))
    assert isinstance(found, Violation)
    assert found.rule == BAD_HEADER
    assert cause in found.reason


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (MESSAGE, [("sluice-metadata", b'{"order":"7"}')]),
        (MESSAGE, binary(("ce_metadata", b'{"order":"7"}'))),
        (envelope(metadata='{"order":"7"}'), [STRUCTURED]),
    ],
)
def test_it_is_read_in_each_mode(value: bytes, headers: list[tuple[str, bytes | None]]) -> None:
    found = read(value, headers, NOW)
    assert not found.faults
    assert found.given.metadata == {"order": "7"}


def submitted(*headers: tuple[str, bytes]) -> Message | Refusal:
    reading = read(MESSAGE, binary(*headers), NOW)
    submission = Submission(
        "shop",
        Origin("mail.intake.shop", 0, 1),
        NOW,
        reading.content,
        reading.given,
        reading.faults,
    )
    return accept(submission, CLIENT, scan, NOW)


def test_a_message_carries_it() -> None:
    message = submitted(("ce_metadata", b'{"order":"7"}'))
    assert isinstance(message, Message)
    assert message.envelope.metadata == {"order": "7"}


def test_a_refusal_names_the_submission_by_what_could_be_read() -> None:
    refusal = submitted(
        ("ce_metadata", b'{"order":"7"}'), ("ce_code", b"SPRING26"), ("ce_expires", b"soon")
    )
    assert isinstance(refusal, Refusal)
    event = refusal.event
    assert (event.submission_id, event.submission_source) == ("order-7", "/shop")
    assert (event.code, event.metadata) == ("SPRING26", {"order": "7"})


def test_a_refusal_for_its_metadata_carries_the_rest() -> None:
    refusal = submitted(("ce_metadata", b"order 7"), ("ce_code", b"SPRING26"))
    assert isinstance(refusal, Refusal)
    event = refusal.event
    assert (event.submission_id, event.code, event.metadata) == ("order-7", "SPRING26", {})
    assert "header ce_metadata" in event.reason

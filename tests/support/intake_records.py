"""Intake records of a platform: a message, and its two CloudEvents forms."""

from __future__ import annotations

import base64
import json
from typing import Any

from services.ingest.core.intake.attributes import IntakeAttributes
from services.ingest.core.intake.kafka_record import Header, read

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

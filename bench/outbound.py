"""Publishes messages as validate passes them to deliver: for benchmarks of deliver alone."""

from __future__ import annotations

import os
import time
from typing import Any, Final

from shared.topics import ids, names
from shared.topics.codec import encode_pack
from shared.topics.records import Envelope, Facts, Message, Origin

SENDER: Final = "news@news.bench.example"
LANE: Final = "default"
_LINE: Final = b"x" * 70 + b"\r\n"


def make_message(recipient: str, size_bytes: int) -> Message:
    """A message of about this size."""
    now_ms = time.time_ns() // 1_000_000
    mail_id = ids.time_letters(now_ms) + ids.random_part(os.urandom(16))
    message_id = f"<{mail_id}@news.bench.example>"
    head = f"From: {SENDER}\r\nTo: {recipient}\r\nSubject: x\r\nMessage-ID: {message_id}\r\n\r\n"
    envelope = Envelope(
        mail_id=mail_id,
        client="bench",
        sender=SENDER,
        recipient=recipient,
        message_id=message_id,
        received_at_ms=now_ms,
        origin=Origin(),
        facts=Facts(size_bytes=size_bytes),
        lane=LANE,
    )
    return Message(envelope, head.encode() + _LINE * (size_bytes // len(_LINE)))


def publish_outbound(producer: Any, recipient: str, size_bytes: int) -> str:
    """Publish one message in a record of its own; return its mail id."""
    message = make_message(recipient, size_bytes)
    value, headers = encode_pack([message])
    producer.send(names.outbound(LANE), value, headers=headers)
    return message.envelope.mail_id

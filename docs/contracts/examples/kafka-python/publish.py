"""Publish two messages with kafka-python: one plain, one as a CloudEvent.

    python publish.py BOOTSTRAP CLIENT SENDER RECIPIENT [CODE]

SENDER is an address in the client's sending domain; CODE is one of its active codes.
"""

import sys
import uuid
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP

from kafka import KafkaProducer


def make_message(sender: str, recipient: str, subject: str) -> bytes:
    """Return a message that keeps the rules: one From, one To, a Subject, a Message-ID."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = subject
    message["Message-ID"] = f"<{uuid.uuid4()}@{sender.rpartition('@')[2]}>"
    message.set_content("It works.\n")
    return message.as_bytes()


def main(bootstrap: str, client: str, sender: str, recipient: str, code: str = "") -> None:
    """Publish both, and wait until Kafka has them."""
    topic = f"mail.intake.{client}"
    # For a cluster with TLS and passwords add security_protocol="SASL_SSL",
    # sasl_mechanism="SCRAM-SHA-512", sasl_plain_username=..., sasl_plain_password=...
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,  # otherwise a retry of the client library may duplicate a mail
        max_block_ms=10_000,  # then send() fails, for example if CLIENT has no intake topic
    )
    # Plain: the value is the message. Headers are optional.
    headers = [("sluice-code", code.encode())] if code else []
    plain = producer.send(topic, make_message(sender, recipient, "A plain record"), headers=headers)

    # A CloudEvent in binary mode: the attributes are headers, the value is the message.
    in_a_day = datetime.now(UTC) + timedelta(days=1)
    headers += [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(uuid.uuid4()).encode()),  # the same if you submit the same mail again
        ("ce_type", b"com.example.newsletter.send"),
        ("ce_source", b"/example/newsletter"),
        ("content-type", b"message/rfc822"),
        ("ce_expires", in_a_day.isoformat(timespec="seconds").encode()),
    ]
    event = producer.send(topic, make_message(sender, recipient, "A CloudEvent"), headers=headers)

    producer.flush()
    for written in (plain, event):
        place = written.get(timeout=30)
        print(f"{place.topic} partition {place.partition} offset {place.offset}")
    producer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

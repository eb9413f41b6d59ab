"""Publish one CloudEvent with confluent-kafka (librdkafka).

python publish.py BOOTSTRAP CLIENT MESSAGE.eml
"""

import sys
import uuid
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer


def told(error: KafkaError | None, message: Message) -> None:
    """Report whether Kafka accepted the record."""
    if error is not None:
        print(f"not published: {error}", file=sys.stderr)
    else:
        print(f"{message.topic()} partition {message.partition()} offset {message.offset()}")


def main(bootstrap: str, client: str, path: str) -> None:
    """Publish the file unchanged, with the attributes of the event as headers."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,  # includes acks=all
            # "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
            # "sasl.username": ..., "sasl.password": ...
        }
    )
    producer.produce(
        f"mail.intake.{client}",
        value=Path(path).read_bytes(),
        headers=[
            ("ce_specversion", b"1.0"),
            ("ce_id", str(uuid.uuid4()).encode()),  # the same if you submit the mail again
            ("ce_type", b"com.example.newsletter.send"),
            ("ce_source", b"/example/newsletter"),
            ("content-type", b"message/rfc822"),
        ],
        on_delivery=told,
    )
    if producer.flush(30):
        sys.exit("not published within 30 seconds")


if __name__ == "__main__":
    main(*sys.argv[1:])

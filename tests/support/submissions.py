"""Messages of a client, for the tests of submission keys."""

from __future__ import annotations

from shared.topics import ids
from shared.topics.records import Envelope, Facts, Message, Origin

FIRST = ids.time_letters(1_700_000_000_000) + ids.random_part(b"f" * 16)


OWN = ids.time_letters(1_700_000_100_000) + ids.random_part(b"o" * 16)


FROM_KAFKA = Origin("mail.intake.shop", 1, 7)


ENVELOPE = Envelope(
    mail_id=OWN,
    client="shop",
    sender="news@news.shop.example",
    recipient="anna@r.example",
    message_id="<1@news.shop.example>",
    received_at_ms=1_700_000_100_000,
    origin=FROM_KAFKA,
    facts=Facts(size_bytes=10),
    mailing_id="standard",
    lane="default",
)


MESSAGE = Message(ENVELOPE, b"Subject: a\r\n\r\nbody\r\n")

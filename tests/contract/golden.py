"""`python -m tests.contract.golden` adds a frozen record for each shape without one.

A frozen record is never changed: everything ever written to a topic must stay readable.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from shared.topics.codec import encode_event, encode_pack, encode_returned, encode_tally
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import (
    Attempts,
    Envelope,
    EventType,
    Facts,
    MailClass,
    MailEvent,
    Message,
    OnDoubt,
    Origin,
    ReturnAddressKind,
    Returned,
    Violation,
)
from shared.topics.suppressions import (
    CounterReset,
    RecipientForm,
    Suppression,
    SuppressionReason,
    SuppressionRecord,
    encode_suppression,
)

FILE = Path(__file__).with_name("golden_records.json")
FORMAT = 1
# Versions of packs: the second adds the attributes of a submission, the third whether its events
# are copied, the fourth the source of its key and the checksum of the submitted bytes, the fifth
# the metadata of the platform; the ninth the turn under a limit.
PACK_FORMAT = 9

MESSAGE = Message(
    Envelope(
        mail_id="01JDEXAMPLE0000000000000ZZ",
        client="shop",
        sender="news@news.shop.example",
        recipient="anna@example.net",
        message_id="<1@news.shop.example>",
        received_at_ms=1_795_467_600_000,
        origin=Origin("mail.intake.shop", 1, 42),
        facts=Facts(size_bytes=13, to_count=1, code="SPRING26", code_count=1),
        mailing_id="spring-26",
        sub_client="shop-de",
        mail_class=MailClass.TRANSACTIONAL,
        lane="default",
        due_at_ms=1_795_467_660_000,
        expires_at_ms=1_795_899_600_000,
        attempts=Attempts(1, 1_795_467_601_000, "451 4.7.1 later", "4.7.1"),
    ),
    b"Subject: x\r\n\r",
)
PACKED = {
    "pack-1": MESSAGE,
    "pack-2": Message(
        replace(
            MESSAGE.envelope,
            code="SPRING26",
            submission_key="order-7",
            not_before_ms=1_795_553_999_000,
        ),
        MESSAGE.content,
    ),
    "pack-3": Message(replace(MESSAGE.envelope, own_events=True), MESSAGE.content),
    "pack-4": Message(
        replace(
            MESSAGE.envelope,
            submission_key="order-7",
            submission_source="/shop",
            raw_checksum=b"\x00\xff\x01\xfe",
        ),
        MESSAGE.content,
    ),
    "pack-5": Message(
        replace(MESSAGE.envelope, metadata={"order": "7", "campaign": "ä"}), MESSAGE.content
    ),
    "pack-6": Message(
        replace(
            MESSAGE.envelope,
            on_doubt=OnDoubt.HOLD,
            is_offered=True,
            held_since_ms=1_795_467_603_000,
        ),
        MESSAGE.content,
    ),
    "pack-7": Message(replace(MESSAGE.envelope, pool="bulk"), MESSAGE.content),
    "pack-8": Message(
        replace(MESSAGE.envelope, rules_version="0a1b2c3d", registry_version="4e5f6a7b"),
        MESSAGE.content,
    ),
    "pack-9": Message(
        replace(MESSAGE.envelope, turn_at_ms=MESSAGE.envelope.due_at_ms), MESSAGE.content
    ),
}
EVENT = MailEvent(
    client="shop",
    mailing_id="spring-26",
    sub_client="shop-de",
    recipient="anna@example.net",
    at_ms=1_795_467_602_000,
    attempt=2,
    first_dispatch=True,
    first_dispatched_at_ms=1_795_467_602_000,
    reply="250 2.0.0 Ok",
    enhanced="2.0.0",
    rules=(Violation("R5", "No Cc", "5.6.0", "Cc: x@example.com"),),
    origin=Origin("mail.intake.shop", 1, 42),
)
RETURNED = Returned(
    return_id="01JDEXAMPLE0000000000000ZY",
    client="shop",
    recipient="rp=x@news.shop.example",
    sender="",
    received_at_ms=1_795_467_600_000,
    address_kind=ReturnAddressKind.RETURN_PATH,
    peer="192.0.2.7",
    mailing_id="spring-26",
    sub_client="shop-de",
    mail_id="01JDEXAMPLE0000000000000ZZ",
    recipient_hash=b"\x00\xff\x01\xfe\x02\xfd",
)
TALLY = Tally("validate", 1_795_467_600_000, (TallyRow("shop", "spring-26", "shop-de", 3),))
TALLIED = {
    "tally-1": TALLY,
    "tally-2": Tally(
        "validate",
        1_795_467_600_000,
        (
            TallyRow(
                *("shop", "spring-26", "shop-de", 2),
                ("01JDEXAMPLE0000000000000ZY", "01JDEXAMPLE0000000000000ZZ"),
            ),
        ),
    ),
}
SUPPRESSIONS: dict[str, SuppressionRecord] = {
    "suppression-1": Suppression(
        client="shop",
        reason=SuppressionReason.HARD_BOUNCES,
        recipient="anna@example.net",
        form=RecipientForm.ADDRESS,
        active=False,
        at_ms=1_795_467_602_000,
        author="ops",
        note="new mailbox",
        mail_id="01JDEXAMPLE0000000000000ZZ",
        count=3,
    ),
    "reset-1": CounterReset("shop", "anna@example.net", 1_795_467_602_000, "ops", "new mailbox"),
}


def records() -> dict[str, Any]:
    """Each shape in its current form: headers and value in base64."""
    mail_id = MESSAGE.envelope.mail_id
    pack = f"pack-{PACK_FORMAT}"
    made = {
        pack: encode_pack([PACKED[pack]] * 2),
        f"returned_mail-{FORMAT}": (b"Subject: x\r\n\r\n", encode_returned(RETURNED)[1]),
        "tally-2": encode_tally(TALLIED["tally-2"], "validate.1")[1:],
    }
    for kind in EventType:
        _, value, headers = encode_event(kind, mail_id, EVENT, "deliver")
        made[f"{kind.value}-{FORMAT}"] = (value, headers)
    for name, record in SUPPRESSIONS.items():
        key, value = encode_suppression(record)
        made[name] = (value, [("key", key)])
    return {
        name: {
            "value": base64.b64encode(value).decode(),
            "headers": [[key, base64.b64encode(content).decode()] for key, content in headers],
        }
        for name, (value, headers) in made.items()
    }


def load() -> dict[str, tuple[bytes, list[tuple[str, bytes]]]]:
    """The frozen records by name."""
    return {
        name: (
            base64.b64decode(row["value"]),
            [(key, base64.b64decode(content)) for key, content in row["headers"]],
        )
        for name, row in json.loads(FILE.read_text()).items()
    }


if __name__ == "__main__":
    frozen = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.write_text(json.dumps({**records(), **frozen}, indent=1, sort_keys=True) + "\n")

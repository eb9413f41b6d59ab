"""The records that the bounce door writes for returned mail, for benchmarks and tests."""

from __future__ import annotations

from typing import Final

from shared.mail import verp
from shared.mail.verp import Keys, ReturnPath, parse_keys
from shared.registry.client import Client, Code
from shared.topics import ids
from shared.topics.records import ReturnAddressKind, Returned

AT_MS: Final = 1_790_000_000_000
KEYS: Final[Keys] = parse_keys("1 2026-01-01 " + "5c" * 32)
SHOP: Final = Client(
    "shop",
    "news.shop.example",
    "back@owner.example",
    "standard",
    codes={"c1": Code("spring", "north")},
)
# This offset is added to a message's number to make the id of the returned mail. So the ids of
# returned mail differ from the ids of the messages.
_RETURNS: Final = 1_000_000


def mail_id_of(number: int) -> str:
    return ids.encode((AT_MS << 80) | number)


def return_path(mail_id: str, recipient: str, client: Client = SHOP, keys: Keys = KEYS) -> str:
    """Return the local part of the return path of a message of the mailing `spring`."""
    path = ReturnPath(
        verp.day_of(AT_MS),
        verp.mailing_hash("spring", "north"),
        verp.recipient_hash(mail_id, recipient),
        mail_id,
    )
    return verp.encode(keys, client.name, path)


def to_return_path(number: int, recipient: str, *, return_number: int = 0) -> Returned:
    """Return the data that the bounce door records for mail to the return path of a message."""
    mail_id = mail_id_of(number)
    local = return_path(mail_id, recipient)
    return Returned(
        return_id=mail_id_of(_RETURNS + (return_number or number)),
        client=SHOP.name,
        recipient=f"{local}@{SHOP.sending_domain}",
        sender="",
        received_at_ms=AT_MS,
        address_kind=ReturnAddressKind.RETURN_PATH,
        mailing_id="spring",
        sub_client="north",
        mail_id=mail_id,
        recipient_hash=verp.recipient_hash(mail_id, recipient),
    )

"""Makes the messages of the demo, with their client, mailing and recipient. Does no I/O.

Each recipient occurs once, so that the sink's journal shows which message the sink answered. The
local part of the recipient selects how the sink behaves (local/sink). Some messages violate rules
or are for blocked recipients.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from email.header import Header
from email.utils import formatdate
from typing import Final

from msgspec import Struct

from local.demo.sample_bodies import SampleBody, sample_bodies
from shared.topics.names import intake


class Account(Struct, frozen=True):
    """A submitter of mail: its client, the row of the bill in which its messages count, and the
    code in its messages, or ""."""

    client: str
    sender: str
    sending_domain: str
    mailing_id: str
    sub_client: str = ""
    code: str = ""


class Publication(Struct, frozen=True):
    """One record for an intake topic. If the record is not a message, `recipient` is ""."""

    topic: str
    account: Account
    recipient: str
    content: bytes


_SHOP: Final = ("acme", "Acme Möbel & Mode", "news.acme.example")
ACCOUNTS: Final = (
    Account(*_SHOP, "M-1000"),
    Account(*_SHOP, "M-1001", "shop-berlin", "spring-berlin"),
    Account(*_SHOP, "M-1001", "shop-paris", "spring-paris"),
    Account(*_SHOP, "M-1002", "shop-berlin", "loyalty"),
    Account("northbank", "Northbank", "post.northbank.example", "N-STATEMENTS"),
)
_SHOP_ACCOUNTS: Final = ACCOUNTS[:4]

# The share of each behaviour, in thousandths. The recipient's local part begins with the name of
# the behaviour.
BEHAVIOURS: Final = {
    "bounce-": 12,  # The mailbox does not exist.
    "policy-": 4,  # The message is refused as spam.
    "defer-1-": 15,  # The first attempt is greylisted.
    "defer-2-": 5,
    "full-": 2,  # The mailbox is full until the message expires.
    "tarpit-": 2,  # Every answer takes a second.
    "drop-": 1,  # The sink closes the connection instead of answering after DATA.
    "unsubscribed-": 10,  # The recipient is on acme's block list.
    "return-": 3,  # The message is accepted, and then a delivery report comes back.
    "complain-": 2,  # The message is accepted, and then a complaint comes back.
}
COMING_BACK: Final = ("return-", "complain-")
# The demo sends bouncing mail of this client to the recipients in AGAIN, until they are suppressed.
CLIENT_AGAIN: Final = "acme"
AGAIN: Final = ("bounce-again-1@mail.example", "bounce-again-2@post.example")
_BREACHES_PER_THOUSAND: Final = 25
_NAMES: Final = ("anna.müller", "j.smith", "y.tanaka", "l.haddad", "c.dubois", "o'brien", "m+shop")
_HOSTS: Final = ("mail.example", "post.example", "example.org", "web.example", "example.net")
_TOO_LARGE: Final = 310 * 1024


class Draft(Struct, frozen=True):
    """The parts of a message: its number, account, recipient, sample body and date."""

    number: int
    account: Account
    recipient: str
    letter: SampleBody
    date: str


def publications(count: int, seed: int, now_s: float) -> Iterator[Publication]:
    """Yield `count` records in the order of publishing.

    With the same arguments, this function yields the same records.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable demo, no secret
    stock = sample_bodies(seed)
    date = formatdate(now_s)
    deck: list[str] = []
    for number in range(1, count + 1):
        deck = deck or _shuffled_deck(chance)
        behaviour = deck.pop()
        accounts = _SHOP_ACCOUNTS if behaviour == "unsubscribed-" else ACCOUNTS
        draft = Draft(
            number=number,
            account=chance.choice(accounts),
            recipient=_recipient(behaviour, number, chance),
            letter=chance.choice(stock),
            date=date,
        )
        breaks = not behaviour and chance.randrange(1000) < _BREACHES_PER_THOUSAND
        yield _breach(draft, chance) if breaks else _publication(draft, *_compose(draft))


def once_more(round_: int, first: int, seed: int, now_s: float) -> list[Publication]:
    """Return one more message to each recipient in AGAIN. The messages are numbered from
    `first`."""
    stock = sample_bodies(seed)
    return [
        _publication(draft, *_compose(draft))
        for draft in (
            Draft(first + place, ACCOUNTS[1], recipient, stock[round_], formatdate(now_s))
            for place, recipient in enumerate(AGAIN)
        )
    ]


def _shuffled_deck(chance: random.Random) -> list[str]:
    """Return the behaviours of the next thousand messages in random order. Each behaviour occurs as
    often as its share says."""
    deck = [begin for begin, share in BEHAVIOURS.items() for _ in range(share)]
    deck += [""] * (1000 - len(deck))
    chance.shuffle(deck)
    return deck


def _recipient(behaviour: str, number: int, chance: random.Random) -> str:
    name = chance.choice(_NAMES).encode("ascii", "ignore").decode()
    return f"{behaviour}{name}.{number}@{chance.choice(_HOSTS)}"


def _publication(draft: Draft, headers: dict[str, str], body: bytes) -> Publication:
    lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
    content = b"".join([*lines, draft.letter.mime, b"\r\n\r\n", body])
    return Publication(intake(draft.account.client), draft.account, draft.recipient, content)


def _encoded(text: str) -> str:
    return text if text.isascii() else Header(text, "utf-8").encode()


def _compose(draft: Draft) -> tuple[dict[str, str], bytes]:
    account = draft.account
    headers = {
        "Date": draft.date,
        "From": f"{_encoded(account.sender)} <news@{account.sending_domain}>",
        "To": draft.recipient,
        "Message-ID": f"<{draft.number}.demo@{account.sending_domain}>",
        "Subject": _encoded(draft.letter.subject),
    }
    if account.code:
        headers["X-bm-mailing"] = account.code
    return headers, draft.letter.body


def _breach(draft: Draft, chance: random.Random) -> Publication:
    """Return this message with a mistake that is typical of platforms."""
    headers, body = _compose(draft)
    topic = intake(draft.account.client)
    match chance.randrange(9):
        case 0:
            headers["Cc"] = "boss@mail.example"
        case 1:
            headers["Subject"] = " "
        case 2:
            headers["From"] = "news@acme.example"
        case 3:
            headers["X-bm-mailing"] = "summer-2019"
        case 4:
            del headers["Message-ID"]
        case 5:
            headers["Return-Path"] = "<bounces@mailer.example>"
        case 6:
            headers["To"] = f"{draft.recipient}, second@mail.example"
        case 7:
            body += b"x" * 76 * (_TOO_LARGE // 76)
        case _:
            return Publication(topic, draft.account, "", b"\x00\x01this is no message")
    return _publication(draft, headers, body)

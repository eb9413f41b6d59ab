"""A token says who unsubscribes from what; one that was not made here is refused."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.mail import verp
from shared.mail.comparison import comparable
from shared.mail.unsubscribe import MAX_CHARS, Unsubscription, make_token, read_token
from shared.mail.verp import Refused, ReturnPath, parse_keys
from shared.topics import ids

DAY = 20_788
OLD = f"1 2026-01-01 {'ab' * 32}"
KEYS = parse_keys(OLD)
MAIL_ID = ids.encode(7 << 90)
MAILING = verp.mailing_hash("news", "north")
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def token(
    client: str = "shop", recipient: str = "anna@isp.example", signed_for: str = "", day: int = DAY
) -> str:
    path = ReturnPath(day, MAILING, verp.recipient_hash(MAIL_ID, recipient), MAIL_ID)
    return make_token(client, verp.encode(KEYS, signed_for or client, path), recipient)


def read(text: str, today: int = DAY, keys: verp.Keys = KEYS) -> Unsubscription | Refused:
    return read_token(keys, text, today=today, days_valid=60)


GOOD = token()
MEANT = Unsubscription("shop", "anna@isp.example", MAILING, MAIL_ID)
OTHER = urlsafe_b64encode(b"shop\0bert@isp.example").rstrip(b"=").decode()


@given(st.text("abc-0123", min_size=1, max_size=60), texts.filter(lambda text: len(text) < 100))
def test_a_token_is_read_as_it_was_made(client: str, recipient: str) -> None:
    made = token(client, recipient)
    assert read(made) == Unsubscription(client, recipient, MAILING, MAIL_ID)
    assert made.isascii()
    assert all(char.isalnum() or char in "-_" for char in made)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, MEANT),
        (GOOD.upper(), Refused.FORGED),  # base64 has upper and lower case
        (GOOD[:61].upper() + GOOD[61:], Refused.FORGED),  # one meaning has one text
        (GOOD + "=", Refused.FORGED),
        (GOOD[:-1], Refused.FORGED),
        (GOOD[:61], Refused.FORGED),
        (GOOD[:61] + OTHER, Refused.FORGED),  # another recipient
        (token(signed_for="bank"), Refused.FORGED),  # another client
        (GOOD[:61] + "AA", Refused.FORGED),  # no recipient
        ("0" * 61 + GOOD[61:], Refused.FORGED),
        ("", Refused.FORGED),
        ("ü" * 80, Refused.FORGED),
        (GOOD + "A" * MAX_CHARS, Refused.FORGED),
    ],
)
def test_only_what_was_made_here_is_accepted(text: str, expected: Unsubscription | Refused) -> None:
    assert read(text) == expected


@given(place=st.integers(0, len(GOOD) - 1), char=st.characters())
@example(place=82, char="E")  # the recipient is then anna@isp.exAmple
def test_no_character_can_be_changed_but_the_case_of_the_recipient(place: int, char: str) -> None:
    found = read(GOOD[:place] + char + GOOD[place + 1 :])
    if isinstance(found, Unsubscription):
        found = replace(found, recipient=comparable(found.recipient))
    assert found in (MEANT, Refused.FORGED)


@given(st.text(max_size=900) | st.binary(max_size=900).map(lambda raw: raw.decode("latin-1")))
def test_foreign_text_is_refused_and_never_raises(text: str) -> None:
    assert read(text) is Refused.FORGED
    assert read(GOOD[:61] + text) in (Refused.FORGED, MEANT)


def test_a_token_expires() -> None:
    assert read(GOOD, DAY + 60) == MEANT
    assert read(GOOD, DAY + 61) is Refused.EXPIRED


def test_a_token_outlives_a_rotation_of_keys_until_its_key_is_taken_out() -> None:
    new = f"2 2026-06-01 {'cd' * 32}"
    assert read(GOOD, keys=parse_keys(f"{OLD}\n{new}")) == MEANT
    assert read(GOOD, keys=parse_keys(new)) is Refused.FORGED

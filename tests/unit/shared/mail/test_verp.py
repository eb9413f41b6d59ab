"""The return path: every bit counts, case does not, and old keys verify."""

from __future__ import annotations

import hmac
from hashlib import blake2b
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.mail import verp
from shared.mail.address import ParsedAddress, parse_path
from shared.mail.verp import Keys, KeysFault, Refused, ReturnPath, parse_keys
from shared.topics import ids

DAY: Final = 20_788  # 2026-12-01
OLD, NEW = "aa" * 32, "bb" * 32
KEYS: Final = parse_keys(f"1 2026-01-01 {OLD}\n2 2026-12-01 {NEW}\n")
CHARS: Final = "0123456789abcdefghijklmnopqrstuv"
MAIL_ID: Final = ids.encode(1 << 127 | 12345)
PATH: Final = ReturnPath(
    DAY,
    verp.mailing_hash("M-1001", "shop-a"),
    verp.recipient_hash(MAIL_ID, "max@example.net"),
    MAIL_ID,
)

octets = st.binary
paths = st.builds(
    ReturnPath,
    st.integers(0, 65_535),
    octets(min_size=5, max_size=5),
    octets(min_size=6, max_size=6),
    st.integers(0, (1 << 128) - 1).map(ids.encode),
)
names = st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,20}\Z")


def check(
    local: str, client: str = "acme", keys: Keys = KEYS, today: int = DAY
) -> ReturnPath | Refused:
    return verp.verify(keys, client, local, today=today, days_valid=60)


@given(path=paths, client=names)
def test_what_was_encoded_is_verified_and_its_local_part_has_64_octets(
    path: ReturnPath, client: str
) -> None:
    local = verp.encode(KEYS, client, path)
    assert len(local.encode()) == 64
    assert local == local.lower()
    assert check(local, client, today=path.day) == path
    assert check(local.upper(), client, today=path.day) == path
    assert check(local.title(), client, today=path.day) == path


@given(path=paths, at=st.integers(3, 63), char=st.sampled_from(CHARS))
def test_any_changed_character_is_refused(path: ReturnPath, at: int, char: str) -> None:
    local = verp.encode(KEYS, "acme", path)
    changed = local[:at] + char + local[at + 1 :]
    assert (check(changed, today=path.day) == path) == (changed == local)
    if changed != local:
        assert check(changed, today=path.day) is Refused.FORGED


def test_any_flipped_bit_is_refused() -> None:
    local = verp.encode(KEYS, "acme", PATH)
    number = int(local[3:], 32)
    for bit in range(305):
        flipped, left = "", number ^ (1 << bit)
        while len(flipped) < 61:
            flipped, left = CHARS[left & 31] + flipped, left >> 5
        assert check("rp=" + flipped) is Refused.FORGED, bit


@given(st.text(max_size=80))
def test_no_text_raises_and_no_text_is_accepted(text: str) -> None:
    assert check(text) is Refused.FORGED
    assert check("rp=" + text) is Refused.FORGED


@pytest.mark.parametrize(
    "local",
    [
        "",
        "rp=",
        "rp=" + "0" * 60,
        "rp=" + "0" * 62,
        "rp=" + "0" * 61 + "\n",
        "rp=" + "_" * 61,
        "rp=" + "٠" * 61,
        "rp=+" + "0" * 60,
        "rp= " + "0" * 60,
        "rp=" + "w" * 61,
        "rp=" + "0" * 60 + "1",  # the bit beyond the last octet
        "xp=" + "0" * 61,
    ],
)
def test_other_forms_are_forged(local: str) -> None:
    assert check(local) is Refused.FORGED


def test_the_return_path_of_one_client_is_none_of_another() -> None:
    local = verp.encode(KEYS, "acme", PATH)
    assert check(local, "acme-2") is Refused.FORGED
    assert check(local, "acm") is Refused.FORGED


@pytest.mark.parametrize(("days", "is_valid"), [(-400, True), (0, True), (60, True), (61, False)])
def test_it_expires_after_the_days_of_the_setting(days: int, is_valid: bool) -> None:
    found = check(verp.encode(KEYS, "acme", PATH), today=DAY + days)
    assert found == (PATH if is_valid else Refused.EXPIRED)


@given(st.binary(min_size=verp.MIN_SECRET_OCTETS, max_size=200), names)
@example(b"k" * 64, "acme")  # as long as a block of the hash
@example(b"k" * 65, "acme")
def test_the_signature_is_the_hmac_of_the_standard_library(secret: bytes, client: str) -> None:
    local = verp.encode(Keys([verp.Key(7, 0, secret)]), client, PATH)
    whole = (int(local.removeprefix(verp.PREFIX), 32) >> 1).to_bytes(38, "big")
    expected = hmac.digest(secret, client.encode() + b"\0" + whole[:30], "sha256")
    assert whole[30:] == expected[:8]


@pytest.mark.parametrize(
    ("day", "key_id"),
    [(DAY - 1, 1), (DAY, 2), (DAY + 300, 2), (0, 1)],
    ids=["before", "on its first day", "after", "before every key: the oldest"],
)
def test_the_newest_key_that_has_begun_signs(day: int, key_id: int) -> None:
    assert KEYS.signing(day).id == key_id


def test_after_a_rotation_the_old_key_verifies_until_it_is_removed() -> None:
    before = parse_keys(f"1 2026-01-01 {OLD}")
    local = verp.encode(before, "acme", PATH)
    assert check(local, keys=KEYS) == PATH
    assert check(local, keys=parse_keys(f"2 2026-12-01 {NEW}")) is Refused.FORGED
    # The number alone does not help.
    assert check(local, keys=parse_keys(f"1 2026-12-01 {NEW}")) is Refused.FORGED


def test_the_recipient_is_hashed_with_its_mail_id_and_without_case() -> None:
    other = ids.encode(7)
    same = verp.recipient_hash(MAIL_ID, "MAX@Example.NET")
    assert same == PATH.recipient
    assert verp.recipient_hash(MAIL_ID, '"max"@example.net') == PATH.recipient
    assert verp.recipient_hash(MAIL_ID, "max@example.org") != PATH.recipient
    assert verp.recipient_hash(other, "max@example.net") != PATH.recipient
    assert len(verp.recipient_hash(MAIL_ID, "no address \udcff")) == 6


@given(
    st.from_regex(r"\A[A-Za-z0-9._+=?-]{0,70}@[A-Za-z0-9.-]{0,70}\Z")
    | st.emails()
    | st.sampled_from(["=?utf-8?q?a?=@b.example", ".a@b.example", "a..b@b.example", "a@b.example."])
)
def test_an_address_that_is_not_parsed_has_the_hash_of_its_parsed_form(address: str) -> None:
    parsed = parse_path(address)
    normal = parsed.address if isinstance(parsed, ParsedAddress) else address
    hashed = blake2b(
        normal.lower().encode(),
        digest_size=verp.RECIPIENT_OCTETS,
        salt=ids.to_bytes(MAIL_ID),
        person=b"sluice rcpt",
    )
    assert verp.recipient_hash(MAIL_ID, address) == hashed.digest()


def test_the_mailing_and_its_sub_client_are_hashed_apart() -> None:
    assert verp.mailing_hash("a", "bc") != verp.mailing_hash("ab", "c")
    assert verp.mailing_hash("a", "") != verp.mailing_hash("", "a")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no key in it"),
        ("# only a comment\n", "no key in it"),
        ("1 2026-01-01", "line 1: 2 words"),
        (f"256 2026-01-01 {OLD}", "line 1: the first word"),
        (f"-1 2026-01-01 {OLD}", "line 1: the first word"),
        (f"² 2026-01-01 {OLD}", "line 1: the first word"),
        (f"1 yesterday {OLD}", "line 1: the second word"),
        (f"1 1969-12-31 {OLD}", "line 1: the second word"),
        (f"1 2026-01-01 {'a' * 30}", "line 1: the third word"),
        (f"1 2026-01-01 {'a' * 33}", "line 1: the third word"),
        (f"1 2026-01-01 {'g' * 32}", "line 1: the third word"),
        (f"1 2026-01-01 {OLD}\n1 2026-02-01 {NEW}", "line 2: another key has the number 1"),
        ("\n".join(f"{n} 2026-01-01 {OLD}" for n in range(33)), "33 keys"),
    ],
)
def test_a_keys_file_with_a_fault_is_refused_without_showing_secrets(text: str, fault: str) -> None:
    with pytest.raises(KeysFault) as refused:
        parse_keys(text)
    assert str(refused.value).startswith(fault)
    assert OLD not in str(refused.value)


def test_no_key_shows_its_secret() -> None:
    key = KEYS.signing(DAY)
    assert NEW not in repr(key)
    assert repr(key.secret) not in repr(key)


def test_keys_may_have_comments_and_any_order() -> None:
    text = f"# rotated each year\n\n2 2026-12-01 {NEW}  # new\n1 2026-01-01 {OLD}\n"
    assert parse_keys(text).ids == (2, 1)

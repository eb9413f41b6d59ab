"""The table of DKIM keys: its form, and which keys sign a message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.mailauth.dkim_keys.table import (
    ED25519,
    RSA,
    Key,
    KeyEntry,
    KeyIndex,
    KeyTableError,
    encode_entry,
    parse_table,
)

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
NOW_S = NOW.timestamp()
HOUR = timedelta(hours=1)

WRONG = [
    ("no TOML", "[[key]", "it is not TOML"),
    ("an unknown key", '[[key]]\nselector = "s"\nfile = "f"\nname = 1', "unknown field `name`"),
    ("no selector", '[[key]]\nfile = "f"', "missing required field `selector`"),
    ("a selector that is no label", '[[key]]\nselector = "a b"\nfile = "f"', "$.key[0].selector"),
    ("a long selector", f'[[key]]\nselector = "{"a" * 64}"\nfile = "f"', "length <= 63"),
    ("a path", '[[key]]\nselector = "s"\nfile = "../f"', "$.key[0].file"),
    ("a hidden file", '[[key]]\nselector = "s"\nfile = ".f"', "$.key[0].file"),
    ("a wrong domain", '[[key]]\nselector = "s"\nfile = "f"\ndomain = "a"', "not a mail domain"),
    (
        "a time without its zone",
        '[[key]]\nselector = "s"\nfile = "f"\nactive_from = 2026-12-01T00:00:00',
        "timezone",
    ),
    (
        "an end before the start",
        '[[key]]\nselector = "s"\nfile = "f"\nactive_from = 2026-12-01T00:00:00Z\n'
        "active_until = 2026-12-01T00:00:00Z",
        "active_until is not later",
    ),
    (
        "a selector twice",
        '[[key]]\nselector = "s"\nfile = "f"\n[[key]]\nselector = "S"\nfile = "g"',
        "key 2: another one has the same selector",
    ),
]


@pytest.mark.parametrize(("text", "reason"), [c[1:] for c in WRONG], ids=[c[0] for c in WRONG])
def test_a_wrong_table_is_refused_with_the_reason_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(KeyTableError) as refused:
        parse_table(text)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


ENTRIES = [
    KeyEntry("s1", "a.pem"),
    KeyEntry("s.2", "a.pem", client='sh"op', active_from=NOW),
    KeyEntry("s3", "b.pem", client="shop", domain="news.shop.example", active_until=NOW),
    KeyEntry("s3", "c.pem", domain="news.shop.example", active_from=NOW, active_until=NOW + HOUR),
]


def test_what_is_written_is_read() -> None:
    text = "# keys\n" + "\n".join(map(encode_entry, ENTRIES))
    assert parse_table(text) == tuple(ENTRIES)


def test_times_are_written_in_utc_and_domains_read_as_a_labels() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=2)))
    text = encode_entry(KeyEntry("s", "f", domain="Bücher.example", active_from=there))
    assert "active_from = 2026-12-01T12:00:00Z" in text
    (entry,) = parse_table(text)
    assert (entry.domain, entry.active_from) == ("xn--bcher-kva.example", NOW)


def test_a_table_may_be_empty() -> None:
    assert parse_table("") == ()


def key(
    selector: str,
    algorithm: str = RSA,
    client: str = "",
    domain: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> Key[None]:
    return Key(KeyEntry(selector, "f", client, domain, since, until), algorithm, None)


CHOICES = [
    ("no key", [], []),
    ("one for all", [key("a")], ["a"]),
    ("RSA first, whatever the order", [key("e", ED25519), key("r")], ["r", "e"]),
    ("Ed25519 alone", [key("e", ED25519)], ["e"]),
    ("not before its time", [key("a", since=NOW + HOUR)], []),
    ("from its time on", [key("a", since=NOW)], ["a"]),
    ("not after its time", [key("a", until=NOW)], []),
    ("the newest active one", [key("b", since=NOW - HOUR), key("a")], ["b"]),
    ("the old one until the new one is active", [key("a"), key("b", since=NOW + HOUR)], ["a"]),
    (
        "the older one after the newer one has ended",
        [key("a"), key("b", since=NOW - HOUR, until=NOW)],
        ["a"],
    ),
    ("of two alike, the later line", [key("a"), key("b")], ["b"]),
    (
        "each algorithm has its own newest key",
        [key("r", since=NOW - HOUR), key("r0"), key("e", ED25519), key("e2", ED25519, since=NOW)],
        ["r", "e2"],
    ),
    (
        "client and domain before client before domain before all",
        [
            key("all"),
            key("domain", domain="d.example"),
            key("client", client="shop"),
            key("both", client="shop", domain="d.example"),
        ],
        ["both"],
    ),
    ("client before domain", [key("d", domain="d.example"), key("c", client="shop")], ["c"]),
    ("domain before all", [key("all"), key("d", domain="d.example")], ["d"]),
    (
        "scopes are not mixed: the closest one has no Ed25519 key",
        [key("all", ED25519), key("c", client="shop")],
        ["c"],
    ),
    (
        "a scope without an active key is passed over",
        [key("all"), key("c", client="shop", since=NOW + HOUR)],
        ["all"],
    ),
    (
        "keys of others sign nothing",
        [key("o", client="other"), key("e", domain="e.example")],
        [],
    ),
]


@pytest.mark.parametrize(
    ("keys", "expected"), [case[1:] for case in CHOICES], ids=[case[0] for case in CHOICES]
)
def test_the_keys_of_a_message(keys: list[Key[None]], expected: list[str]) -> None:
    chosen = KeyIndex(keys).choose("shop", "d.example", NOW_S)
    assert [found.entry.selector for found in chosen] == expected

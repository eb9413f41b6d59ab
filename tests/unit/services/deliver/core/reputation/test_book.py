"""The counts of clients at providers, and the orders that follow from them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.reputation.book import AUTHOR, Book
from services.deliver.core.reputation.facts import Fact, Result, fact_of
from services.deliver.core.reputation.ratios import Kind, thresholds_of
from services.deliver.core.shaping.limits import Ratio, parse_ratio
from services.deliver.core.shaping.parsing import ShapingFaults, combine, parse_file
from shared.topics.codec import encode_event
from shared.topics.control import Scope, Verb, decode_order, encode_order
from shared.topics.records import EventType, MailEvent
from shared.topics.reputation import (
    SLOT_MS,
    ClientState,
    decode_state,
    encode_state,
)

NOW = 1_800_000_000_000
HOUR = 3_600_000
RATIOS = """
[ratios]
bounces = "10% of 100 in 24h"
complaints = "1% of 100 in 24h"
policy = "50% of 100 in 1h"
suspend = "6h"
"""
RULES = combine([parse_file(RATIOS, "shipped")])


def fact(result: Result, client: str = "shop", at_ms: int = NOW, provider: str = "google") -> Fact:
    return Fact(result, client, "a@r.example", provider, "192.0.2.1", "marketing", at_ms)


def book(*results: tuple[Result, int], at_ms: int = NOW, client: str = "shop") -> Book:
    found = Book(RULES, {}, [])
    for result, number in results:
        found.count([fact(result, client, at_ms)] * number, NOW)
    return found


def none(_scope: Scope) -> bool:
    return False


D, B, C, P = Result.DELIVERED, Result.BOUNCED, Result.COMPLAINED, Result.BLOCKED


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([(D, 90), (B, 10)], ""),  # 10 % is not more than 10 %
        ([(D, 89), (B, 11)], "bounces: 11 of 100 (11.00%), over 10% of 100 in 1d"),
        ([(D, 50), (B, 49)], ""),  # fewer than 100 messages
        ([(D, 100), (C, 1)], ""),
        ([(D, 100), (C, 2)], "complaints: 2 of 100 (2.00%), over 1% of 100 in 1d"),
        ([(D, 40), (P, 60)], "policy: 60 of 100 (60.00%), over 50% of 100 in 1h"),
        ([(P, 99)], ""),
    ],
)
def test_a_client_over_a_threshold_is_suspended_at_that_provider(
    results: list[tuple[Result, int]], reason: str
) -> None:
    orders = book(*results).judge(none, NOW)
    assert [each.reason for each in orders] == ([reason] if reason else [])
    for order in orders:
        assert (order.verb, order.author) == (Verb.SUSPEND, AUTHOR)
        assert order.scope == Scope(client="shop", provider="google")
        assert order.expires_at_ms == NOW + 6 * HOUR
        assert decode_order(*encode_order(order)) == order


def test_it_does_not_come_back_by_the_same_counts() -> None:
    one = book((D, 50), (B, 60))
    assert len(one.judge(none, NOW)) == 1
    one.count([fact(B, at_ms=NOW - 1)] * 200, NOW)
    assert not one.judge(none, NOW + 1), "what happened before it does not count"
    one.count([fact(B, at_ms=NOW + HOUR)] * 99, NOW + HOUR)
    assert not one.judge(none, NOW + HOUR), "the least number has to be reached again"
    one.count([fact(B, at_ms=NOW + HOUR)], NOW + HOUR)
    assert len(one.judge(none, NOW + HOUR)) == 1


def test_an_order_of_a_person_is_not_replaced() -> None:
    one = book((B, 200))
    scope = Scope(client="shop", provider="google")
    assert not one.judge(lambda each: each == scope, NOW)
    assert len(one.judge(none, NOW)) == 1


def test_a_window_forgets_what_is_older() -> None:
    old = NOW - 25 * HOUR
    one = book((B, 200), at_ms=old)
    assert not one.judge(none, NOW)
    later = NOW + 50 * HOUR
    one.judge(none, later)
    assert not one.clients, "nothing of it counts any more"
    assert one.take_changed() == {b"client/shop/google": None}


def test_a_result_of_the_future_counts_now() -> None:
    one = book((B, 200), at_ms=NOW + 10**12)
    (state,) = one.clients.values()
    assert [slot.number for slot in state.slots] == [NOW // SLOT_MS]


def test_what_has_no_provider_is_no_clients() -> None:
    one = Book(RULES, {}, [])
    one.count([fact(B, provider="")] * 500, NOW)
    assert not one.clients


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Result)), st.sampled_from(["shop", "bank"]), st.booleans()),
        max_size=400,
    ),
    st.integers(1, 50),
)
def test_restarts_at_any_place_change_nothing_and_no_client_pays_for_another(
    rows: list[tuple[Result, str, bool]], size: int
) -> None:
    facts = [
        fact(result, client, NOW - 3 * HOUR * is_old, "google") for result, client, is_old in rows
    ]
    whole = Book(RULES, {}, [])
    whole.count(facts, NOW)
    stored: dict[bytes, bytes] = {}
    for first in range(0, len(facts), size):
        states = [decode_state(key, value) for key, value in stored.items()]
        part = Book(RULES, {}, [state for state in states if state is not None])
        part.count(facts[first : first + size], NOW)
        for state in part.take_changed().values():
            assert state is not None
            key, value = encode_state(state)
            stored[key] = value
    final = [decode_state(key, value) for key, value in stored.items()]
    assert {state.client: state for state in final if isinstance(state, ClientState)} == {
        client: state for (client, _), state in whole.clients.items()
    }
    alone = Book(RULES, {}, [])
    alone.count([each for each in facts if each.client == "shop"], NOW)
    together = [each for each in whole.judge(none, NOW) if each.scope.client == "shop"]
    assert alone.judge(none, NOW) == together


@pytest.mark.parametrize(
    ("text", "client", "mail_class", "provider", "expected"),
    [
        ("", "shop", "marketing", "google", "10% of 100 in 1d"),
        ("[ratios]\nbounces = '5% of 9 in 2h'", "shop", "marketing", "google", "5% of 9 in 2h"),
        ("[ratios.provider.google]\nbounces = 'off'", "shop", "marketing", "google", None),
        (
            "[ratios.provider.google]\nbounces = 'off'",
            "shop",
            "marketing",
            "gmx",
            "10% of 100 in 1d",
        ),
        ("[ratios.class.transactional]\nbounces='off'", "shop", "transactional", "google", None),
        ("[ratios.client.shop]\nbounces = '7% of 1 in h'", "shop", "", "google", "7% of 1 in 1h"),
        ("[ratios.client.shop.provider.gmx]\nbounces='off'", "shop", "", "gmx", None),
        ("[ratios.client.shop.provider.gmx]\nbounces='off'", "bank", "", "gmx", "10% of 100 in 1d"),
    ],
)
def test_the_thresholds_of_a_client_at_a_provider(
    text: str, client: str, mail_class: str, provider: str, expected: str | None
) -> None:
    rules = combine([parse_file(RATIOS, "shipped"), parse_file(text, "own")])
    found = thresholds_of(rules, client, mail_class, provider).ratios.get(Kind.BOUNCES)
    assert (None if found is None else str(found)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "10% of 500",
        "101% of 5 in 1d",
        "1% of 0 in 1d",
        "1% of 5 in 49h",
        "1% of 5 in 30min",
        "10 in 24h",
        "-1% of 5 in 1d",
    ],
)
def test_a_bad_ratio_says_what_is_expected(text: str) -> None:
    with pytest.raises(ShapingFaults, match=r"ratios.bounces: found .*, expected"):
        parse_file(f"[ratios]\nbounces = '{text}'", "own")
    assert parse_ratio("0.3% of 5000 in 24h") == Ratio(0.003, 5000, 86_400)


@pytest.mark.parametrize(
    ("kind", "bounce_class", "result"),
    [
        (EventType.DELIVERED, "", D),
        (EventType.BOUNCED, "hard", B),
        (EventType.BOUNCED, "soft", B),
        (EventType.BOUNCED, "policy", P),
        (EventType.BOUNCED, "authentication", P),
        (EventType.BOUNCED, "", None),  # by an operator
        (EventType.DEFERRED, "policy", P),
        (EventType.DEFERRED, "soft", None),
        (EventType.DEFERRED, "", None),
        (EventType.COMPLAINED, "", C),
        (EventType.REFUSED, "", None),
        (EventType.EXPIRED, "network", None),
    ],
)
def test_what_an_event_says(kind: EventType, bounce_class: str, result: Result | None) -> None:
    data = MailEvent("shop", recipient="a@r.example", bounce_class=bounce_class, provider="google")
    _, value, headers = encode_event(kind, "M1", data, "deliver")

    class Record(msgspec.Struct):
        headers: list[tuple[str, bytes]]
        value: bytes | None
        key: bytes | None = b"M1"

    found = fact_of(Record(headers, value))
    assert (found.result if found else None) == result
    if result is not None:
        with pytest.raises(ValueError, match="truncated"):
            fact_of(Record(headers, b"{"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"client/shop/google", b"{"),
        (b"client/shop/gmx", b'{"client": "shop", "provider": "google"}'),
        (b"client/shop/google", b'{"client": "shop", "provider": "google", "slots": [[-1, 1]]}'),
        (b"warmup/mx3/google", b'{"source": "mx3", "provider": "google", "step": -1}'),
        (b"place", b'{"log": "x", "offsets": {"a": 1}}'),
    ],
)
def test_a_record_of_another_program_is_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="reputation"):
        decode_state(key, value)
    assert decode_state(b"later/kind", b"{}") is None

"""What counts against a recipient, and when it gets no more mail."""

from __future__ import annotations

import pytest
from msgspec import Struct
from msgspec.structs import replace

from shared.responses.counting.counting import (
    MAX_DELIVERED,
    MAX_PAST,
    NO_BOUNCES,
    BounceCounter,
    Limits,
    advance,
    decode_counter,
    encode_counter,
    entry_after,
)
from shared.responses.counting.facts import Fact, FactKind, fact_of
from shared.topics.codec import Headers, encode_event, encode_tally
from shared.topics.event_records import Tally
from shared.topics.records import EventType, MailEvent
from shared.topics.suppressions import SuppressionReason

HARD, SOFT, DELIVERED = FactKind.HARD, FactKind.SOFT, FactKind.DELIVERED
OTHER = FactKind.OTHER
LIMITS = Limits(3, 5)


def fact(kind: FactKind, mail_id: str) -> Fact:
    return Fact(kind, "shop", "b@example.com", mail_id)


def counted(history: str) -> tuple[BounceCounter, list[str]]:
    """The counter after a history such as `h1 s2 d3`, and the reasons of the entries."""
    counter, reasons = NO_BOUNCES, []
    kinds = {"h": HARD, "s": SOFT, "d": DELIVERED, "c": FactKind.COMPLAINED}
    kinds["u"] = FactKind.UNSUBSCRIBED
    for word in history.split():
        one = fact(kinds[word[0]], word[1:])
        before, counter = counter, advance(counter, one)
        found = entry_after(before, counter, one, LIMITS, 7)
        reasons += [found.reason.value] if found else []
    return counter, reasons


@pytest.mark.parametrize(
    ("history", "hard", "soft", "reasons"),
    [
        ("", 0, 0, []),
        ("h1 h2", 2, 0, []),
        ("h1 h2 h3", 3, 0, ["hard_bounces"]),
        ("h1 h2 h3 h4", 4, 0, ["hard_bounces"] * 2),
        ("h1 h1 h1", 1, 0, []),
        ("h1 d2 h3 d4 h5", 3, 0, ["hard_bounces"]),
        ("s1 s2 s3 s4", 0, 4, []),
        ("s1 s2 s3 s4 s5", 0, 5, ["soft_bounces"]),
        ("s1 s2 s3 s4 d5 s6", 0, 1, []),
        ("s1 s2 s3 s4 s4 s1", 0, 4, []),
        ("s1 s2 d3 s1 s2", 0, 0, []),
        ("s1 h1", 1, 0, []),
        ("h1 s1", 1, 0, []),
        ("h1 h2 s3 h3", 3, 0, ["hard_bounces"]),
        # Taken with a 250, and returned later.
        ("d1 h1 d2 h2 d3 h3", 3, 0, ["hard_bounces"]),
        ("d1 s1 d2 s2 d3 s3", 0, 3, []),
        ("d1 s1 d2 s2 d3 s3 d4 s4 d5 s5", 0, 5, ["soft_bounces"]),
        ("d1 d2 d3 d4 d5 s1 s2 s3 s4 s5", 0, 5, ["soft_bounces"]),
        ("s1 d2 d3 s3 s2", 0, 3, []),
        ("s1 d2 d3 s2", 0, 0, []),
        ("s1 d2 d3 s2 s4", 0, 1, []),
        ("s1 d2 s3 s2", 0, 3, []),
        ("s1 d2 s3 d4 s2", 0, 1, []),
        ("s1 d2 h2 s3", 1, 2, []),
        ("s1 d1 s2 d2", 0, 2, []),
        ("s1 d2 s2 s2 s1", 0, 2, []),
        ("s1 s2 s3 s4 d5 s5 d6", 0, 0, ["soft_bounces"]),
        ("d1 d2", 0, 0, []),
        ("c1", 0, 0, ["complaint"]),
        ("u1", 0, 0, ["unsubscribed"]),
        ("h1 h2 h3 h3", 3, 0, ["hard_bounces"]),
    ],
)
def test_a_history_leads_to_its_counts_and_entries(
    history: str, hard: int, soft: int, reasons: list[str]
) -> None:
    counter, found = counted(history)
    assert (len(counter.hard), len(counter.soft), found) == (hard, soft, reasons)


def test_an_entry_names_its_message_its_count_and_its_time() -> None:
    one = fact(HARD, "m3")
    counter, _ = counted("h1 h2")
    entry = entry_after(counter, advance(counter, one), one, LIMITS, 7)
    assert entry is not None
    assert (entry.client, entry.recipient, entry.reason) == (
        "shop",
        "b@example.com",
        SuppressionReason.HARD_BOUNCES,
    )
    assert (entry.mail_id, entry.count, entry.at_ms, entry.active) == ("m3", 3, 7, True)


def test_what_is_remembered_of_earlier_soft_bounces_is_bounded() -> None:
    counter, _ = counted(" ".join(f"s{n} d{n + 1000}" for n in range(MAX_PAST + 9)))
    assert len(counter.past) == MAX_PAST
    counter, _ = counted("s1 " + " ".join(f"d{n}" for n in range(2, 90)))
    assert len(counter.delivered) <= MAX_DELIVERED
    assert len(counter.past) == 1


@pytest.mark.parametrize("history", ["", "h1", "s1 s2 d3 s4 h5"])
def test_a_counter_is_read_as_it_was_written(history: str) -> None:
    counter, _ = counted(history)
    assert decode_counter(encode_counter(counter)) == counter


def test_a_counter_without_bounces_takes_no_space() -> None:
    assert encode_counter(NO_BOUNCES) == b""


class Stored(Struct):
    headers: Headers
    value: bytes | None
    key: bytes | None = b"mail-1"


def stored(kind: EventType, bounce_class: str = "", recipient: str = "B@Example.com") -> Stored:
    data = MailEvent("shop", recipient=recipient, bounce_class=bounce_class)
    _, value, headers = encode_event(kind, "mail-1", data, "deliver")
    return Stored(headers, value)


def at_its_domain(kind: FactKind) -> Fact:
    return replace(fact(kind, "mail-1"), provider="example.com")


@pytest.mark.parametrize(
    ("kind", "bounce_class", "wanted"),
    [
        (EventType.BOUNCED, "hard", HARD),
        (EventType.BOUNCED, "soft", SOFT),
        *((EventType.BOUNCED, each, OTHER) for each in ("policy", "content", "", "new")),
        *((EventType.BOUNCED, each, OTHER) for each in ("authentication", "network")),
        (EventType.EXPIRED, "soft", SOFT),
        (EventType.EXPIRED, "network", OTHER),
        (EventType.RETURNED, "hard", HARD),
        (EventType.RETURNED, "policy", None),
        (EventType.DEFERRED, "hard", None),
        (EventType.DELIVERED, "", DELIVERED),
        (EventType.COMPLAINED, "", FactKind.COMPLAINED),
        (EventType.UNSUBSCRIBED, "", FactKind.UNSUBSCRIBED),
        (EventType.SUPPRESSED, "", None),
        (EventType.REFUSED, "", None),
        (EventType.IN_DOUBT, "soft", None),
    ],
)
def test_an_event_says_what_it_says_about_its_recipient(
    kind: EventType, bounce_class: str, wanted: FactKind | None
) -> None:
    found = fact_of(stored(kind, bounce_class))
    assert found == (None if wanted is None else at_its_domain(wanted))


def test_the_type_of_an_event_is_found_in_any_header() -> None:
    one = stored(EventType.BOUNCED, "hard")
    one.headers.reverse()
    assert fact_of(one) == at_its_domain(HARD)


def test_an_event_without_an_address_and_a_tally_say_nothing() -> None:
    assert fact_of(stored(EventType.BOUNCED, "hard", "nobody")) is None
    _, value, headers = encode_tally(Tally("validate", 1), "t")
    assert fact_of(Stored(headers, value)) is None
    assert fact_of(Stored([], None)) is None


@pytest.mark.parametrize("value", [None, b"", b"{", b'{"client":1}', b"[" * 100_000])
def test_an_event_that_cannot_be_read_is_an_error(value: bytes | None) -> None:
    one = stored(EventType.BOUNCED, "hard")
    with pytest.raises(ValueError, match=r"\w"):
        fact_of(Stored(one.headers, value))


def test_the_provider_of_an_event_is_the_one_that_deliver_named_or_else_the_domain() -> None:
    data = MailEvent(
        "shop", recipient="b@Example.com", bounce_class="hard", enhanced="5.1.1", provider="google"
    )
    _, value, headers = encode_event(EventType.BOUNCED, "mail-1", data, "deliver")
    found = fact_of(Stored(headers, value))
    assert found is not None
    assert (found.provider, found.status) == ("google", "5.1.1")

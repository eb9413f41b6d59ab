"""One batch of the merged log: what is read, which counters change, which entries follow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from shared.responses.counting.batch import Counted, CountingRules, Judging, count_batch, read_batch
from shared.responses.counting.counting import NO_BOUNCES, Limits
from shared.responses.counting.facts import Fact, FactKind
from shared.responses.counting.incidents import IncidentPolicy
from shared.responses.counting.merging import Merged, Source, decode_place, encode_place
from shared.topics.codec import encode_event
from shared.topics.names import EVENTS, SUPPRESSIONS
from shared.topics.records import EventType, MailEvent
from shared.topics.suppressions import (
    CounterReset,
    Suppression,
    SuppressionReason,
    encode_suppression,
    field_of,
)

EVENT_LOG, RESETS = Source(EVENTS, 0), Source(SUPPRESSIONS, 0)
WHO = "anna@r.example"
FIELD = field_of("shop", WHO)
LIMITS = {"shop": Limits(2, 2)}


class Stored(Struct):
    """A record as it is read."""

    offset: int
    value: bytes | None
    headers: list[tuple[str, bytes]] = []
    key: bytes | None = None
    timestamp: int = 0


def event(
    kind: EventType, offset: int, bounce_class: str = "", client: str = "shop", who: str = WHO
) -> Merged:
    data = MailEvent(client, recipient=who, bounce_class=bounce_class, enhanced="5.1.1")
    key, value, headers = encode_event(kind, f"M{offset}", data, "deliver")
    # As the reader of mail.events gives them out: no header after the type.
    return Merged(offset, EVENT_LOG, Stored(offset, value, list(headers[:3]), key))


def hard(offset: int, client: str = "shop", who: str = WHO) -> Merged:
    return event(EventType.BOUNCED, offset, "hard", client, who)


def reset(offset: int, who: str = WHO) -> Merged:
    _, value = encode_suppression(CounterReset("shop", who))
    return Merged(offset, RESETS, Stored(offset, value))


def counted(*batch: Merged, done: int = 0, judging: Judging | None = None) -> Counted:
    return count_batch(
        read_batch(batch).steps, {}, {EVENT_LOG: done}, LIMITS.get, judging or Judging()
    )


@pytest.mark.parametrize(
    ("kind", "bounce_class", "found", "needs_counter"),
    [
        (EventType.BOUNCED, "hard", FactKind.HARD, True),
        (EventType.EXPIRED, "soft", FactKind.SOFT, True),
        (EventType.DELIVERED, "", FactKind.DELIVERED, True),
        (EventType.COMPLAINED, "", FactKind.COMPLAINED, False),
        (EventType.UNSUBSCRIBED, "", FactKind.UNSUBSCRIBED, False),
        (EventType.BOUNCED, "policy", FactKind.OTHER, False),
        (EventType.RETURNED, "policy", None, False),
        (EventType.DEFERRED, "soft", None, False),
    ],
)
def test_what_is_read_of_an_event_and_whether_its_counter_is_needed(
    kind: EventType, bounce_class: str, found: FactKind | None, needs_counter: bool
) -> None:
    read = read_batch([event(kind, 7, bounce_class)])
    assert [step.what.kind for step in read.steps if isinstance(step.what, Fact)] == (
        [found] if found else []
    )
    assert [(step.at_ms, step.source, step.offset) for step in read.steps] == (
        [(7, EVENT_LOG, 7)] if found else []
    )
    assert read.fields() == ([FIELD] if needs_counter else [])


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b'{"client": 1}', b"[" * 100_000])
def test_an_event_that_cannot_be_read_is_counted_and_stops_nothing(value: bytes | None) -> None:
    broken = Merged(1, EVENT_LOG, Stored(1, value, hard(1).record.headers))
    read = read_batch([hard(0), broken, hard(2)])
    assert (len(read.steps), read.unreadable) == (2, 1)


def test_of_the_suppressions_only_resets_are_read() -> None:
    added = Suppression("shop", SuppressionReason.COMPLAINT, WHO, at_ms=1, author="anna")
    others = [encode_suppression(added)[1], None, b"{", b"[]"]
    batch = [Merged(at, RESETS, Stored(at, value)) for at, value in enumerate(others)]
    read = read_batch([*batch, reset(9)])
    assert [(step.what, step.field) for step in read.steps] == [(CounterReset("shop", WHO), FIELD)]
    assert read.unreadable == 0, "the follower of the suppressions reports them"


def test_fields_come_once_and_records_of_the_events_topic_may_be_of_another_name() -> None:
    batch = [hard(0), hard(1), reset(2), hard(3, who="ben@r.example")]
    assert read_batch(batch).fields() == [FIELD, field_of("shop", "ben@r.example")]
    foreign = [each._replace(source=Source("other.events", 0)) for each in batch[:2]]
    assert len(read_batch(foreign, "other.events").steps) == 2


def test_an_entry_follows_at_the_limit_and_not_before() -> None:
    assert counted(hard(0)).entries == []
    (entry,) = counted(hard(0), hard(1)).entries
    assert (entry.client, entry.recipient, entry.reason) == ("shop", WHO, "hard_bounces")
    assert (entry.count, entry.at_ms, entry.mail_id) == (2, 1, "M1")


def test_no_entry_is_written_again_for_records_that_were_counted_before() -> None:
    again = counted(hard(0), hard(1), done=2)
    assert again.entries == []
    assert again.counters == counted(hard(0), hard(1)).counters
    assert len(counted(hard(0), hard(1), hard(2), done=2).entries) == 1


def test_a_client_that_is_not_registered_gets_counters_and_no_entries() -> None:
    found = counted(hard(0, "gone"), hard(1, "gone"))
    assert found.entries == []
    assert len(found.counters[field_of("gone", WHO)].hard) == 2


def test_a_reset_empties_the_counter_and_the_next_bounces_start_again() -> None:
    found = counted(hard(0), reset(1), hard(2))
    assert (len(found.counters[FIELD].hard), found.entries) == (1, [])
    assert counted(hard(0), reset(1)).counters == {FIELD: NO_BOUNCES}
    assert counted(reset(0)).counters == {}, "there was nothing to change"


def test_a_complaint_is_an_entry_without_a_counter() -> None:
    found = counted(event(EventType.COMPLAINED, 0))
    assert [each.reason for each in found.entries] == [SuppressionReason.COMPLAINT]
    assert found.counters == {}


def test_bounces_of_an_incident_are_held_counted_by_status_and_only_once() -> None:
    judging = Judging(CountingRules(IncidentPolicy(least=2, percent=10, window_ms=1_000)))
    spike = [hard(at, who=f"r{at}@r.example") for at in range(6)]
    found = counted(*spike, judging=judging)
    assert found.held == {("r.example", "5.1.1"): 5}
    assert len(found.counters) == 1, "what came before the incident opened"
    assert counted(*spike, done=4, judging=judging).held == {("r.example", "5.1.1"): 2}
    assert not judging.incidents.providers, "what was given is not changed"


OFFSETS = st.dictionaries(
    st.builds(Source, st.text(st.sampled_from("ab./-"), min_size=1), st.integers(0, 999)),
    st.integers(0, 2**62),
)


@given(OFFSETS)
def test_a_place_is_read_as_it_was_written_and_equal_places_are_equal_texts(
    offsets: dict[Source, int],
) -> None:
    text = encode_place(offsets)
    assert decode_place(text) == offsets
    assert encode_place(dict(reversed(offsets.items()))) == text
    assert decode_place("") == {}

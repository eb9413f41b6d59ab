"""The ledger checker finds every kind of fault it defines, and none in a clean run."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shared.topics.event_records import TallyRow
from shared.topics.records import Event, EventType, MailEvent
from tests.support.chaos.evidence import BillRow, Evidence, Promise, SinkLine
from tests.support.chaos.findings import Kind
from tests.support.chaos.ledger import check

CELL = ("acme", "news", "north")


def promise(name: str, expected: EventType = EventType.DELIVERED) -> Promise:
    return Promise(f"{name}@x.example", f"{name}@r.example", *CELL, expected=expected)


def event(name: str, word: EventType, first_dispatch: bool = False, mail_id: str = "") -> Event:
    data = MailEvent(
        *CELL, message_id=f"{name}@x.example", first_dispatch=first_dispatch, attempt=1
    )
    return Event(f"{name}-{word}", word, mail_id or f"MAIL-{name}", data)


def sink(name: str, verdict: str, message_id: bool = True) -> SinkLine:
    return SinkLine(verdict, f"{name}@r.example", message_id=f"{name}@x.example" * message_id)


CLEAN = Evidence(
    promises=(
        promise("ok"),
        promise("again"),
        promise("gone", EventType.BOUNCED),
        promise("bad", EventType.REFUSED),
        promise("blocked", EventType.SUPPRESSED),
    ),
    sink=(
        sink("ok", "accepted"),
        sink("again", "deferred"),
        sink("again", "accepted"),
        sink("gone", "bounced", message_id=False),
    ),
    events=(
        event("ok", EventType.DELIVERED, first_dispatch=True),
        event("again", EventType.DEFERRED, first_dispatch=True),
        event("again", EventType.DELIVERED),
        event("gone", EventType.BOUNCED, first_dispatch=True),
        event("bad", EventType.REFUSED),
        event("blocked", EventType.SUPPRESSED),
    ),
    tallies=(TallyRow("acme", "news", "north", 3), TallyRow("acme", "news", "north", 2)),
    bill=(BillRow("acme", "news", "north", 3),),
)


def without_events(*ids: str) -> Evidence:
    return replace(CLEAN, events=tuple(e for e in CLEAN.events if e.id not in ids))


def with_events(*more: Event) -> Evidence:
    return replace(CLEAN, events=CLEAN.events + more)


def with_sink(*more: SinkLine) -> Evidence:
    return replace(CLEAN, sink=CLEAN.sink + more)


FAULTY: dict[str, tuple[Evidence, set[Kind]]] = {
    "a promise without a final event": (
        without_events("bad-refused"),
        {Kind.LOST, Kind.CONSERVATION},
    ),
    "an unread message known to nobody": (
        replace(CLEAN, promises=(*CLEAN.promises, promise("never-read"))),
        {Kind.LOST},
    ),
    "a deferral is not a final event": (
        without_events("again-delivered"),
        {Kind.LOST, Kind.CONSERVATION},
    ),
    "delivered, but not at the sink": (
        replace(CLEAN, sink=CLEAN.sink[1:]),
        {Kind.UNDELIVERED, Kind.BILL, Kind.DISPATCH_EVENTS},
    ),
    "delivered, but the sink only deferred": (
        replace(
            CLEAN, sink=tuple(line for line in CLEAN.sink if line != sink("again", "accepted"))
        ),
        {Kind.UNDELIVERED},
    ),
    "bounced, but the sink took it": (with_sink(sink("gone", "accepted")), {Kind.DENIED}),
    "the same final event twice": (
        with_events(event("ok", EventType.DELIVERED)),
        {Kind.DOUBLED_FINAL, Kind.CONSERVATION},
    ),
    "two different final events": (
        with_events(event("ok", EventType.BOUNCED)),
        {Kind.DOUBLED_FINAL, Kind.WRONG_FATE, Kind.CONSERVATION},
    ),
    "one record became two mails": (
        with_events(event("ok", EventType.DELIVERED, mail_id="MAIL-other")),
        {Kind.TWO_MAIL_IDS, Kind.CONSERVATION},
    ),
    "cancelled, though promised": (
        replace(
            with_events(event("never", EventType.CANCELLED)),
            promises=(*CLEAN.promises, promise("never")),
            tallies=(*CLEAN.tallies, TallyRow("acme", "news", "north", 1)),
        ),
        {Kind.LOST},
    ),
    "cancelled and delivered under one mail id": (
        with_events(event("ok", EventType.CANCELLED)),
        {Kind.DOUBLED_FINAL, Kind.CONSERVATION},
    ),
    "a final event without a promise": (
        with_events(event("ghost", EventType.REFUSED)),
        {Kind.UNPROMISED_EVENT, Kind.CONSERVATION},
    ),
    "a copy without a promise": (with_sink(sink("ghost", "accepted")), {Kind.UNPROMISED_COPY}),
    "another fate than the recipient decides": (
        replace(CLEAN, promises=(promise("ok", EventType.BOUNCED), *CLEAN.promises[1:])),
        {Kind.WRONG_FATE},
    ),
    "refused, but sent": (
        with_sink(sink("bad", "accepted")),
        {Kind.SENT_THOUGH_REFUSED, Kind.BILL, Kind.DISPATCH_EVENTS},
    ),
    "suppressed, but sent and bounced": (
        with_sink(sink("blocked", "bounced", message_id=False)),
        {Kind.SENT_THOUGH_REFUSED, Kind.BILL, Kind.DISPATCH_EVENTS},
    ),
    "a second copy": (with_sink(sink("ok", "accepted")), {Kind.TOO_MANY_COPIES}),
    "first dispatch told twice": (
        with_events(event("again", EventType.DEFERRED, first_dispatch=True)),
        {Kind.DOUBLED_DISPATCH},
    ),
    "dispatched, but no event says so": (
        replace(CLEAN, events=(event("ok", EventType.DELIVERED), *CLEAN.events[1:])),
        {Kind.DISPATCH_EVENTS},
    ),
    "billed too much": (
        replace(CLEAN, bill=(BillRow("acme", "news", "north", 4),)),
        {Kind.BILL},
    ),
    "billed too little": (replace(CLEAN, bill=()), {Kind.BILL}),
    "billed to the wrong sub-client": (
        replace(
            CLEAN,
            bill=(BillRow("acme", "news", "north", 2), BillRow("acme", "news", "south", 1)),
        ),
        {Kind.BILL},
    ),
    "received more than ended": (
        replace(CLEAN, tallies=(*CLEAN.tallies, TallyRow("acme", "news", "north", 1))),
        {Kind.CONSERVATION},
    ),
    "a tally is missing": (replace(CLEAN, tallies=CLEAN.tallies[:1]), {Kind.CONSERVATION}),
}


def test_a_clean_run_has_no_findings() -> None:
    findings = check(CLEAN)
    assert findings.clean, findings.explain()
    counts = findings.counts
    assert (counts.promised, counts.accepted, counts.dispatched, counts.billed) == (5, 2, 3, 3)
    assert counts.finals == {"bounced": 1, "delivered": 2, "refused": 1, "suppressed": 1}
    assert counts.second_copies == 0


@pytest.mark.parametrize("name", FAULTY)
def test_each_kind_of_fault_is_found_and_no_other(name: str) -> None:
    evidence, expected = FAULTY[name]
    findings = check(evidence)
    assert findings.kinds() == expected, findings.explain()
    assert not findings.clean


def test_an_event_counted_elsewhere_is_found() -> None:
    moved = replace(CLEAN.events[0], data=replace(CLEAN.events[0].data, sub_client="south"))
    findings = check(replace(CLEAN, events=(moved, *CLEAN.events[1:])))
    assert findings.kinds() == {Kind.WRONG_CELL, Kind.CONSERVATION}


def test_every_kind_of_fault_has_a_case_that_shows_it() -> None:
    shown = set().union(*(kinds for _, kinds in FAULTY.values())) | {Kind.WRONG_CELL}
    assert shown == set(Kind)


def test_second_copies_up_to_the_bound_are_allowed_and_counted() -> None:
    evidence = with_sink(sink("ok", "accepted"), sink("ok", "accepted"))
    assert check(evidence, copies_bound=2).clean
    assert check(evidence, copies_bound=2).counts.second_copies == 2
    assert check(evidence, copies_bound=1).kinds() == {Kind.TOO_MANY_COPIES}


@pytest.mark.parametrize("name", ["ok", "given-up"])
def test_what_was_cancelled_may_be_handed_in_again_or_never(name: str) -> None:
    cancelled = event(name, EventType.CANCELLED, mail_id="MAIL-cancelled")
    evidence = replace(
        with_events(cancelled), tallies=(*CLEAN.tallies, TallyRow("acme", "news", "north", 1))
    )
    assert check(evidence).clean, check(evidence).explain()
    assert check(evidence).counts.finals["cancelled"] == 1
    assert check(with_events(cancelled)).kinds() == {Kind.CONSERVATION}


def test_a_message_handed_in_twice_may_become_two_mails() -> None:
    twice = replace(CLEAN.promises[0], maybe_twice=True, offset=7)
    once = replace(CLEAN, promises=(twice, *CLEAN.promises[1:]))
    assert check(once).clean, check(once).explain()
    other = event("ok", EventType.DELIVERED, first_dispatch=True, mail_id="MAIL-other")
    both = Evidence(
        promises=once.promises,
        sink=(*CLEAN.sink, sink("ok", "accepted")),
        events=(*CLEAN.events, other),
        tallies=(*CLEAN.tallies, TallyRow("acme", "news", "north", 1)),
        bill=(BillRow("acme", "news", "north", 4),),
    )
    assert check(both).clean, check(both).explain()
    assert check(replace(both, bill=CLEAN.bill)).kinds() == {Kind.BILL}


def test_a_dropped_answer_counts_as_dispatched_but_not_as_accepted() -> None:
    evidence = replace(CLEAN, sink=(sink("ok", "dropped"), *CLEAN.sink))
    assert check(evidence).clean
    assert check(replace(evidence, sink=(sink("ok", "dropped"), *CLEAN.sink[1:]))).kinds() == {
        Kind.UNDELIVERED
    }


def test_the_explanation_names_the_kind_and_a_few_examples_only() -> None:
    lost = tuple(promise(f"lost-{n}") for n in range(50))
    text = check(replace(CLEAN, promises=CLEAN.promises + lost)).explain()
    assert "LOST x50" in text
    assert text.count("lost-") == 2 * 5  # with the key and recipient of message five

"""The ledger checker: compares promises and results, message by message.

Job: compare four independent accounts of one run (the injector's acknowledgements, the sink's
journal, the final events, the bill) and report every difference. Pure: evidence
in, findings out; tests/unit/support/test_ledger_checker.py shows that each kind of fault is found.

Owns: when something is a fault. Does not own: the kinds of faults (findings.py), gathering the
evidence (stage.py).

A message that got 451 may be cancelled, and gets another mail id when it is submitted again. So
cancellation is the fate of a mail id, not of the message.

A message is identified by its Message-ID. A sink line that has none (the sink answered before it
saw the header) is matched by its recipient, so a run must use every recipient only once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from shared.topics.records import FINAL, Event, EventType
from tests.support.chaos.evidence import Cell, Evidence, Promise, SinkLine
from tests.support.chaos.findings import Counts, Fault, Findings, Kind

# For each of these outcomes, the sink answered MAIL or RCPT.
ANSWERED: Final = frozenset({"accepted", "deferred", "bounced", "dropped"})
NEVER_SENT: Final = frozenset({EventType.REFUSED, EventType.SUPPRESSED})


class _Sides(Struct):
    """The evidence, indexed by Message-ID."""

    promises: dict[str, Promise]
    sends: Counter[str]  # how often it may have been submitted
    finals: dict[str, list[Event]]
    cancelled: list[Event]  # not final
    answered: dict[str, list[SinkLine]]
    strangers: list[SinkLine]

    def accepted(self, message_id: str) -> int:
        return sum(line.verdict == "accepted" for line in self.answered.get(message_id, ()))


def check(evidence: Evidence, copies_bound: int = 0) -> Findings:
    """Compare the four accounts; `copies_bound` is the number of second copies allowed."""
    sides = _index(evidence)
    faults: list[Fault] = []
    faults += _check_promises(sides)
    faults += _check_finals(sides)
    faults += _check_strangers(sides)
    second_copies = _second_copies(sides)
    if second_copies > copies_bound:
        faults.append(
            Fault(Kind.TOO_MANY_COPIES, "run", f"{second_copies} copies, bound {copies_bound}")
        )
    faults += _check_dispatch_events(evidence, sides)
    faults += _check_bill(evidence, sides)
    faults += _check_conservation(evidence, sides)
    return Findings(tuple(faults), _sum_up(evidence, sides, second_copies))


def _index(evidence: Evidence) -> _Sides:
    promises: dict[str, Promise] = {}
    sends: Counter[str] = Counter()
    for promise in evidence.promises:
        promises[promise.message_id] = promise
        sends[promise.message_id] += 2 if promise.maybe_twice else 1
    by_rcpt = {promise.rcpt.lower(): promise.message_id for promise in evidence.promises}
    finals: dict[str, list[Event]] = defaultdict(list)
    cancelled = [event for event in evidence.events if event.type is EventType.CANCELLED]
    for event in evidence.events:
        if event.type in FINAL and event.type is not EventType.CANCELLED:
            finals[event.data.message_id].append(event)
    answered: dict[str, list[SinkLine]] = defaultdict(list)
    strangers = []
    for line in evidence.sink:
        message_id = line.message_id or by_rcpt.get(line.rcpt.lower(), "")
        if message_id not in promises:
            strangers.append(line)
        elif line.verdict in ANSWERED:
            answered[message_id].append(line)
    return _Sides(promises, sends, dict(finals), cancelled, dict(answered), strangers)


def _check_promises(sides: _Sides) -> Iterator[Fault]:
    for message_id, promise in sides.promises.items():
        finals = sides.finals.get(message_id, [])
        if not finals:
            yield Fault(Kind.LOST, message_id, f"rcpt {promise.rcpt}, {promise.topic}")
            continue
        types = {event.type for event in finals}
        accepted = sides.accepted(message_id)
        if EventType.DELIVERED in types and not accepted:
            yield Fault(Kind.UNDELIVERED, message_id, f"rcpt {promise.rcpt}")
        if accepted and EventType.DELIVERED not in types and not types & NEVER_SENT:
            yield Fault(Kind.DENIED, message_id, f"{sorted(types)}, accepted {accepted} times")
        if types & NEVER_SENT and message_id in sides.answered:
            yield Fault(Kind.SENT_THOUGH_REFUSED, message_id, f"{sorted(types)}")
        if promise.expected is not None and types != {promise.expected}:
            reply = finals[0].data.reply or finals[0].data.reason
            detail = f"expected {promise.expected}, got {sorted(types)} ({reply})"
            yield Fault(Kind.WRONG_FATE, message_id, detail)


def _check_finals(sides: _Sides) -> Iterator[Fault]:
    ended = Counter(event.subject for events in sides.finals.values() for event in events)
    ended.update(event.subject for event in sides.cancelled)
    for event in sides.cancelled:
        if ended[event.subject] > 1:
            detail = f"mail {event.subject} was cancelled and ended {ended[event.subject]} times"
            yield Fault(Kind.DOUBLED_FINAL, event.data.message_id, detail)
    for message_id, events in sides.finals.items():
        promise = sides.promises.get(message_id)
        if promise is None:
            event = events[0]
            yield Fault(Kind.UNPROMISED_EVENT, message_id, f"{event.type} of {event.data.client!r}")
            continue
        by_mail = Counter(event.subject for event in events)
        for mail_id, number in by_mail.items():
            if number > 1:
                words = [str(event.type) for event in events if event.subject == mail_id]
                yield Fault(Kind.DOUBLED_FINAL, message_id, f"mail {mail_id}: {words}")
        if len(by_mail) > sides.sends[message_id]:
            yield Fault(Kind.TWO_MAIL_IDS, message_id, str(sorted(by_mail)))
        for event in events:
            if _cell_of(event) != promise.cell and event.type is not EventType.REFUSED:
                yield Fault(Kind.WRONG_CELL, message_id, f"{_cell_of(event)} for {promise.cell}")


def _check_strangers(sides: _Sides) -> Iterator[Fault]:
    for line in sides.strangers:
        yield Fault(Kind.UNPROMISED_COPY, line.message_id or line.rcpt, f"{line.verdict}")


def _second_copies(sides: _Sides) -> int:
    """Return the number of second copies; a message that was submitted twice may arrive twice."""
    return sum(
        max(0, sides.accepted(message_id) - sides.sends[message_id])
        for message_id in sides.answered
    )


def _check_dispatch_events(evidence: Evidence, sides: _Sides) -> Iterator[Fault]:
    told = Counter(event.subject for event in evidence.events if event.data.first_dispatch)
    for mail_id, number in told.items():
        if number > 1:
            yield Fault(Kind.DOUBLED_DISPATCH, mail_id, f"{number} events")
    told_messages = {e.data.message_id for e in evidence.events if e.data.first_dispatch}
    answered = set(sides.answered)
    for message_id in answered - told_messages:
        yield Fault(Kind.DISPATCH_EVENTS, message_id, "the sink answered, no event says so")
    for message_id in told_messages - answered:
        yield Fault(Kind.DISPATCH_EVENTS, message_id, "an event says so, the sink never answered")


def _check_bill(evidence: Evidence, sides: _Sides) -> Iterator[Fault]:
    """Compare, per cell, the bill with the distinct messages whose MAIL or RCPT the sink answered.

    The sink cannot distinguish two messages with one Message-ID; for these, the events are used.
    """
    mails = Counter(
        message_id
        for message_id, _ in {
            (event.data.message_id, event.subject)
            for event in evidence.events
            if event.data.first_dispatch
        }
    )
    dispatched: Counter[Cell] = Counter()
    for message_id in sides.answered:
        twice = sides.sends[message_id] > 1
        dispatched[sides.promises[message_id].cell] += mails[message_id] if twice else 1
    billed: Counter[Cell] = Counter()
    for row in evidence.bill:
        billed[row.client, row.mailing_id, row.sub_client] += row.count
    for cell in sorted(dispatched.keys() | billed.keys()):
        if dispatched[cell] != billed[cell]:
            detail = f"billed {billed[cell]}, dispatched {dispatched[cell]}"
            yield Fault(Kind.BILL, "/".join(cell), detail)


def _check_conservation(evidence: Evidence, sides: _Sides) -> Iterator[Fault]:
    """Compare, per cell, the tallies of validate with the final events; nothing is in flight."""
    received: Counter[Cell] = Counter()
    for row in evidence.tallies:
        received[row.client, row.mailing_id, row.sub_client] += row.received
    ended = Counter(_cell_of(event) for events in sides.finals.values() for event in events)
    ended.update(_cell_of(event) for event in sides.cancelled)
    for cell in sorted(received.keys() | ended.keys()):
        if received[cell] != ended[cell]:
            detail = f"received {received[cell]}, ended {ended[cell]}"
            yield Fault(Kind.CONSERVATION, "/".join(cell), detail)


def _cell_of(event: Event) -> Cell:
    return event.data.client, event.data.mailing_id, event.data.sub_client


def _sum_up(evidence: Evidence, sides: _Sides, second_copies: int) -> Counts:
    finals = Counter(str(event.type) for events in _own_finals(sides) for event in events)
    finals.update(str(event.type) for event in sides.cancelled)
    return Counts(
        promised=len(sides.promises),
        finals=dict(sorted(finals.items())),
        accepted=sum(sides.accepted(message_id) > 0 for message_id in sides.answered),
        second_copies=second_copies,
        dispatched=len(sides.answered),
        billed=sum(row.count for row in evidence.bill),
    )


def _own_finals(sides: _Sides) -> Iterable[list[Event]]:
    return (sides.finals[key] for key in sides.finals if key in sides.promises)

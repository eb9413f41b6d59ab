"""Compares published messages, events, the bill and the sink's journal. Pure.

The sink's journal is independent of the pipeline: a message must be billed if the sink answered its
RCPT or its content, whatever the answer was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from local.demo.mailing import Publication

Row = tuple[str, str, str]  # client, mailing ID, sub-client

FINAL_WORDS: Final = ("refused", "suppressed", "delivered", "bounced", "expired", "cancelled")


class Billed(Struct, frozen=True):
    """One row of the bill."""

    client: str
    mailing_id: str
    sub_client: str
    count: int


class SinkCount(Struct, frozen=True):
    """The counts of the sink: accepted messages, and how many of them were duplicates."""

    accepted: int
    duplicates: int


class Result(Struct, frozen=True):
    """The JSON of `demo --json`."""

    published: int
    refused: int
    suppressed: int
    delivered: int
    bounced: int
    expired: int
    in_flight: int
    billed: tuple[Billed, ...]
    sink: SinkCount
    agree: bool
    seconds: float


class Witness(Struct, frozen=True):
    """The evidence of the sink's journal: messages answered by row, and messages accepted."""

    dispatched: Counter[Row]
    sink: SinkCount
    strangers: int  # recipients that were never published


class Reconciliation(Struct, frozen=True):
    """All counts side by side, and a description of each difference."""

    finals: Mapping[str, int]
    in_flight: int
    billed: Mapping[Row, int]
    witness: Witness
    differences: tuple[str, ...]


def witness(journal: Iterable[Mapping[str, Any]], published: Mapping[str, Row]) -> Witness:
    """Read the sink's journal; `published` gives the row of each recipient."""
    accepted: Counter[str] = Counter()
    answered: set[str] = set()
    for line in journal:
        answered.add(line["rcpt"])
        if line["verdict"] == "accepted":
            accepted[line["rcpt"]] += 1
    dispatched: Counter[Row] = Counter(published[rcpt] for rcpt in answered if rcpt in published)
    total = accepted.total()
    return Witness(
        dispatched=dispatched,
        sink=SinkCount(accepted=total, duplicates=total - len(accepted)),
        strangers=sum(rcpt not in published for rcpt in answered),
    )


def row_of(published: Publication) -> Row:
    """The row that this message is billed to, if it is billed."""
    account = published.account
    return (account.client, account.mailing_id, account.sub_client)


def reconcile(
    published: int,
    finals: Mapping[str, int],
    doubled: int,
    billed: Mapping[Row, int],
    seen: Witness,
) -> Reconciliation:
    """Compare the counts. `doubled`: messages with a second final event."""
    in_flight = published - sum(finals.values())
    differences = []
    if in_flight:
        differences.append(f"{in_flight} of {published} messages have no final event")
    if doubled:
        differences.append(f"{doubled} messages have more than one final event")
    if seen.strangers:
        differences.append(f"the sink received {seen.strangers} recipients that were not published")
    if seen.sink.duplicates:
        differences.append(f"the sink accepted {seen.sink.duplicates} duplicates")
    taken = seen.sink.accepted - seen.sink.duplicates
    if taken != finals.get("delivered", 0):
        differences.append(f"delivered {finals.get('delivered', 0)}, but the sink accepted {taken}")
    for row in sorted({*billed, *seen.dispatched}):
        counted, answered = billed.get(row, 0), seen.dispatched[row]
        if counted != answered:
            named = " ".join(filter(None, row))
            differences.append(f"{named}: billed {counted}, but the sink answered {answered}")
    return Reconciliation(finals, in_flight, billed, seen, tuple(differences))


def result(reckoning: Reconciliation, published: int, seconds: float) -> Result:
    """The reconciliation as the demo's JSON."""
    finals = reckoning.finals
    return Result(
        published=published,
        refused=finals.get("refused", 0),
        suppressed=finals.get("suppressed", 0),
        delivered=finals.get("delivered", 0),
        bounced=finals.get("bounced", 0),
        expired=finals.get("expired", 0),
        in_flight=reckoning.in_flight,
        billed=tuple(Billed(*row, count) for row, count in sorted(reckoning.billed.items())),
        sink=reckoning.witness.sink,
        agree=not reckoning.differences,
        seconds=round(seconds, 1),
    )

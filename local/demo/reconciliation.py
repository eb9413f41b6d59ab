"""Compares published messages, events, the bill and the sink's journal. Does no I/O.

The sink's journal is independent of the pipeline. A message must be billed if the sink answered its
RCPT or its content, even if the answer was a refusal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from local.demo.mailing import Publication
from shared.plurals import counted

Row = tuple[str, str, str]  # The client, the mailing ID and the sub-client.

FINAL_WORDS: Final = ("refused", "suppressed", "delivered", "bounced", "expired", "cancelled")


class Billed(Struct, frozen=True):
    """One row of the bill."""

    client: str
    mailing_id: str
    sub_client: str
    count: int


class SinkCount(Struct, frozen=True):
    """The counts of the sink: accepted messages, and the number of duplicates among them."""

    accepted: int
    duplicates: int


class Result(Struct, frozen=True):
    """The document that `demo --json` prints."""

    published: int
    refused: int
    suppressed: int
    delivered: int
    bounced: int
    expired: int
    waiting: int
    in_flight: int  # This value equals `waiting`. Programs that compare demos read this field.
    returned: int
    complained: int
    forwarded: int
    billed: tuple[Billed, ...]
    sink: SinkCount
    agree: bool
    seconds: float


class Witness(Struct, frozen=True):
    """The counts from the sink's journal, such as the answered messages per row of the bill."""

    dispatched: Counter[Row]
    sink: SinkCount
    strangers: int  # Recipients for whom nothing was published.
    forwarded: int = 0  # The number of messages to forwarding addresses.


class Returns(Struct, frozen=True):
    """The numbers of returned and forwarded messages, and the expected numbers."""

    returned: int = 0
    complained: int = 0
    forwarded: Mapping[str, int] = {}  # The number by the type of the event that caused the mail.
    reports_sent: int = 0  # The number of reports that the sink sent.
    wanted: int = 0  # The expected number of messages to forwarding addresses.


class Reconciliation(Struct, frozen=True):
    """The counts from all sources, and a description of each difference between them."""

    finals: Mapping[str, int]
    waiting: int
    billed: Mapping[Row, int]
    witness: Witness
    differences: tuple[str, ...]
    returns: Returns = Returns()


def witness(
    journal: Iterable[Mapping[str, Any]],
    published: Mapping[str, Row],
    forwarding: Collection[str] = (),
) -> Witness:
    """Count the lines of the sink's journal. `published` maps each recipient to a row of the bill.

    A recipient may get several messages only if its mail bounces at once. Each of these bounces is
    counted as one message. All other recipients get one message each.
    """
    accepted: Counter[str] = Counter()
    forwarded: Counter[str] = Counter()
    bounced: Counter[str] = Counter()
    answered: set[str] = set()
    for line in journal:
        rcpt, is_accepted = line["rcpt"], line["verdict"] == "accepted"
        if rcpt in forwarding:
            forwarded[line["message_id"]] += is_accepted
            continue
        answered.add(rcpt)
        accepted[rcpt] += is_accepted
        bounced[rcpt] += line["verdict"] == "bounced"
    dispatched: Counter[Row] = Counter()
    for rcpt in answered & published.keys():
        dispatched[published[rcpt]] += max(1, bounced[rcpt])
    copies = forwarded.total() - len(+forwarded)
    total = accepted.total()
    return Witness(
        dispatched=dispatched,
        sink=SinkCount(accepted=total, duplicates=total - len(+accepted) + copies),
        strangers=sum(rcpt not in published for rcpt in answered),
        forwarded=len(+forwarded),
    )


def row_of(published: Publication) -> Row:
    """Return the row of the bill in which this message counts if it is billed."""
    account = published.account
    return (account.client, account.mailing_id, account.sub_client)


def reconcile(
    published: int,
    finals: Mapping[str, int],
    doubled: int,
    billed: Mapping[Row, int],
    seen: Witness,
    returns: Returns = Returns(),  # noqa: B008 - frozen
) -> Reconciliation:
    """Compare the counts. `doubled` is the number of messages with a second final event."""
    waiting = published - sum(finals.values())
    differences = []
    if waiting:
        differences.append(f"{waiting} of {counted(published, 'message')} without a final event")
    if doubled:
        differences.append(f"{counted(doubled, 'message')} with more than one final event")
    if seen.strangers:
        strangers = counted(seen.strangers, "recipient")
        differences.append(f"the sink received mail to {strangers} that the demo did not publish")
    if seen.sink.duplicates:
        differences.append(f"the sink accepted {counted(seen.sink.duplicates, 'duplicate')}")
    taken = seen.sink.accepted - seen.sink.duplicates
    if taken != finals.get("delivered", 0):
        differences.append(f"delivered {finals.get('delivered', 0)}, but the sink accepted {taken}")
    for row in sorted({*billed, *seen.dispatched}):
        charged, answered = billed.get(row, 0), seen.dispatched[row]
        if charged != answered:
            named = " ".join(filter(None, row))
            differences.append(f"{named}: billed {charged}, but the sink answered {answered}")
    differences += _returns_differences(returns, seen.forwarded)
    return Reconciliation(finals, waiting, billed, seen, tuple(differences), returns)


def _returns_differences(returns: Returns, arrived: int) -> Iterator[str]:
    came = returns.returned + returns.complained
    if came != returns.reports_sent:
        yield f"{counted(came, 'report')} came back, but the sink sent {returns.reports_sent}"
    forwarded = sum(returns.forwarded.values())
    if not forwarded == returns.wanted == arrived:
        yield (
            f"messages to be forwarded: {returns.wanted}, forwarded according to the events: "
            f"{forwarded}, received by the sink: {arrived}"
        )


def result(reckoning: Reconciliation, published: int, seconds: float) -> Result:
    """Return the reconciliation as the document that `demo --json` prints."""
    finals = reckoning.finals
    return Result(
        published=published,
        refused=finals.get("refused", 0),
        suppressed=finals.get("suppressed", 0),
        delivered=finals.get("delivered", 0),
        bounced=finals.get("bounced", 0),
        expired=finals.get("expired", 0),
        waiting=reckoning.waiting,
        in_flight=reckoning.waiting,
        returned=reckoning.returns.returned,
        complained=reckoning.returns.complained,
        forwarded=reckoning.witness.forwarded,
        billed=tuple(Billed(*row, count) for row, count in sorted(reckoning.billed.items())),
        sink=reckoning.witness.sink,
        agree=not reckoning.differences,
        seconds=round(seconds, 1),
    )

"""Lists the ids of the mails that a counter counts. This module decides which events belong to the
counter, and does no I/O.

The number of listed ids is equal to the count, because an event is listed each time that
core/usage.py counts it. An event that was published twice is listed twice. `received` is counted
from tallies, which have the ids of the mails of a transaction. Tallies of earlier versions have
only the number of mails. The mails of these tallies are not listed. `Unnamed` has their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from services.billing.core.cells import BILLED, BYTES, COUNTERS, RECEIVED, Cell
from services.billing.core.month import Months, is_month
from services.billing.core.usage import MAX_RECEIVED, EventRecord, Name, UsageEvent, details_of
from services.billing.core.usage_api.query import QueryFault
from services.billing.core.usage_api.tables import days_of, utc_text
from shared.topics.codec import TALLY_TYPE, TYPE_PREFIX
from shared.topics.records import EventType

# The counters whose mails can be listed. `bytes` is left out, because it counts no mails.
KINDS: Final = tuple(counter for counter in COUNTERS if counter != BYTES)
DETAILED: Final = (
    EventType.REFUSED.value,
    EventType.SUPPRESSED.value,
    EventType.BOUNCED.value,
)
# The columns of a listed mail.
COLUMNS: Final = (
    *("mail_id", "at", "day", "client", "mailing_id", "sub_client", "kind", "detail"),
    "size_bytes",
)
_KNOWN: Final = frozenset((TYPE_PREFIX + kind.value).encode() for kind in EventType)


class _Row(Struct, frozen=True, array_like=True, gc=False):
    """A row of a tally. `mail_ids` is the field that core/usage.py does not decode."""

    client: Name
    mailing_id: Name
    sub_client: Name
    received: Annotated[int, Meta(ge=0, le=MAX_RECEIVED)]
    mail_ids: tuple[str, ...] = ()


class _Tally(Struct, frozen=True):
    service: str
    at_ms: int
    rows: tuple[_Row, ...] = ()


_decoder: Final = msgspec.json.Decoder(UsageEvent)
_tally: Final = msgspec.json.Decoder(_Tally)


class Wanted(Struct, frozen=True):
    """Selects the count whose mail ids are listed.

    `day` has the form YYYY-MM-DD, or is "" for the whole month. If `client`, `mailing_id` or
    `sub_client` is None, all its values are wanted. `detail` is a rule, a reason or a bounce class,
    or "" for all details.
    """

    month: str
    kind: str
    day: str = ""
    client: str | None = None
    mailing_id: str | None = None
    sub_client: str | None = None
    detail: str = ""

    def has(self, cell: Cell) -> bool:
        """Return True if the count of this cell is a part of the wanted count."""
        day = f"{self.month}-{cell.day}" if cell.day else ""
        return (
            (cell.counter, cell.detail) == (self.kind, self.detail)
            and self.day in ("", day)
            and self.client in (None, cell.client)
            and self.mailing_id in (None, cell.mailing_id)
            and self.sub_client in (None, cell.sub_client)
        )


class ListedMail(Struct, frozen=True, gc=False):
    """One counted mail. `day` is derived from the time `at_ms`. `size_bytes` is 0 if the counter is
    `received`."""

    mail_id: str
    at_ms: int
    day: str
    client: str
    mailing_id: str
    sub_client: str
    kind: str
    detail: str
    size_bytes: int


class Unnamed:
    """The number of received mails that are counted in tallies but whose ids are not in the
    tallies."""

    def __init__(self) -> None:
        self._number = 0

    @property
    def number(self) -> int:
        """Return the number of mails that were added so far."""
        return self._number

    def add(self, number: int) -> None:
        """Add a number of mails."""
        self._number += number


def listed(
    record: EventRecord, wanted: Wanted, months: Months, unnamed: Unnamed | None = None
) -> Iterator[ListedMail]:
    """Yield the mails of this record that are part of the wanted count. A record with invalid
    content yields nothing.

    If the record has the number of mails but not their ids, this number is added to `unnamed`.
    """
    if wanted.kind == RECEIVED:
        yield from _received(record, wanted, months, unnamed or Unnamed())
    elif (found := _event(record, wanted, months)) is not None:
        yield found


def _received(
    record: EventRecord, wanted: Wanted, months: Months, unnamed: Unnamed
) -> Iterator[ListedMail]:
    kind, _ = _headers(record.headers)
    if kind != TALLY_TYPE.encode():
        return
    try:
        tally = _tally.decode(record.value or b"")
        at_ms = tally.at_ms or record.timestamp
        day = months.day(at_ms)
    except (ValueError, RecursionError):
        return
    for row in tally.rows:
        if _is_of(row, day, (), wanted):
            unnamed.add(max(0, row.received - len(row.mail_ids)))
            where = (at_ms, day, row.client, row.mailing_id, row.sub_client)
            for mail_id in row.mail_ids:
                yield ListedMail(mail_id, *where, RECEIVED, "", 0)


def _event(record: EventRecord, wanted: Wanted, months: Months) -> ListedMail | None:
    kind, mail_id = _headers(record.headers)
    is_billed = wanted.kind == BILLED
    if kind not in _KNOWN or not (is_billed or kind == (TYPE_PREFIX + wanted.kind).encode()):
        return None
    try:
        event = _decoder.decode(record.value or b"")
        at_ms = event.at_ms or record.timestamp
        day = months.day(at_ms)
        if is_billed:
            if not event.first_dispatch:
                return None
            at_ms = event.first_dispatched_at_ms or at_ms
            day = months.day(at_ms)
    except (ValueError, RecursionError):
        return None
    details = sorted(details_of(event)) if wanted.kind in DETAILED else []
    if not _is_of(event, day, details, wanted):
        return None
    return ListedMail(
        mail_id.decode("utf-8", "replace"),
        at_ms,
        day,
        event.client,
        event.mailing_id,
        event.sub_client,
        wanted.kind,
        " ".join(details),
        event.size_bytes,
    )


def _is_of(event: UsageEvent | _Row, day: str, details: Sequence[str], wanted: Wanted) -> bool:
    return (
        day.startswith(wanted.day or wanted.month)
        and wanted.client in (None, event.client)
        and wanted.mailing_id in (None, event.mailing_id)
        and wanted.sub_client in (None, event.sub_client)
        and (not wanted.detail or wanted.detail in details)
    )


def _headers(headers: Sequence[tuple[str, bytes]]) -> tuple[bytes, bytes]:
    """Return the type and the mail id."""
    kind = mail_id = b""
    for name, value in headers:
        if name == "ce_type":
            kind = kind or value or b""
        elif name == "ce_subject":
            mail_id = value or b""
    return kind, mail_id


def require_listable(wanted: Wanted) -> None:
    """Raise QueryFault if no counter has these values, or if the mails of the counter cannot be
    listed."""
    if not is_month(wanted.month):
        raise QueryFault(
            f"month: {wanted.month!r} is not a month; give YYYY-MM, for example 2026-07"
        )
    if wanted.kind not in KINDS:
        raise QueryFault(f"kind: {wanted.kind!r} was found, one of {', '.join(KINDS)} is expected")
    if wanted.detail and wanted.kind not in DETAILED:
        raise QueryFault(f"detail: only {', '.join(DETAILED)} have details, not {wanted.kind}")
    month, _, number = wanted.day.rpartition("-")
    is_day = len(number) == 2 and number.isascii() and number.isdecimal()
    if wanted.day and not (month == wanted.month and is_day and 1 <= int(number) <= days_of(month)):
        raise QueryFault(f"day: {wanted.day!r} is not a day of {wanted.month}; give YYYY-MM-DD")


def row_of(mail: ListedMail) -> tuple[str | int, ...]:
    """Return the values of a mail's CSV line, in the order of COLUMNS."""
    return (
        mail.mail_id,
        utc_text(mail.at_ms),
        mail.day,
        mail.client,
        mail.mailing_id,
        mail.sub_client,
        mail.kind,
        mail.detail,
        mail.size_bytes,
    )


def named_of(mail: ListedMail) -> dict[str, str | int]:
    """Return the JSON object for a mail."""
    return dict(zip(COLUMNS, row_of(mail), strict=True))

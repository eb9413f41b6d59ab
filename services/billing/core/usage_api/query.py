"""The query of a usage request: months, filters, grouping and page. This module does no I/O.

Rows are sorted by month, client, mailing ID, sub-client and day. A row has no value for a key that
is not in the grouping. A cursor contains the digest of the query, the key of the last row of the
page, and the ids of the views from which the page was read. So all pages show the counts of the
same moment.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from services.billing.core.month import is_month, next_month
from shared.access.keys import Scope

# The parts of a row's key. Rows are sorted by these parts, in this order.
KEYS: Final = ("month", "client", "mailing_id", "sub_client", "day")
DEFAULT_GROUP: Final = ("month", "client", "mailing_id", "sub_client")
MAX_MONTHS: Final = 36
MAX_LIMIT: Final = 10_000
DEFAULT_LIMIT: Final = 1_000
MAX_CURSOR_CHARS: Final = 8_192


class QueryFault(Exception):
    """A parameter of the request is not valid. The message contains the name of the parameter."""


class Filters(Struct, frozen=True):
    """Selects the rows to show. A field that is None allows all values."""

    client: str | None = None
    mailing_id: str | None = None
    sub_client: str | None = None

    def within(self, scope: Scope) -> Filters:
        """Return these filters limited to the scope. The caller has checked that no filter exceeds
        the scope."""
        client = self.client if not scope.client else scope.client
        sub_client = self.sub_client if scope.sub_client is None else scope.sub_client
        return Filters(client, self.mailing_id, sub_client)


class Query(Struct, frozen=True):
    """A usage request. `months` are sorted."""

    months: tuple[str, ...]
    filters: Filters = Filters()
    group: tuple[str, ...] = DEFAULT_GROUP
    # If True, the answer has the differences between the counts and the statements, not the counts.
    is_pending: bool = False
    # If this field contains a month, the answer has the adjustments in the statement of that month,
    # not the counts.
    statement: str = ""

    def digest(self) -> str:
        """Return the digest that identifies the query in cursors and ETags."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


class Cursor(Struct, frozen=True, array_like=True):
    """The place where a page ended, so that the next page can begin there."""

    query: str  # The digest of the query.
    views: tuple[str, ...]  # The ids of the views, in the order of their months.
    after: tuple[str, ...]  # The key of the last row of the page.


_cursor: Final = msgspec.json.Decoder(Cursor)


def months_between(month: str, first: str, last: str) -> tuple[str, ...]:
    """Return the months of a request. They are a single month, or the range from `first` to `last`.
    Raises QueryFault."""
    if month and (first or last):
        raise QueryFault("month: give either month, or from and to")
    if not month and not (first and last):
        raise QueryFault("month: nothing was found; give month=YYYY-MM, or from and to")
    for name, text in (("month", month), ("from", first), ("to", last)):
        if text and not is_month(text):
            raise QueryFault(f"{name}: {text!r} is not a month; give YYYY-MM, for example 2026-07")
    if month:
        return (month,)
    if last < first:
        raise QueryFault(f"to: {last} is before {first}")
    found = [first]
    while found[-1] < last and len(found) <= MAX_MONTHS:
        found.append(next_month(found[-1]))
    if len(found) > MAX_MONTHS:
        raise QueryFault(f"to: {last} is more than {MAX_MONTHS} months after {first}")
    return tuple(found)


def require_span(months: tuple[str, ...]) -> tuple[str, ...]:
    """Return `months`. Raises QueryFault if there are more months than a request may have."""
    if len(months) > MAX_MONTHS:
        raise QueryFault(f"month: {len(months)} months were found, give at most {MAX_MONTHS}")
    return months


def parse_group(text: str) -> tuple[str, ...]:
    """Parse a grouping, whose parts are separated by commas. Return the parts in the order of KEYS.
    Raises QueryFault."""
    if not text:
        return DEFAULT_GROUP
    words = text.split(",")
    for word in words:
        if word not in KEYS:
            raise QueryFault(f"group: {word!r} was found, some of {', '.join(KEYS)} are expected")
    return tuple(key for key in KEYS if key in words)


def encode_cursor(cursor: Cursor) -> str:
    """Return the cursor as text for a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode_cursor(text: str, query: Query) -> Cursor:
    """Decode a cursor. Raises QueryFault if it is not a cursor of this query."""
    if len(text) > MAX_CURSOR_CHARS:
        raise QueryFault("cursor: it is not a cursor of this API")
    try:
        found = _cursor.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        raise QueryFault("cursor: it is not a cursor of this API") from None
    if len(found.after) != len(query.group) or len(found.views) != len(query.months):
        raise QueryFault("cursor: it is not a cursor of this API")
    if found.query != query.digest():
        raise QueryFault("cursor: it belongs to another query")
    return found


def require_known_month(months: Iterable[str], counted: Iterable[str], present: str) -> None:
    """Raise QueryFault for a month that is in the future or before the first counted month."""
    first = min(counted, default=present)
    for month in months:
        if month > present:
            raise QueryFault(f"month: {month} has not begun; the present month is {present}")
        if month < first:
            raise QueryFault(f"month: nothing was counted before {first}; {month} was found")

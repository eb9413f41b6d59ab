"""The metrics of reading and forwarding returned mail."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from shared.runtime.telemetry import Counter, Counters, Metric

RECORDS: Final = Metric("sluice_returns_records", "Returned messages read, by kind.", ("kind",))
STRANGERS: Final = Metric(
    "sluice_returns_strangers",
    "Reports on other addresses than the recipient of the message: forwarded mailboxes, or "
    "forgeries. They are counted for no recipient.",
)
UNNAMED: Final = Metric(
    "sluice_returns_unnamed",
    "Complaints and requests to unsubscribe that suppress no recipient, because nothing proves "
    "their recipient, by kind. They are forwarded to the client.",
    ("kind",),
)
FORWARDED: Final = Metric(
    "sluice_returns_forwarded", "Mails to forwarding addresses, digests included.", ("client",)
)
HELD: Final = Metric(
    "sluice_returns_held",
    "Returned messages that only a digest lists, because validate.forwards_per_window is reached.",
    ("client",),
)
LOOPS: Final = Metric(
    "sluice_returns_loops",
    "Returned messages that are not forwarded, because forwarding could cause an endless loop.",
    ("reason",),
)
FAILED: Final = Metric(
    "sluice_returns_failed",
    "Returned messages that were not classified or not forwarded because of a programming error;"
    " the log has the traceback.",
)
ALL: Final = (RECORDS, STRANGERS, UNNAMED, FORWARDED, HELD, LOOPS, FAILED)


class ReturnsMetrics(Struct, frozen=True):
    """The metrics of returned mail."""

    records: Counter
    strangers: Counter
    unnamed: Counter
    forwarded: Counter
    held: Counter
    loops: Counter
    failed: Counter


def register_metrics(counters: Counters) -> ReturnsMetrics:
    """Declare the metrics."""
    return ReturnsMetrics(*(counters.counter(each) for each in ALL))

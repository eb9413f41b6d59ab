"""The records that an attempt reads and writes, and the metrics that count its events.

Owns: the records of a plan (events, the message on a retry topic, the undeliverable message); the
choice of the sites that have a label in metrics. The first sites with many events have a label
each. All other sites share one label. Does not own: the steps that follow an outcome
(core/attempt/plan.py), the writing of records (shared/stream/worker.py).

A process counts an event before Kafka has committed the event. So the metrics are too high after a
crash or a refused commit, but the events themselves are exact (`sluice audit`).

Guarantees: a process uses at most MAX_NAMED labels, no matter to how many domains it sends mail. It
remembers at most MAX_COUNTED sites without a label. A site never loses its label. Otherwise its
events would be counted under `other` again, and the site would look as if it got no mail.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from services.deliver.core.attempt.giving_up import given_up
from services.deliver.core.attempt.plan import Plan, subject_of
from shared.runtime.telemetry import Counter, Counters, Metric
from shared.stream import outputs
from shared.stream.consumer import Record
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import encode_returned
from shared.topics.records import Envelope, Message

SERVICE: Final = "deliver"
UNREADABLE: Final = "unreadable"
MAIL_EVENTS: Final = Metric(
    "sluice_deliver_events",
    "Events of the deliver service: delivered, bounced, expired and cancelled messages, and "
    "deferrals.",
    ("event", "lane", "provider", "mail_class"),
)
SITE_EVENTS: Final = Metric(
    "sluice_deliver_site_events",
    "The events of `sluice_deliver_events_total` by site. The first 60 sites with 100 events "
    "are shown by name. `other` stands for all other sites, and `none` for messages that had no "
    "site.",
    ("event", "site", "mail_class"),
)
# The largest number of site labels. Combined with the events and the mail classes, the site labels
# make fewer label sets than telemetry.MAX_LABEL_SETS.
MAX_NAMED: Final = 60
# A site gets its own label after this many events. Its earlier events count as OTHER.
BUSY_EVENTS: Final = 100
# The largest number of sites that are counted and have no label yet. Each takes about 150 bytes.
# The site that has had no event for the longest time is forgotten first.
MAX_COUNTED: Final = 5_000
OTHER: Final = "other"
# The label of events without a site. Such an event has no site because the message was not
# attempted, or because its domain has no mail server.
NONE: Final = "none"


def records_of(steps: Plan, envelope: Envelope, content: bytes, provider: str = "") -> list[Output]:
    """Return the records of a plan.

    The records are its events, and the message if it is deferred or undeliverable.
    """
    mail_id = subject_of(envelope)
    written: list[Output] = []
    for event in steps.events:
        data = event.data
        if data.provider != provider:
            data = replace(data, provider=provider)
        written.append(outputs.event(SERVICE, event.kind, mail_id, data))
    if envelope.own_events:
        written += [outputs.client_copy(each, envelope.client) for each in written]
    if steps.retry is not None:
        topic = names.deferred(steps.step)
        # The message waits now, so it is not offered to any server.
        onward = replace(steps.retry, is_offered=False)
        written.append(outputs.pack(topic, [Message(onward, content)]))
    for each in given_up(steps, envelope, content):
        key, headers = encode_returned(each.returned)
        written.append(Output(names.RETURNED, each.header, key, headers))
    return written


def lane_of(topic: str) -> str:
    """Return the lane of an outbound topic, or "" for any other topic."""
    prefix = names.OUTBOUND_PREFIX
    return topic[len(prefix) :] if topic.startswith(prefix) else ""


def due_at_ms(messages: Sequence[Message]) -> int:
    """Return the time when the last message of a pack is due, in Unix milliseconds; 0 means now."""
    return max(message.envelope.due_at_ms for message in messages)


def unreadable(record: Record, reason: str) -> list[Output]:
    """Return the output for a record that is not a valid pack."""
    return [outputs.refused_record(record, UNREADABLE, reason)]


class EventCounter:
    """Counts events. If `counters` is None, the counts are not exported as metrics."""

    def __init__(self, counters: Counters | None = None) -> None:
        if counters is None:
            self.by_lane = Counter(len(MAIL_EVENTS.labels))
            self.by_site = Counter(len(SITE_EVENTS.labels))
        else:
            self.by_lane = counters.counter(MAIL_EVENTS)
            self.by_site = counters.counter(SITE_EVENTS)
        self._sites = SiteNames()

    def count(self, envelope: Envelope, provider: str, steps: Plan) -> None:
        """Count the events of one plan."""
        mail_class = str(envelope.mail_class)
        for event in steps.events:
            kind = str(event.kind)
            self.by_lane.add(1, kind, envelope.lane, provider, mail_class)
            self.by_site.add(1, kind, self._sites.count_event(event.data.site), mail_class)


class SiteNames:
    """Chooses the labels of sites."""

    def __init__(self) -> None:
        self._named: set[str] = set()
        self._events: OrderedDict[str, int] = OrderedDict()

    def count_event(self, site: str) -> str:
        """Count an event of this site, and return the site's label."""
        if not site:
            return NONE
        if site in self._named:
            return site
        if len(self._named) >= MAX_NAMED:
            return OTHER
        events = self._events.pop(site, 0) + 1
        if events >= BUSY_EVENTS:
            self._named.add(site)
            return site
        if len(self._events) >= MAX_COUNTED:
            self._events.popitem(last=False)
        self._events[site] = events
        return OTHER

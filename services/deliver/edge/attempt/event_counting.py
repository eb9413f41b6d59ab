"""Counts the events of deliver in two metrics: by lane and provider, and by site.

The process that writes an event counts it before Kafka has committed it, so after a crash or a
refused commit the metrics are too high; the events themselves are exact (`sluice audit`).
"""

from __future__ import annotations

from typing import Final

from services.deliver.core.attempt.plan import Plan
from services.deliver.core.attempt.site_names import SiteNames
from shared.runtime.telemetry import Counter, Counters, Metric
from shared.topics.records import Envelope

MAIL_EVENTS: Final = Metric(
    "sluice_deliver_events",
    "Events of deliver: delivered, bounced, expired and cancelled messages, and deferrals.",
    ("event", "lane", "provider", "mail_class"),
)
SITE_EVENTS: Final = Metric(
    "sluice_deliver_site_events",
    "The events of `sluice_deliver_events_total` by site. The first 60 sites that have 100 events"
    " have their names, `other` are all others, and `none` is for messages that had no site.",
    ("event", "site", "mail_class"),
)


class EventCounter:
    """Counts events; `counters` None: only for whoever asks the object."""

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

"""Which sites have a label of their own in metrics: the first busy ones, the others together.

Owns: the choice. Guarantees: at most MAX_NAMED labels in the life of a process, however many
domains mail is sent to, and memory for at most MAX_COUNTED sites; a label that was given stays,
because a counter that goes back to `other` would look like a site that stands still.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

# With events and classes this stays below telemetry.MAX_LABEL_SETS.
MAX_NAMED: Final = 60
# A site gets a name of its own after this many events; before, its events count under OTHER.
BUSY_EVENTS: Final = 100
# Sites that are counted before they are named, the one that was longest without an event is
# forgotten first. About 150 bytes each.
MAX_COUNTED: Final = 5_000
OTHER: Final = "other"
# No connection, or no site: the message was not attempted, or its domain has no mail server.
NONE: Final = "none"


class SiteNames:
    """Names sites for a metric."""

    def __init__(self) -> None:
        self._named: set[str] = set()
        self._events: OrderedDict[str, int] = OrderedDict()

    def count_event(self, site: str) -> str:
        """Count an event of this site, and return the label that it goes under."""
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
